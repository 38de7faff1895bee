import time
from pathlib import Path

import numpy as np
import pytest
from sample_text import prose

from scaling.data.batches import Batches
from scaling.data.configuration import DataConfig, TokenizerConfig
from scaling.data.dataset import Dataset
from scaling.data.prepare import prepare
from scaling.errors import ScalingError

BPE = TokenizerConfig(kind="bpe", vocabulary=300)


def same(one: Dataset, other: Dataset) -> bool:
    return (
        one.corpus.hash == other.corpus.hash
        and one.tokenizer.hash == other.tokenizer.hash
        and np.array_equal(one.train.token_N, other.train.token_N)
        and np.array_equal(one.train.start_C1, other.train.start_C1)
        and np.array_equal(one.validation.token_N, other.validation.token_N)
    )


@pytest.mark.parametrize("tokenizer", [TokenizerConfig(), BPE], ids=["bytes", "bpe"])
def test_prepared_once_and_found_again(data: DataConfig, tokenizer: TokenizerConfig, tmp_path: Path) -> None:
    data = data.model_copy(update={"tokenizer": tokenizer})
    first = prepare(data, tmp_path / "data")
    files = sorted((tmp_path / "data").rglob("*"))
    started = time.perf_counter()
    second = prepare(data, str(tmp_path / "data"))
    assert time.perf_counter() - started < 0.3
    assert same(first, second)
    assert sorted((tmp_path / "data").rglob("*")) == files
    assert same(first, prepare(data, tmp_path / "other"))


def test_what_a_dataset_holds(data: DataConfig, tmp_path: Path) -> None:
    dataset = prepare(data.model_copy(update={"tokenizer": BPE}), tmp_path / "data")
    counts = dataset.corpus.counts
    for split, store in (("train", dataset.train), ("validation", dataset.validation)):
        assert (store.documents, store.bytes) == (counts.documents[split], counts.bytes[split])
        texts = [
            dataset.tokenizer.decode(store.token_N[start:stop])
            for start, stop in zip(store.start_C1, store.start_C1[1:], strict=False)
        ]
        assert texts == list(dataset.corpus.texts(split))
    assert dataset.held_out.tokens == 256
    report = "\n".join(dataset.report)
    for fact in (dataset.corpus.hash, dataset.tokenizer.hash, f"{dataset.train.tokens:,} tokens", "0 exact duplicates"):
        assert fact in report


def test_the_report_names_what_is_unusual(folder: Path, tmp_path: Path) -> None:
    (folder / "latin.txt").write_bytes(b"\xe9" + prose(100).encode())
    data = DataConfig(corpus=f"files:{folder}", tokenizer=TokenizerConfig(kind="bpe", vocabulary=30_000))
    data = data.model_copy(update={"sequence_length": 8, "validation_tokens": 8})
    report = "\n".join(prepare(data, tmp_path / "data").report)
    assert "1 documents held invalid UTF-8" in report
    assert "too small for this vocabulary" in report


def test_refusals(data: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match=r"data.validation_tokens 1000000: ask for fewer"):
        prepare(data.model_copy(update={"validation_tokens": 10**6}), tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(ScalingError, match=r"cannot prepare .*Not a directory"):
        prepare(data, tmp_path / "file")
    store = next((tmp_path / "data").glob("stores/*/*/train-00000.bin"))
    store.write_bytes(store.read_bytes()[:-1])
    with pytest.raises(ScalingError, match=r"damaged.*delete .*bytes-256 and run again"):
        prepare(data, tmp_path / "data")


def test_the_standard_library_end_to_end(tmp_path: Path) -> None:
    dataset = prepare(DataConfig(), tmp_path)
    assert dataset.corpus.counts.documents["train"] > 300
    assert dataset.train.tokens > 5e6
    batch = Batches(dataset.train, 256, 8, seed=0).at(0)
    assert "    " in dataset.tokenizer.decode(batch.ravel())  # it is indeed Python
    assert dataset.train.documents + dataset.validation.documents == sum(dataset.corpus.counts.documents.values())

"""Pairs for next-sentence prediction, against the store that they are of."""

from pathlib import Path

import numpy as np
import pytest
from sample_text import prose

from scaling.config import RunConfig, build, override
from scaling.data.configuration import DataConfig
from scaling.data.dataset import Dataset
from scaling.data.pairs import PairBatches, Pairs
from scaling.data.prepare import prepare
from scaling.data.store import TokenStore, open_store, write_store
from scaling.data.tokenizers import ByteTokenizer
from scaling.errors import ScalingError
from scaling.families import build_run

LENGTH, BATCH = 32, 4
FIRST = 15  # of the 29 tokens beside [CLS] and two [SEP]
CLS, SEP = 256, 257


def fields(corpus: str) -> dict:
    return {
        "model": {"width": 16, "layers": 1, "heads": 2},
        "data": {"corpus": corpus, "documents": "pairs", "sequence_length": LENGTH, "validation_tokens": 256},
        "training": {"tokens": 100 * BATCH * LENGTH, "batch_tokens": BATCH * LENGTH, "objective": "masked"},
        "optimizer": {"learning_rate": 1e-3},
    }


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    """Forty documents of some 170 bytes, of which every stretch of some bytes is the only one."""
    write_store(tmp_path, "train", [prose(number, words=40) for number in range(40)], ByteTokenizer())
    return open_store(tmp_path, "train", ByteTokenizer())


def test_the_second_part_follows_or_is_of_another_document(store: TokenStore) -> None:
    pairs, content = Pairs(store, 256, LENGTH, seed=3), store.token_N.tobytes()
    windows = (store.tokens - 1) // LENGTH
    number_B = np.arange(40 * windows)
    rows = pairs.read(number_B, number_B % windows)
    document_N = np.repeat(np.arange(store.documents), np.diff(store.start_C1))
    assert (rows[:, 1] == CLS).all()
    assert (rows[:, [2 + FIRST, LENGTH]] == SEP).all()
    begins, ends = (number_B % windows) * LENGTH, (number_B % windows) * LENGTH + FIRST
    taken = np.zeros(store.documents, int)
    for row, begin, cut in zip(rows, begins, ends, strict=True):
        first, second = (row[part].astype(np.uint8).tobytes() for part in (slice(2, 2 + FIRST), slice(3 + FIRST, LENGTH)))
        assert first == content[begin:cut]
        place = content.find(second)
        if row[0]:
            assert place == cut
            assert document_N[place] == document_N[cut - 1]
        else:
            assert document_N[place] != document_N[cut - 1]
            taken[document_N[place]] += place != cut
    one_document = (document_N[ends] == document_N[ends - 1]).mean()  # else what follows begins another
    assert rows[:, 0].mean() == pytest.approx(one_document / 2, abs=4 * np.sqrt(0.25 / len(rows)))
    expected = taken.sum() / store.documents  # each document as often, whatever its length
    assert np.abs(taken - expected).max() < 4.5 * np.sqrt(expected)


def test_a_second_stretch_lies_within_the_store(tmp_path: Path) -> None:
    """The last document is shorter than a stretch, and so is never one's beginning."""
    write_store(tmp_path, "train", [prose(0), prose(1), "end"], ByteTokenizer())
    pairs = Pairs(open_store(tmp_path, "train", ByteTokenizer()), 256, LENGTH, seed=0)
    rows = pairs.read(np.arange(2000), np.zeros(2000, int))
    assert rows.shape == (2000, LENGTH + 1)
    for texts in (["one"], [prose(0)], [prose(0), "end"]):
        write_store(tmp_path, "train", texts, ByteTokenizer())
        with pytest.raises(ScalingError, match=r"data.documents pairs needs several documents"):
            Pairs(open_store(tmp_path, "train", ByteTokenizer()), 256, LENGTH, seed=0)


def test_batches_depend_on_seed_and_step_alone(folder: Path, tmp_path: Path) -> None:
    config = build(RunConfig, fields(f"files:{folder}"))
    dataset = prepare(config.data, tmp_path / "data")
    batches = dataset.batches(config)
    assert isinstance(batches, PairBatches)
    for step in (0, 7, 400):
        whole = batches.rows(step, 0, BATCH)
        for hosts in (2, 4):
            size = BATCH // hosts
            parts = [dataset.batches(config).rows(step, host * size, (host + 1) * size) for host in range(hosts)]
            assert np.array_equal(np.concatenate(parts), whole)
        other = dataset.batches(config.model_copy(update={"seed": 1})).rows(step, 0, BATCH)
        assert not np.array_equal(other, whole)


def test_the_held_out_set_counts_text_alone(folder: Path, tmp_path: Path) -> None:
    config = build(RunConfig, fields(f"files:{folder}"))
    dataset = prepare(config.data, tmp_path / "data")
    assert isinstance(dataset, Dataset)
    held_out = dataset.held_out
    text = held_out.window_WxL1[:, 1:][held_out.window_WxL1[:, 1:] < 256]
    assert held_out.tokens == 256 // LENGTH * (LENGTH - 3) == len(text)
    assert held_out.bytes == (text != 255).sum()  # the end of a document is no byte
    again = prepare(config.data, tmp_path / "data").held_out
    assert np.array_equal(again.window_WxL1, held_out.window_WxL1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.objective=causal"], r"data.documents pairs needs training.objective masked, not causal"),
        (["model.parametrization={name: mup, base_width: 16}"], r"data.documents pairs has no rules in parametrization mup"),
        (["data.sequence_length=4", "training.tokens=64", "training.batch_tokens=16"], r"data.sequence_length of 5 at least"),
        (["data.corpus=tfds:one", "data.streaming=true"], r"data.documents pairs needs a corpus that is tokenised first"),
        (["data.corpus=dyck:pairs=16"], r"the documents of the world dyck:pairs=16 are independent already"),
    ],
)
def test_what_has_no_pairs_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ScalingError, match=message):
        build(RunConfig, override(fields("stdlib"), changes))


def test_mixtures_and_ngrams_have_no_pairs() -> None:
    mixture = {name: {"corpus": f"files:{name}", "weight": 1} for name in ("one", "other")}
    with pytest.raises(ScalingError, match=r"data.documents pairs are of one corpus"):
        build(DataConfig, {"mixture": mixture, "documents": "pairs"})
    ngram = {"model": {"family": "ngram", "order": 2}, "data": {"documents": "pairs"}, "training": {"tokens": 1000}}
    with pytest.raises(ScalingError, match=r"model.family ngram needs data.documents joined"):
        build_run(ngram)

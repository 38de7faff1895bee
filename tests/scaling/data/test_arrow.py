"""Datasets as Hugging Face writes them to disk: Arrow streams and `state.json`, and `dataset_dict.json` above the splits."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from sample_text import prose

from scaling.data.configuration import CorpusConfig
from scaling.data.corpora import Corpus, open_corpus
from scaling.errors import ScalingError


def saved(directory: Path, texts: list[str | None], kind: pa.DataType | None = None) -> None:
    """Two files of batches of 7 rows each."""
    directory.mkdir(parents=True)
    table = pa.table({"text": pa.array(texts, kind or pa.string()), "number": range(len(texts))})
    names = []
    for part, rows in enumerate((table[: len(texts) // 2], table[len(texts) // 2 :])):
        names.append(f"data-{part:05d}-of-00002.arrow")
        with pa.OSFile(str(directory / names[-1]), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(rows, max_chunksize=7)
    (directory / "state.json").write_text(
        json.dumps({"_data_files": [{"filename": name} for name in names], "_split": "train"})
    )
    (directory / "dataset_info.json").write_text("{}")


def opened(place: Path, directory: Path, **fields: str) -> Corpus:
    return open_corpus(CorpusConfig(corpus=f"hf:{place}", **fields), directory / "cache")


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    saved(tmp_path / "set" / "train", [prose(number) for number in range(40)])
    saved(tmp_path / "set" / "test", [prose(1000 + number) for number in range(6)])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return tmp_path / "set"


def test_its_splits(splits: Path, tmp_path: Path) -> None:
    corpus = opened(splits, tmp_path)
    assert sorted(corpus.texts("train")) == sorted(prose(number) for number in range(40))
    assert sorted(corpus.texts("validation")) == sorted(prose(1000 + number) for number in range(6))
    swapped = opened(splits, tmp_path, train_split="test", validation_split="train")
    assert list(swapped.texts("train")) == list(corpus.texts("validation"))


def test_training_documents_that_all_nearly_equal_held_out_ones_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "set" / "train", [prose(number).replace("\n", "\nx", 1) for number in range(4)])
    saved(tmp_path / "set" / "test", [prose(number) for number in range(4)])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(ScalingError, match=r"every training document of hf:.* nearly equals a held-out one"):
        opened(tmp_path / "set", tmp_path)


def test_slices_are_those_of_tfds(splits: Path, tmp_path: Path) -> None:
    """Rows in the order of the files; percentages round to the nearest row, as in the guide of TFDS."""
    rows = {"train": [prose(number) for number in range(40)], "test": [prose(1000 + number) for number in range(6)]}
    for train, expected in (
        ("train[:10%]", rows["train"][:4]),
        ("train[18:23]", rows["train"][18:23]),
        ("train[-3:]", rows["train"][-3:]),
        ("train[33%:67%]+test[:2]", rows["train"][13:27] + rows["test"][:2]),
        ("train[:1shard]", rows["train"][:20]),
    ):
        corpus = opened(splits, tmp_path, train_split=train, validation_split="test[4:]")
        assert sorted(corpus.texts("train")) == sorted(expected)
        assert sorted(corpus.texts("validation")) == sorted(rows["test"][4:])
    everything = opened(splits, tmp_path, train_split="all", validation_split="test[4:]")
    assert sorted(everything.texts("train")) == sorted(rows["train"] + rows["test"][:4])


def test_contamination_is_the_share_of_held_out_passages_in_training(tmp_path: Path) -> None:
    """Half of every second held-out text is quoted in a training text, which does not resemble it."""
    held_out = [prose(1000 + number) for number in range(6)]
    quotes = [prose(number, words=3000) + text[: len(text) // 2] for number, text in enumerate(held_out[::2])]
    for name, train in (("clean", []), ("quoting", quotes)):
        saved(tmp_path / name / "train", [prose(number) for number in range(20)] + train)
        saved(tmp_path / name / "test", held_out)
        (tmp_path / name / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')

    def passages(texts: list[str]) -> set[bytes]:
        visible = ("".join(text.split()) for text in texts)
        return {each.encode()[start : start + 64] for each in visible for start in range(len(each.encode()) - 63)}

    assert opened(tmp_path / "clean", tmp_path).counts.contamination == 0
    quoted, counts = passages([text[: len(text) // 2] for text in held_out[::2]]), opened(tmp_path / "quoting", tmp_path).counts
    assert counts.contamination == pytest.approx(len(quoted) / len(passages(held_out)))
    assert counts.near_held_out == 0


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_one_without_splits_is_the_corpus_of_its_texts(tmp_path: Path, kind: pa.DataType) -> None:
    texts = [prose(number) for number in range(30)]
    saved(tmp_path / "set", [*texts, None, "", "  "], kind)
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    corpus = opened(tmp_path / "set", tmp_path)
    assert corpus.hash == open_corpus(CorpusConfig(corpus=f"files:{tmp_path}/lines.jsonl"), tmp_path / "cache").hash
    assert corpus.counts.empty == 3


def test_what_is_refused(splits: Path, tmp_path: Path) -> None:
    for fields, message in (
        ({"text_field": "body"}, r"no field 'body' .data.text_field.; it has number, text"),
        ({"text_field": "number"}, "the field 'number' holds int64, not text"),
        ({"validation_split": "dev"}, "has no split dev; it has train, test"),
        ({"train_split": "train[:10%]+dev"}, r"has no split dev; it has train, test"),
        ({"train_split": "train[:50]"}, r"has no split train\[:50\]: Requested slice \[:50\] incompatible with 40 examples"),
        ({"train_split": "train[ten]"}, r"has no split train\[ten\]: Unrecognized split format.*as train\[:10%\]"),
    ):
        with pytest.raises(ScalingError, match=message):
            opened(splits, tmp_path, **fields)
    with pytest.raises(ScalingError, match=r"is no dataset on disk: it has no state.json and no dataset_dict.json"):
        opened(tmp_path, tmp_path)
    file = next((splits / "train").glob("*.arrow"))
    file.write_bytes(file.read_bytes()[:-300])
    with pytest.raises(ScalingError, match="damaged"):
        opened(splits, tmp_path)

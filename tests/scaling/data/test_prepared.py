import json
import socket
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sample_text import prose

from scaling.data import prepared
from scaling.data.configuration import CorpusConfig
from scaling.data.corpora import Corpus, open_corpus
from scaling.errors import ScalingError


class LabSample(tfds.core.GeneratorBasedBuilder):
    """A dataset as a user may have prepared it: `splits` is a number of documents for each split."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, splits: dict[str, int], **arguments: object):
        self._sizes = splits
        super().__init__(**arguments)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"text": tfds.features.Text(), "number": tfds.features.Scalar(np.int64)}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager: object) -> dict[str, object]:
        return {name: self._generate_examples(name, size) for name, size in self._sizes.items()}

    def _generate_examples(self, name: str, size: int) -> object:
        for number in range(size):
            text = prose(hash_of(name, number))
            yield number, {"text": text, "number": number}


def hash_of(name: str, number: int) -> int:
    return {"train": 0, "validation": 1000, "test": 2000}[name] + number


def sample(home: Path, **splits: int) -> Path:
    builder = LabSample(splits=splits, data_dir=home, file_format="array_record")
    builder.download_and_prepare()
    return Path(builder.data_path)


def opened(corpus: str, directory: Path, **fields: str) -> Corpus:
    return open_corpus(CorpusConfig(corpus=corpus, **fields), directory / "cache")


def found(name: str) -> Path:
    return prepared.dataset_directory(name, Path("nowhere"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    return tmp_path / "tfds"


def test_its_own_splits_are_kept(home: Path, tmp_path: Path) -> None:
    directory = sample(home, train=30, validation=4, test=5)
    for name in ("lab_sample", "lab_sample:1.0.0", str(directory), str(directory.parent)):
        corpus = opened(f"tfds:{name}", tmp_path)
        assert corpus.counts.documents == {"train": 30, "validation": 4}
    assert sorted(corpus.texts("validation")) == sorted(prose(1000 + number) for number in range(4))


def test_test_is_held_out_where_there_is_no_validation(home: Path, tmp_path: Path) -> None:
    sample(home, train=30, test=5)
    corpus = opened("tfds:lab_sample", tmp_path)
    assert sorted(corpus.texts("validation")) == sorted(prose(2000 + number) for number in range(5))


def test_without_a_held_out_split_the_hash_is_that_of_the_same_files(home: Path, tmp_path: Path) -> None:
    sample(home, train=30)
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(prose(number))
    corpus = opened("tfds:lab_sample", tmp_path)
    assert corpus.hash == opened(f"files:{tmp_path}/*.txt", tmp_path).hash


def test_fields(home: Path, tmp_path: Path) -> None:
    sample(home, train=30)
    with pytest.raises(ScalingError, match=r"no field 'body' .data.text_field.; it has number, text"):
        opened("tfds:lab_sample", tmp_path, text_field="body")
    with pytest.raises(ScalingError, match="'number' holds int, not text"):
        opened("tfds:lab_sample", tmp_path, text_field="number")


def test_lost_examples_are_noticed(home: Path, tmp_path: Path) -> None:
    directory = sample(home, train=30)
    info, shard = directory / "dataset_info.json", next(directory.glob("*array_record*"))
    whole = info.read_text(), shard.read_bytes()

    def refused(held: str) -> None:
        with pytest.raises(ScalingError, match=rf"damaged: its train split holds {held} examples.*prepare it again"):
            opened("tfds:lab_sample", tmp_path)

    info.write_text(whole[0].replace('"30"', '"31"'))
    refused("30 of 31")
    info.write_text(whole[0])
    shard.write_bytes(whole[1][: len(whole[1]) // 2])
    refused("0 of 30")
    shard.unlink()
    refused("0 of 30")


@pytest.mark.parametrize(("form", "why"), [("parquet", "loses rows"), ("riegeli", "no reader")])
def test_other_formats_are_refused(home: Path, form: str, why: str) -> None:
    info = sample(home, train=3) / "dataset_info.json"
    info.write_text(json.dumps(json.loads(info.read_text()) | {"fileFormat": form}))
    with pytest.raises(ScalingError, match=rf"{form} format .*{why}.*array_record"):
        found("lab_sample")


def test_the_newest_version(home: Path) -> None:
    for version in ("1.9.0", "1.10.0", "1.2.0"):
        (home / "some" / version).mkdir(parents=True)
        (home / "some" / version / "dataset_info.json").write_text('{"fileFormat": "array_record"}')
    assert found("some").name == "1.10.0"
    assert found("some:1.2.0").name == "1.2.0"


@pytest.mark.usefixtures("home")
def test_unknown_names() -> None:
    with pytest.raises(ScalingError, match="did you mean lm1b"):
        found("lm1bb")
    with pytest.raises(ScalingError, match="only names of the TFDS catalogue"):
        found("huggingface:imdb")
    with pytest.raises(ScalingError, match="cannot open"):
        found("wiki40b/klingon")
    with pytest.raises(ScalingError, match="no prepared dataset"):
        found("/no/such/directory")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("name", ["tiny_shakespeare", "wiki40b/en", "lm1b"])
def test_without_network_the_choices_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "reachable", lambda urls: False)
    with pytest.raises(ScalingError, match=r"network.*stdlib, files:PATTERN.*hf:DIRECTORY and tfds:DIRECTORY"):
        found(name)


def test_a_silent_server_is_given_up_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        started = time.monotonic()
        assert not prepared.reachable([f"http://127.0.0.1:{server.getsockname()[1]}/file"])
        assert time.monotonic() - started < 4


def as_tfrecord(directory: Path) -> None:
    """The dataset's files as TensorFlow would have written them, by tensorboardX, which writes TFRecord files of its own."""
    from tensorboardX.record_writer import RecordWriter

    from scaling.data.documents import ArrayRecord

    for file in directory.glob("*.array_record*"):
        records = ArrayRecord(file)
        writer = RecordWriter(str(file.with_name(file.name.replace("array_record", "tfrecord"))))
        for index in range(len(records)):
            writer.write(records[index])
        writer.close()
        file.unlink()
    info = directory / "dataset_info.json"
    content = json.loads(info.read_text())
    for split in content["splits"]:
        split["filepathTemplate"] = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
    info.write_text(json.dumps(content | {"fileFormat": "tfrecord"}))


def test_tfrecord_is_read_without_tensorflow(home: Path, tmp_path: Path) -> None:
    expected = opened(f"tfds:{sample(home / 'one', train=30, validation=4)}", tmp_path)
    directory = sample(home / "two", train=30, validation=4)
    as_tfrecord(directory)
    corpus = opened(f"tfds:{directory}", tmp_path)
    assert corpus.hash == expected.hash
    assert list(corpus.texts("train")) == list(expected.texts("train"))
    (shard,) = directory.glob("*train*")
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(ScalingError, match=r"damaged: its train split holds 29 of 30 examples"):
        opened(f"tfds:{directory}", tmp_path)


def test_a_damaged_array_record_is_named_with_its_record(home: Path, tmp_path: Path) -> None:
    """One bit of what the records are compressed to, which lies behind the first block's header, is turned."""
    (shard,) = sample(home, train=40, validation=3).glob("*train*")
    content = bytearray(shard.read_bytes())
    content[100] ^= 1
    shard.write_bytes(content)
    with pytest.raises(
        ScalingError, match=rf"{shard.name}: record \d+ is damaged: .*hash mismatch.*get the file anew"
    ) as caught:
        opened("tfds:lab_sample", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_bucket_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etils import epath

    def no_package(name: str) -> None:
        raise ImportError("Please install gcsfs")

    monkeypatch.setattr(prepared, "reachable", lambda urls: True)
    monkeypatch.setattr(epath, "Path", no_package)
    with pytest.raises(
        ScalingError, match=r"gs://bucket/x cannot be read: ImportError: Please install gcsfs .gs:// needs gcsfs"
    ):
        opened("tfds:gs://bucket/x", tmp_path)


def test_what_tfds_cannot_download_is_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: object) -> None:
        raise OSError("Failed to get url\nand more")

    monkeypatch.setattr(prepared, "reachable", lambda urls: True)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", failing)
    with pytest.raises(ScalingError, match=r"cannot prepare 'tiny_shakespeare': OSError: Failed to get url$") as caught:
        found("tiny_shakespeare")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", [0, 9, 12, 700, -1], ids=["length", "its checksum", "content", "text", "checksum"])
def test_a_damaged_tfrecord_is_named_with_its_record(home: Path, tmp_path: Path, at: int) -> None:
    """One bit of record 2, which begins after two of known lengths, is turned."""
    directory = sample(home, train=4, validation=2)
    as_tfrecord(directory)
    (shard,) = directory.glob("*train*")
    content = bytearray(shard.read_bytes())
    begins = [0]
    while begins[-1] < len(content):
        begins.append(begins[-1] + 16 + int.from_bytes(content[begins[-1] : begins[-1] + 8], "little"))
    content[begins[2] + at if at >= 0 else begins[3] + at] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ScalingError, match=rf"{shard.name}: record 2 is damaged: it does not have its checksum") as caught:
        opened(f"tfds:{directory}", tmp_path)
    assert "\n" not in str(caught.value)


def test_splits_as_tfds_spells_them(home: Path, tmp_path: Path) -> None:
    """Against the examples that TFDS itself gives for the same words."""
    directory = sample(home, train=40, validation=4, test=6)
    builder = tfds.builder_from_directory(directory)
    for train, held_out in (("train[:10]", "train[-5:]"), ("train[25%:75%]", "test"), ("train[:4]+test", "validation")):
        corpus = opened("tfds:lab_sample", tmp_path, train_split=train, validation_split=held_out)
        for split, name in (("train", train), ("validation", held_out)):
            expected = [example["text"].decode() for example in builder.as_data_source(split=name)]
            assert sorted(corpus.texts(split)) == sorted(expected)
    assert opened("tfds:lab_sample", tmp_path, train_split="validation").counts.documents == {"train": 4, "validation": 6}
    for split in ("dev", "train[:10%]+dev", "dev[5:]"):
        with pytest.raises(ScalingError, match=r"has no split dev.*; it has .*train"):
            opened("tfds:lab_sample", tmp_path, train_split=split)
    for split in ("train[:41]", "train[ten:]"):
        with pytest.raises(ScalingError, match=r"has no split train\[.*: .*\(as train\[:10%\]") as caught:
            opened("tfds:lab_sample", tmp_path, train_split=split)
        assert "\n" not in str(caught.value)


def test_training_documents_that_nearly_equal_held_out_ones_are_dropped(home: Path, tmp_path: Path) -> None:
    class NearSample(LabSample):
        def _generate_examples(self, name: str, size: int) -> object:
            for number in range(size):
                text = prose(number if name == "validation" else hash_of(name, number))
                yield number, {"text": text if name == "validation" else text.replace("\n", "\nx", 1), "number": number}

    builder = NearSample(splits={"train": 30, "validation": 4}, data_dir=home, file_format="array_record")
    builder.download_and_prepare()
    corpus = opened(f"tfds:{builder.data_path}", tmp_path)
    assert corpus.counts.near_held_out == 4
    assert corpus.counts.documents == {"train": 26, "validation": 4}


def test_a_dataset_in_a_bucket_is_copied_once(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket is a folder that `epath` is told to find at its address."""
    from etils import epath

    directory = sample(home, train=30, validation=4)
    path, copied = epath.Path, []
    monkeypatch.setattr(prepared, "reachable", lambda urls: True)
    monkeypatch.setattr(epath, "Path", lambda name: path(str(name).replace("gs://bucket", str(home))))
    for attempt in range(2):
        corpus = opened("tfds:gs://bucket/lab_sample", tmp_path)
        assert corpus.counts.documents == {"train": 30, "validation": 4}
        copied.append(sorted((each, each.stat().st_mtime_ns) for each in tmp_path.glob("cache/buckets/*/*")))
        assert {each.name for each, _ in copied[attempt]} == {each.name for each in directory.iterdir()}
    assert copied[0] == copied[1]


def test_a_bucket_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "reachable", lambda urls: False)
    with pytest.raises(ScalingError, match=r"gs://bucket/x cannot be reached.*hf:DIRECTORY"):
        opened("tfds:gs://bucket/x", tmp_path)
    with pytest.raises(ScalingError, match=r"a bucket is gs:// or s3://"):
        opened("tfds:ftp://bucket/x", tmp_path)

"""Documents by index, where they lie: `len(documents)`, `documents[i]` as bytes. Nothing is loaded before it is asked for.

Each class reads one form of storage; `Source.open` chooses. A source is a value, so that any process can open it for itself.
"""

import bisect
import functools
import json
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from scaling.errors import ScalingError


class Documents(Protocol):
    """The documents of some splits, one split after the other.

    Attributes:
        lengths: documents of each split.
    """

    lengths: list[int]

    def __getitem__(self, index: int) -> bytes: ...


@dataclass(frozen=True)
class Source:
    """Where documents are, and which of them.

    Attributes:
        kind: `parts` (files of ours, one text a record), `tfds` or `arrow`.
        splits: the training and, where the source has one, the held-out split.
    """

    kind: str
    directory: Path
    splits: tuple[str, ...] = ("documents",)
    text_field: str = "text"

    @property
    def files(self) -> list[Path]:
        """All files of the dataset, sorted."""
        homes = [self.directory, *(arrow_splits(self.directory).values() if self.kind == "arrow" else [])]
        return sorted({path for home in homes for path in home.iterdir() if path.is_file()})

    def open(self) -> Documents:
        """Its documents.

        Raises:
            ScalingError: they are damaged, or have no such split or field.
        """
        kinds: dict[str, Callable[[Source], Documents]] = {"parts": Parts, "tfds": Tfds, "arrow": Arrow}
        return kinds[self.kind](self)


def text_of(documents: Documents, index: int) -> str:
    """A document; what is not UTF-8 becomes U+FFFD."""
    return documents[index].decode(errors="replace")


class Records(Protocol):
    """The records of one file."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> bytes: ...


class ArrayRecord:
    """The records of an ArrayRecord file; of one that is missing or cut there are none."""

    def __init__(self, path: str | Path):
        from array_record.python.array_record_module import ArrayRecordReader

        self._path, self._reader = path, ArrayRecordReader(str(path), options="readahead_buffer_size:0")

    def __len__(self) -> int:
        return self._reader.num_records() if self._reader.ok() else 0

    def __getitem__(self, index: int) -> bytes:
        try:
            return self._reader.read([index])[0]
        except RuntimeError as error:  # what its checksums say
            reason = str(error).splitlines()[0]
            raise ScalingError(f"{self._path}: record {index} is damaged: {reason}; get the file anew") from None


class TfRecord:
    """The whole records of a TFRecord file: each is its length in 8 bytes, their checksum, itself, its checksum.

    The checksums are masked CRC-32C, 4 bytes (TensorFlow, `core/lib/io/record_writer.h` and `core/lib/hash/crc32c.h`).

    Raises:
        ScalingError: a checksum differs: of a length when the file is opened, of a record when that is read.
    """

    def __init__(self, path: str | Path):
        self._path = path
        self._content: Any = b""
        self._starts: list[int] = []
        if Path(path).is_file() and Path(path).stat().st_size:
            with open(path, "rb") as file:
                self._content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = 0
        while start + 16 <= len(self._content):
            end = start + 16 + int.from_bytes(self._checked(start, 8, len(self._starts)), "little")
            if end <= len(self._content):
                self._starts.append(start)
            start = end

    def _checked(self, start: int, length: int, record: int) -> bytes:
        import google_crc32c

        end = start + length
        content, expected = self._content[start:end], int.from_bytes(self._content[end : end + 4], "little")
        found = google_crc32c.value(content)
        if ((found >> 15 | found << 17) + 0xA282EAD8) % 2**32 != expected:
            raise ScalingError(f"{self._path}: record {record} is damaged: it does not have its checksum; get the file anew")
        return content

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        start = self._starts[index]
        return self._checked(start + 12, int.from_bytes(self._content[start : start + 8], "little"), index)


class _Pieces:
    """Stretches of records, one after the other, found by index."""

    def __init__(self, pieces: Sequence[tuple[Records, int, int]]):
        """Each piece is the records of a file, how many of them to skip and how many to take."""
        self._pieces = list(pieces)
        self._ends = list(accumulate(take for _, _, take in pieces))

    def __getitem__(self, index: int) -> bytes:
        number = bisect.bisect_right(self._ends, index)
        records, skip, take = self._pieces[number]
        return records[skip + index - (self._ends[number] - take)]


class Parts:
    """Text of ours: `part-*.array_record`, each record a document."""

    def __init__(self, source: Source):
        files = [ArrayRecord(path) for path in sorted(source.directory.glob("part-*.array_record"))]
        self._records = _Pieces([(records, 0, len(records)) for records in files])
        self.lengths = [sum(map(len, files))]

    def __getitem__(self, index: int) -> bytes:
        return self._records[index]


class Tfds:
    """A dataset prepared by TFDS as array_record or tfrecord, read without TensorFlow."""

    def __init__(self, source: Source):
        import tensorflow_datasets as tfds

        info = tfds.builder_from_directory(source.directory).info
        if source.text_field not in info.features:
            raise no_field(source, info.features)
        self._features, self._text_field = info.features, source.text_field
        form = "tfrecord" if info.file_format is None else info.file_format.value
        kind: Callable[[str], Records] = TfRecord if form == "tfrecord" else ArrayRecord
        open_file = functools.cache(kind)
        pieces: list[tuple[Records, int, int]] = []
        self.lengths = []
        for split in source.splits:
            try:
                files = info.splits[split].file_instructions
            except (ValueError, KeyError, AssertionError, NotImplementedError) as error:
                raise no_split(source.directory, split, info.splits, error) from None
            held = {each.filename: len(open_file(each.filename)) for each in files}
            due = {each.filename: each.examples_in_shard for each in files}
            if held != due:  # of a shard that is missing or cut TFDS itself says nothing
                raise ScalingError(
                    f"{source.directory} is damaged: its {split} split holds {sum(held.values())} of {sum(due.values())} "
                    "examples; delete it and prepare it again"
                )
            pieces += [(open_file(each.filename), each.skip, each.take) for each in files]
            self.lengths.append(sum(each.take for each in files))
        self._records = _Pieces(pieces)

    def __getitem__(self, index: int) -> bytes:
        value = self._features.deserialize_example_np(self._records[index])[self._text_field]
        if not isinstance(value, bytes):
            raise no_text(self._text_field, type(value).__name__)
        return value


class Arrow:
    """A dataset written by `save_to_disk` of Hugging Face's `datasets`: Arrow streams, mapped into memory."""

    def __init__(self, source: Source):
        homes = arrow_splits(source.directory)
        open_split = functools.cache(lambda name: _Column(source, homes[name]))
        pieces: list[tuple[Records, int, int]] = []
        self.lengths = []
        for split in source.splits:
            stretches = [(split, 0, len(open_split(split)))] if split in homes else _stretches(source, split, homes, open_split)
            pieces += [(open_split(name), start, stop - start) for name, start, stop in stretches]
            self.lengths.append(sum(stop - start for _, start, stop in stretches))
        self._records = _Pieces(pieces)

    def __getitem__(self, index: int) -> bytes:
        return self._records[index]


class _Column:
    """The texts of a split on disk, and how many are in each of its files."""

    def __init__(self, source: Source, home: Path):
        import pyarrow as pa

        state = json.loads((home / "state.json").read_text())
        try:
            files = [pa.memory_map(str(home / each["filename"])) for each in state["_data_files"]]
            tables = [pa.ipc.open_stream(file).read_all() for file in files]
        except (OSError, pa.ArrowInvalid) as error:
            raise ScalingError(f"{home} is damaged: {error}") from None
        table = pa.concat_tables(tables)
        if source.text_field not in table.column_names:
            raise no_field(source, table.column_names)
        self._texts = table[source.text_field]
        if not (pa.types.is_string(self._texts.type) or pa.types.is_large_string(self._texts.type)):
            raise no_text(source.text_field, str(self._texts.type))
        self.shard_lengths = list(map(len, tables))

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, index: int) -> bytes:
        text = self._texts[index]
        return text.as_buffer().to_pybytes() if text.is_valid else b""


def _stretches(
    source: Source, split: str, homes: dict[str, Path], open_split: Callable[[str], _Column]
) -> list[tuple[str, int, int]]:
    """What a split as TFDS spells it is: of some splits on disk, from where to where."""
    import tensorflow_datasets as tfds  # for its reading of the words alone

    columns = {name: open_split(name) for name in homes}
    sizes = {name: SimpleNamespace(num_examples=len(each), shard_lengths=each.shard_lengths) for name, each in columns.items()}
    try:
        found = tfds.core.ReadInstruction.from_spec(split).to_absolute(sizes)
    except (ValueError, NotImplementedError) as error:
        raise no_split(source.directory, split, homes, error) from None
    whole = [(each.splitname, each.from_ or 0, len(columns[each.splitname]) if each.to is None else each.to) for each in found]
    return [(name, start, max(start, stop)) for name, start, stop in whole]


def arrow_splits(directory: Path) -> dict[str, Path]:
    """The directory of each split; of a dataset without splits, all of it is `train`.

    Raises:
        ScalingError: it is not what `save_to_disk` writes.
    """
    if (directory / "state.json").is_file():
        return {"train": directory}
    try:
        names = json.loads((directory / "dataset_dict.json").read_text())["splits"]
    except (OSError, ValueError, KeyError):
        raise ScalingError(f"{directory} is no dataset on disk: it has no state.json and no dataset_dict.json") from None
    return {name: directory / name for name in names}


def no_split(directory: Path, split: str, known: Sequence[str] | Any, error: Exception | None = None) -> ScalingError:
    """The error for a split that is not there, or for a slice that cannot be taken of one that is."""
    names = {part.split("[")[0].strip() for part in split.split("+")}
    if error is None or not names <= {*known, "all"}:
        return ScalingError(f"{directory} has no split {split}; it has {', '.join(known)}")
    reason = str(error).splitlines()[-1]
    return ScalingError(f"{directory} has no split {split}: {reason} (as train[:10%], train[100:200] or train+test)")


def no_field(source: Source, known: Sequence[str] | Any) -> ScalingError:
    """The error for a field that is not there."""
    names = ", ".join(sorted(known))
    return ScalingError(f"{source.directory} has no field {source.text_field!r} (data.text_field); it has {names}")


def no_text(field: str, kind: str) -> ScalingError:
    """The error for a field of something else."""
    return ScalingError(f"the field {field!r} holds {kind}, not text")

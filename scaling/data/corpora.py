"""A corpus: the documents a name stands for, without duplicates, in an order and a split that only content decides.

`tfds:NAME` and `hf:DIRECTORY` are read where they lie; the text of `stdlib` and `files:PATTERN` is brought into records first.
Either is surveyed once, and the survey kept under a fingerprint of the source: its files' paths, sizes and modification times.
That notices every added, removed or edited file in milliseconds, where hashing the content would read it all each time; a file
touched without a change costs one more survey, and comes to the same hash.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scaling.data.atomic import new_file, resumable_directory
from scaling.data.configuration import CorpusConfig
from scaling.data.documents import Source, arrow_splits, no_split, text_of
from scaling.data.files import matching_files, read_documents, stdlib_files
from scaling.data.parts import ALONE, Part, Workforce
from scaling.data.prepared import dataset_directory, tfds_splits
from scaling.data.survey import Counts, survey
from scaling.errors import ScalingError

_METHOD = 2  # raised when the same files would come to another corpus
_PART_BYTES = 2**25  # of the files whose text is in one file of records
_KINDS = ("stdlib", "files", "tfds", "hf")


@dataclass(frozen=True)
class Corpus:
    """A surveyed corpus; `hash` (16 hexadecimal digits) is of its documents' content, in order, and of their split."""

    name: str
    hash: str
    counts: Counts
    home: Path
    source: Source
    drops_near: bool
    """Whether near-duplicates within training are taken out."""

    def texts(self, split: str, start: int = 0, stop: int | None = None) -> Iterator[str]:
        """The documents `start` to `stop` of `train` or `validation`, in the order of their digests."""
        documents = self.source.open()
        for index in np.load(self.home / f"{split}.npy", mmap_mode="r")[start:stop]:
            yield text_of(documents, int(index))

    def sizes(self, split: str) -> np.ndarray:
        """UTF-8 bytes of each document of the split."""
        return np.load(self.home / f"{split}.sizes.npy")


def open_corpus(config: CorpusConfig, directory: Path, workforce: Workforce = ALONE) -> Corpus:
    """The corpus of that configuration, surveyed now or before, kept below `directory`.

    Raises:
        ScalingError: it is not known, missing, empty, unreadable, or too small to hold something out.
    """
    files, source = _find(config, directory)
    arguments = [_METHOD, config.text_field, config.train_split, config.validation_split, config.near_duplicates]
    home = directory / "corpora" / _fingerprint(files or source.files, arguments)
    if not (home / "corpus.json").is_file():
        with resumable_directory(home) as partial:
            here = source
            if files:
                _bring_text(files, config.text_field, partial / "text", workforce)
                here = Source("parts", partial / "text")
            content, counts = survey(config.corpus, here, config.near_duplicates == "drop", partial, workforce)
            record = {"name": config.corpus, "hash": content, "counts": asdict(counts)}
            with new_file(partial / "corpus.json") as file:
                file.write_text(json.dumps(record, indent=1))
    record = json.loads((home / "corpus.json").read_text())
    source = Source("parts", home / "text") if files else source
    return Corpus(config.corpus, record["hash"], Counts(**record["counts"]), home, source, config.near_duplicates == "drop")


def _find(config: CorpusConfig, directory: Path) -> tuple[list[Path], Source]:
    """The local files, or the prepared source, that a corpus stands for."""
    kind, _, rest = config.corpus.partition(":")
    if config.corpus == "stdlib" or (kind == "files" and rest):
        if config.train_split or config.validation_split:
            raise ScalingError(f"data.train_split and data.validation_split are for tfds: and hf:, not for {config.corpus}")
        if "://" in rest:
            raise ScalingError(f"data.corpus: {config.corpus}: files: are on this machine's disks; copy them here")
        files = matching_files(rest) if rest else stdlib_files()
        if not files:
            raise ScalingError(
                f"data.corpus: no files match {config.corpus}; give a folder or a glob of text, .jsonl or .parquet files"
            )
        return files, Source("parts", Path())
    return [], find_source(config, directory)


def find_source(config: CorpusConfig, directory: Path) -> Source:
    """Where the dataset is that a `tfds:` or `hf:` corpus names, and which of its splits are meant.

    Raises:
        ScalingError: there is none; the kind of corpus is not known.
    """
    kind, _, rest = config.corpus.partition(":")
    if kind == "tfds" and rest:
        place = dataset_directory(rest, directory / "buckets")
        return Source("tfds", place, _splits(config, place, tfds_splits(place)), config.text_field)
    if kind == "hf" and rest:
        place = Path(rest).expanduser().absolute()
        return Source("arrow", place, _splits(config, place, list(arrow_splits(place))), config.text_field)
    near = difflib.get_close_matches(kind, _KINDS, n=1)
    hint = f"; did you mean {':'.join([near[0], rest] if rest else near)}?" if near else ""
    raise ScalingError(f"data.corpus: {config.corpus!r} is none of stdlib, files:PATTERN, tfds:NAME and hf:DIRECTORY{hint}")


def _splits(config: CorpusConfig, place: Path, names: Sequence[str]) -> tuple[str, ...]:
    """The training split and, where there is one, the held-out one."""
    train = config.train_split or ("train" if "train" in names or len(names) > 1 else names[0])
    used = {part.split("[")[0].strip() for part in train.split("+")}
    held_out = config.validation_split or next((name for name in ("validation", "test") if name in {*names} - used), None)
    for each in (train, held_out) if held_out else (train,):
        for part in each.split("+"):
            if re.split(r"\[", part)[0].strip() not in (*names, "all"):
                raise no_split(place, part.strip(), names)
    return (train, held_out) if held_out else (train,)


def _fingerprint(files: list[Path], arguments: Sequence[object]) -> str:
    facts = [(str(file.absolute()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps([arguments, facts]).encode()).hexdigest()[:16]


def _bring_text(files: list[Path], text_field: str, home: Path, workforce: Workforce) -> None:
    """Write the documents of the files as records, about `_PART_BYTES` of files a part."""
    home.mkdir(exist_ok=True)
    groups: list[tuple[list[Path], int]] = [([], 0)]
    for file in files:
        if groups[-1][1] > _PART_BYTES:
            groups.append(([], 0))
        group, size = groups.pop()
        groups.append(([*group, file], size + file.stat().st_size))
    parts = [
        Part(home / f"part-{number:06d}.array_record", _write_part, (group, text_field), size)
        for number, (group, size) in enumerate(groups)
    ]
    workforce.make("records of text", parts)


def _write_part(path: Path, files: list[Path], text_field: str) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter

    with new_file(path) as partial:
        writer = ArrayRecordWriter(str(partial), "group_size:1")
        try:
            for file in files:
                for text in read_documents(file, text_field):
                    writer.write(text)
            writer.close()
        except RuntimeError as error:  # what it says of a full disk
            raise OSError(str(error)) from None

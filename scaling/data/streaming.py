"""A dataset that is trained on without being tokenised first: `data.streaming`, for what is too large for that.

Nothing reads all of it: there is no search for duplicates and no content hash. It is named by the documents of a sample, their
number and the sizes of its files; what is held out is a small token store as ever. Of the training documents those that equal a
held-out one of that store are left out. Shapes: S documents of a sample, L tokens of one.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scaling.data.atomic import new_directory, new_file, save_array
from scaling.data.blocks import Blocks, Lengths, StreamedBatches
from scaling.data.configuration import DataConfig
from scaling.data.corpora import find_source
from scaling.data.documents import Documents, Source, text_of
from scaling.data.permutation import permutation_key, permute
from scaling.data.store import open_store, write_store
from scaling.data.tokenizers import Tokenizer, label_of, load_tokenizer, make_tokenizer
from scaling.data.validation import ValidationSet, validation_windows
from scaling.errors import ScalingError

if TYPE_CHECKING:
    from scaling.families import AnyRun

_METHOD = 1  # raised when the same documents would come to other sequences
_SAMPLE = 1024  # documents of each split


@dataclass(frozen=True)
class StreamedCorpus:
    """The documents of a source; `hash` (16 hexadecimal digits) is of what the module says names them.

    Attributes:
        documents: of the training split.
    """

    name: str
    hash: str
    source: Source
    documents: int


@dataclass(frozen=True, eq=False)
class Streamed:
    """A corpus that is tokenised as it is read; otherwise as `dataset.Dataset`.

    Attributes:
        lengths: of the training documents, in tokens.
        held_out_documents: digests of the documents of the validation store.
    """

    corpus: StreamedCorpus
    tokenizer: Tokenizer
    held_out: ValidationSet
    lengths: Lengths
    held_out_documents: frozenset[bytes]

    contamination: None = None

    def batches(self, config: "AnyRun") -> StreamedBatches:
        """The training batches of a run."""
        begins = int(self.tokenizer.end_of_document is not None) if config.data.documents == "separate" else None
        length = config.data.sequence_length
        blocks = Blocks(self.tokens_of(), self.corpus.documents, self.lengths, length, config.seed, begins)
        return StreamedBatches(blocks, length, config.batch_size)

    def tokens_of(self) -> "TokensOf":
        """What tokenises its training documents."""
        return TokensOf(self.corpus.source.open(), self.tokenizer, self.held_out_documents)

    @property
    def report(self) -> list[str]:
        """What was read, for people."""
        tokenizer, lengths = self.tokenizer, self.lengths
        return [
            f"corpus {self.corpus.name} ({self.corpus.hash}), tokenizer of {tokenizer.vocabulary} ({tokenizer.hash})",
            f"train: {self.corpus.documents:,} documents, about {lengths.mean:,.0f} tokens each (standard deviation "
            f"{lengths.deviation:,.0f}), tokenised as they are read; duplicates are not looked for",
            f"validation: {len(self.held_out_documents):,} documents in the store, {self.held_out.tokens:,} tokens evaluated",
        ]


class TokensOf:
    """The tokens of a training document, its end included."""

    def __init__(self, documents: Documents, tokenizer: Tokenizer, left_out: frozenset[bytes]):
        self._documents, self._tokenizer, self._left_out = documents, tokenizer, left_out
        end = tokenizer.end_of_document
        self._end = np.array([] if end is None else [end], np.uint32)

    def __call__(self, number: int) -> np.ndarray:
        """Of the document of this number, unsigned integers [L]; none of one that is left out."""
        text = text_of(self._documents, number)
        if not text.strip() or _digest(text) in self._left_out:
            return np.empty(0, np.uint32)
        return np.append(self._tokenizer.encode(text), self._end)


def open_stream(data: DataConfig, directory: Path) -> Streamed:
    """The dataset of a configuration with `data.streaming`; its validation store is below `directory`, made where it is not.

    Raises:
        ScalingError: no such corpus, one without a held-out split, one that is damaged or too small.
    """
    source = find_source(data, directory)
    if len(source.splits) == 1:
        raise ScalingError(
            f"data.streaming needs a held-out split, and {data.corpus} has {source.splits[0]} alone: name one, as by "
            "data.train_split train[1%:] and data.validation_split train[:1%]"
        )
    documents = source.open()
    training, held_out = documents.lengths
    corpus = StreamedCorpus(data.corpus, _hash(source, documents), source, training)
    home = directory / "streams" / corpus.hash / f"{label_of(data.tokenizer)}-{data.validation_tokens}"
    if not home.is_dir():
        with new_directory(home) as partial:
            _write(partial, data, documents, training, held_out)
    tokenizer = load_tokenizer(home / "tokenizer.json")
    store = open_store(home, "validation", tokenizer)
    windows = validation_windows(store, data.sequence_length, data.validation_tokens, data.documents == "separate")
    lengths = Lengths(**json.loads((home / "lengths.json").read_text()))
    digests = frozenset(row.tobytes() for row in np.load(home / "digests.npy"))
    return Streamed(corpus, tokenizer, windows, lengths, digests)


def _write(home: Path, data: DataConfig, documents: Documents, training: int, held_out: int) -> None:
    """The tokenizer, the validation store with its documents' digests, and the lengths of training documents."""
    texts = (text_of(documents, number) for number in _shuffled(training))
    tokenizer = make_tokenizer(data.tokenizer, texts)
    tokenizer.save(home / "tokenizer.json")
    digests: dict[bytes, None] = {}

    def until_enough() -> Iterator[str]:
        left = data.validation_tokens + 1
        for number in _shuffled(held_out):
            text = text_of(documents, training + number)
            digest = _digest(text)
            if left > 0 and text.strip() and digest not in digests:
                digests[digest] = None
                left -= len(tokenizer.encode(text)) + (tokenizer.end_of_document is not None)
                yield text
            elif left <= 0:
                return

    write_store(home, "validation", until_enough(), tokenizer)
    save_array(home / "digests.npy", np.array([np.frombuffer(each, np.uint8) for each in digests], np.uint8))
    reader = TokensOf(documents, tokenizer, frozenset(digests))
    length_S = np.array([len(reader(number)) for number, _ in zip(_shuffled(training), range(_SAMPLE), strict=False)])
    if not length_S.any():
        raise ScalingError(f"data.corpus: none of {len(length_S):,} training documents of {data.corpus} holds text")
    with new_file(home / "lengths.json") as file:
        file.write_text(json.dumps(asdict(Lengths(float(length_S.mean()), float(length_S.std())))))


def _hash(source: Source, documents: Documents) -> str:
    sizes = sorted(file.stat().st_size for file in source.files if file.suffix != ".json")
    hashed = hashlib.sha256(json.dumps([_METHOD, sizes, documents.lengths]).encode())
    start = 0
    for length in documents.lengths:
        for number, _ in zip(_shuffled(length), range(_SAMPLE), strict=False):
            hashed.update(_digest(text_of(documents, start + number)))
        start += length
    return hashed.hexdigest()[:16]


def _shuffled(count: int) -> Iterator[int]:
    """The numbers below `count` in a random order, the same always."""
    for first in range(0, count, _SAMPLE):
        index = np.arange(first, min(first + _SAMPLE, count))
        yield from permute(index, count, permutation_key(0, np.zeros_like(index))).tolist()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]

"""The flat token store: one split of one corpus under one tokenizer, in shards that are memory-mapped.

`<split>-00000.bin` holds the tokens of a shard's documents, each with its end-of-document token; `<split>-00000.starts.npy`
where each document begins; `<split>-00000.json`, written last, what they must add up to; `<split>.json` is the index of all
shards. Shapes: N tokens, C documents, V vocabulary, B stretches of tokens, L their length.
"""

import functools
import json
import mmap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.data.atomic import new_file, save_array
from scaling.data.tokenizers import Tokenizer
from scaling.errors import ScalingError

_KEPT_BYTES = 2**27
"""Of a larger store no page stays in the process's memory after it was read; the system's cache may still have it."""


@dataclass(frozen=True, eq=False)
class TokenStore:
    """A split's tokens, shard after shard.

    Attributes:
        path: of the index, without its ending.
        maps: the files of the shards.
        dtype: uint8, uint16 or uint32, the smallest that holds the vocabulary.
        starts: of each shard, int64 [C + 1], where each of its documents begins, and the end of the last.
        bytes: UTF-8 bytes of the documents.
        counted_bytes: what `token_bytes_V` says of all tokens: `bytes` too, where the tokenizer is lossless.
        token_bytes_V: source bytes of each token.
        has_ends: whether each document has its end-of-document token.
    """

    path: Path
    maps: tuple[mmap.mmap, ...]
    dtype: np.dtype
    starts: tuple[np.ndarray, ...]
    bytes: int
    counted_bytes: int
    token_bytes_V: np.ndarray
    has_ends: bool

    @functools.cached_property
    def shards(self) -> tuple[np.ndarray, ...]:
        """The tokens of each shard, read-only views of the files."""
        return tuple(np.frombuffer(each, self.dtype) for each in self.maps)

    @property
    def tokens(self) -> int:
        """How many tokens there are, ends of documents included."""
        return int(self._edges[-1])

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return sum(map(len, self.starts)) - len(self.starts)

    @property
    def token_N(self) -> np.ndarray:
        """All tokens as one array: a view of the file where there is one shard, else a copy in memory."""
        return self.shards[0] if len(self.shards) == 1 else np.concatenate(self.shards)

    @property
    def start_C1(self) -> np.ndarray:
        """Where each document begins, and the end of the last, int64 [C + 1]."""
        if len(self.starts) == 1:
            return self.starts[0]
        offsets = zip(self._edges[:-1].tolist(), self.starts, strict=True)
        return np.concatenate([*(offset + start_C1[:-1] for offset, start_C1 in offsets), self._edges[-1:]])

    @property
    def begin_C(self) -> np.ndarray:
        """Where each document begins for who is to predict its first token: at the end mark of the one before, int64 [C]."""
        return np.maximum(self.start_C1[:-1] - self.has_ends, 0)

    def read(self, first_B: np.ndarray, length: int) -> np.ndarray:
        """The stretches of `length` tokens that begin at `first_B`, [B, L]."""
        edges = self._edges
        shard_B = np.searchsorted(edges, first_B, side="right") - 1
        whole_B = first_B + length <= edges[shard_B + 1]
        token_BxL = np.empty((len(first_B), length), self.dtype)
        for shard in np.unique(shard_B[whole_B]):
            rows = whole_B & (shard_B == shard)
            view = np.lib.stride_tricks.sliding_window_view(self.shards[shard], length)
            token_BxL[rows] = view[first_B[rows] - edges[shard]]
        for row in np.flatnonzero(~whole_B):
            first, last = first_B[row], first_B[row] + length
            parts = range(shard_B[row], int(np.searchsorted(edges, last)))
            pieces = [self.shards[each][max(0, first - edges[each]) : last - edges[each]] for each in parts]
            token_BxL[row] = np.concatenate(pieces)
        if edges[-1] * self.dtype.itemsize > _KEPT_BYTES:
            for shard in {*shard_B.tolist(), *np.minimum(shard_B + 1, len(self.maps) - 1).tolist()}:
                self.maps[shard].madvise(mmap.MADV_DONTNEED)
        return token_BxL

    def bytes_of(self, tokens: np.ndarray) -> float:
        """UTF-8 bytes of source text that these tokens of the store stand for.

        Where the tokenizer normalises text its tokens' own bytes are not the source's: they count as their part of them.
        """
        counted = int(self.token_bytes_V[tokens].sum(dtype=np.int64))
        return counted if self.counted_bytes == self.bytes else counted * self.bytes / self.counted_bytes

    @functools.cached_property
    def _edges(self) -> np.ndarray:
        return np.cumsum([0, *map(len, self.shards)])


def encoded(texts: Iterable[str], tokenizer: Tokenizer) -> Iterator[tuple[np.ndarray, int]]:
    """Of each text its tokens [L], the end of the document included, and its UTF-8 bytes."""
    end = np.array([] if tokenizer.end_of_document is None else [tokenizer.end_of_document], np.uint32)
    for text in texts:
        yield np.append(tokenizer.encode(text), end), len(text.encode())


def write_store(directory: Path, split: str, texts: Iterable[str], tokenizer: Tokenizer) -> None:
    """Encode the texts, one after the other, to a store of one shard in `directory`."""
    write_tokens(directory, split, encoded(texts, tokenizer), tokenizer)


def write_tokens(directory: Path, split: str, documents: Iterable[tuple[np.ndarray, int]], tokenizer: Tokenizer) -> None:
    """Write documents, each the tokens [L] of it and its UTF-8 bytes, to a store of one shard in `directory`."""
    write_shard(shard_path(directory, split, 0), documents, tokenizer)
    write_index(directory, split, 1, tokenizer)


def shard_path(directory: Path, split: str, number: int) -> Path:
    """What says that a shard is whole."""
    return directory / f"{split}-{number:05d}.json"


def write_shard(path: Path, documents: Iterable[tuple[np.ndarray, int]], tokenizer: Tokenizer) -> None:
    """Write documents to the files of the shard whose `shard_path` is `path`, that one last."""
    dtype = _dtype(tokenizer)
    lengths, size, counted = [0], 0, 0
    with new_file(path.with_suffix(".bin")) as partial, partial.open("wb") as file:
        for token_L, document_bytes in documents:
            file.write(token_L.astype(dtype).tobytes())
            lengths.append(len(token_L))
            size += document_bytes
            counted += int(tokenizer.token_bytes_V[token_L].sum(dtype=np.int64))
        file.flush()
    start_C1 = np.cumsum(lengths, dtype=np.int64)
    save_array(path.with_suffix(".starts.npy"), start_C1)
    facts = {"tokens": int(start_C1[-1]), "documents": len(lengths) - 1, "bytes": size, "counted_bytes": counted}
    with new_file(path) as partial:
        partial.write_text(json.dumps(facts))


def write_index(directory: Path, split: str, shards: int, tokenizer: Tokenizer) -> None:
    """Write `<split>.json`, of so many shards that are there."""
    facts = [json.loads(shard_path(directory, split, number).read_text()) for number in range(shards)]
    index = {"dtype": _dtype(tokenizer).str, "tokenizer": tokenizer.hash, "end_of_document": tokenizer.end_of_document}
    with new_file(directory / f"{split}.json") as partial:
        partial.write_text(json.dumps({**index, "shards": facts}, indent=1))


def _dtype(tokenizer: Tokenizer) -> np.dtype:
    return np.min_scalar_type(tokenizer.vocabulary - 1).newbyteorder("<")


def open_store(directory: Path, split: str, tokenizer: Tokenizer) -> TokenStore:
    """The store of `split` in `directory`; nothing is read before it is used.

    Raises:
        ScalingError: it is missing, truncated, or written with another tokenizer.
    """
    remedy = f"delete {directory} and run again: it is made anew"
    path = directory / f"{split}.json"
    maps, starts = [], []
    try:
        index = json.loads(path.read_text())
        dtype = np.dtype(index["dtype"])
        for number, facts in enumerate(index["shards"]):
            path = shard_path(directory, split, number).with_suffix(".bin")
            held, due = path.stat().st_size, facts["tokens"] * dtype.itemsize
            start_C1 = np.load(path.with_suffix(".starts.npy"), mmap_mode="r")
            if held != due or len(start_C1) != facts["documents"] + 1:
                raise ScalingError(f"the token store {path} is damaged ({held} bytes instead of {due}); {remedy}")
            with path.open("rb") as file:
                maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            starts.append(start_C1)
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ScalingError):
            raise
        raise ScalingError(f"the token store {path} is damaged ({error}); {remedy}") from None
    if index["tokenizer"] != tokenizer.hash:
        raise ScalingError(f"the token store {directory / split} was written with another tokenizer; {remedy}")
    size, counted = (sum(facts[name] for facts in index["shards"]) for name in ("bytes", "counted_bytes"))
    has_ends = index["end_of_document"] is not None
    return TokenStore(directory / split, tuple(maps), dtype, tuple(starts), size, counted, tokenizer.token_bytes_V, has_ends)

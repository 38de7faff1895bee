"""The flat token store: one split of one corpus under one tokenizer, memory-mapped.

`<split>.bin` holds the tokens of all documents, each with its end-of-document token; `<split>.starts.npy` where each
document begins; `<split>.json` what they must add up to. Shapes: N tokens, C documents, V vocabulary.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.data.tokenizers import Tokenizer
from scaling.errors import ScalingError


@dataclass(frozen=True, eq=False)
class TokenStore:
    """A split's tokens.

    Attributes:
        token_N: the tokens, read-only: uint8, uint16 or uint32, the smallest that holds the vocabulary.
        start_C1: int64 [C + 1], where each document begins, and the end of the last.
        bytes: UTF-8 bytes of the documents.
        token_bytes_V: source bytes of each token.
    """

    path: Path
    token_N: np.ndarray
    start_C1: np.ndarray
    bytes: int
    token_bytes_V: np.ndarray

    @property
    def tokens(self) -> int:
        """How many tokens there are, ends of documents included."""
        return len(self.token_N)

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.start_C1) - 1


def write_store(directory: Path, split: str, texts: Iterable[str], tokenizer: Tokenizer) -> None:
    """Encode the texts, one after the other, to the files of `split` in `directory`."""
    end = np.array([] if tokenizer.end_of_document is None else [tokenizer.end_of_document], np.uint32)
    write_tokens(directory, split, ((np.append(tokenizer.encode(text), end), len(text.encode())) for text in texts), tokenizer)


def write_tokens(directory: Path, split: str, documents: Iterable[tuple[np.ndarray, int]], tokenizer: Tokenizer) -> None:
    """Write documents, each the tokens [L] of it and its UTF-8 bytes, to the files of `split` in `directory`."""
    dtype = np.min_scalar_type(tokenizer.vocabulary - 1).newbyteorder("<")
    lengths, size = [0], 0
    with (directory / f"{split}.bin").open("wb") as file:
        for token_L, document_bytes in documents:
            file.write(token_L.astype(dtype).tobytes())
            lengths.append(len(token_L))
            size += document_bytes
    start_C1 = np.cumsum(lengths, dtype=np.int64)
    np.save(directory / f"{split}.starts.npy", start_C1)
    sidecar = {"dtype": dtype.str, "tokens": int(start_C1[-1]), "documents": len(lengths) - 1, "bytes": size}
    sidecar |= {"tokenizer": tokenizer.hash, "end_of_document": tokenizer.end_of_document}
    (directory / f"{split}.json").write_text(json.dumps(sidecar, indent=1))


def open_store(directory: Path, split: str, tokenizer: Tokenizer) -> TokenStore:
    """The store of `split` in `directory`; nothing is read before it is used.

    Raises:
        ScalingError: it is missing, truncated, or written with another tokenizer.
    """
    path = directory / f"{split}.bin"
    try:
        sidecar = json.loads((directory / f"{split}.json").read_text())
        start_C1 = np.load(directory / f"{split}.starts.npy", mmap_mode="r")
        held = path.stat().st_size
    except (OSError, ValueError) as error:
        raise ScalingError(f"the token store {path} is damaged ({error}); {_remedy(directory)}") from None
    dtype = np.dtype(sidecar["dtype"])
    due = sidecar["tokens"] * dtype.itemsize
    if held != due or len(start_C1) != sidecar["documents"] + 1:
        raise ScalingError(f"the token store {path} is damaged ({held} bytes instead of {due}); {_remedy(directory)}")
    if sidecar["tokenizer"] != tokenizer.hash:
        raise ScalingError(f"the token store {path} was written with another tokenizer; {_remedy(directory)}")
    token_N = np.asarray(np.memmap(path, dtype, mode="r"))
    return TokenStore(path, token_N, start_C1, sidecar["bytes"], tokenizer.token_bytes_V)


def _remedy(directory: Path) -> str:
    return f"delete {directory} and run again: it is made anew"

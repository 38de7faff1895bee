"""Text to tokens and back: bytes, byte-level BPE, and the symbols of a synthetic world; those of others are in
`tokenizer_files`.

The first two are lossless, and each of their tokens stands for a definite number of source bytes, so that bits per byte
can be counted from the tokens alone. Shapes: L tokens of a text, V vocabulary.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scaling.data.configuration import TokenizerConfig
from scaling.errors import ScalingError

TRAINING_BYTES = 10**8  # a corpus is in the order of its digests, so that its beginning is a fair sample of it


class Tokenizer(Protocol):
    """What a store needs of a tokenizer.

    Attributes:
        vocabulary: number of token ids, the end of a document included.
        end_of_document: the id that follows every document, never in an encoded text; None where documents have no mark.
        hash: 16 hexadecimal digits that name what the tokenizer does.
        token_bytes_V: UTF-8 bytes of source text that each token stands for; 0 for the end of a document.
    """

    vocabulary: int
    end_of_document: int | None
    hash: str
    token_bytes_V: np.ndarray

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, unsigned integers [L], without the end of the document."""

    def decode(self, token_L: np.ndarray) -> str:
        """The text of whole tokens; ends of documents become nothing, incomplete characters U+FFFD."""

    def save(self, path: Path) -> None:
        """Write what `load_tokenizer` reads."""


class ByteTokenizer:
    """Every byte of UTF-8 is a token; 255, which UTF-8 never uses, ends a document."""

    vocabulary = 256
    end_of_document: int | None = 255
    hash = hashlib.sha256(b"bytes 256, 255 ends a document").hexdigest()[:16]
    token_bytes_V = np.array([1] * 255 + [0], np.uint16)

    def encode(self, text: str) -> np.ndarray:
        """The bytes of the text, uint8 [L]."""
        return np.frombuffer(text.encode(), np.uint8)

    def decode(self, token_L: np.ndarray) -> str:
        """The text of the bytes."""
        return token_L[token_L != 255].astype(np.uint8).tobytes().decode(errors="replace")

    def save(self, path: Path) -> None:
        """There is nothing to it but its name."""
        path.write_text(json.dumps({"kind": "bytes"}))


class BpeTokenizer:
    """Byte-level BPE (Sennrich et al. 2016; on bytes as in GPT-2) by HF `tokenizers`.

    The end of a document is the last id and no token of the BPE itself: no text can spell it. Where a small corpus
    ran out of pairs to merge, the ids from `learned` up to it are never used.
    """

    def __init__(self, inner: Any, vocabulary: int):
        self._inner = inner
        self.vocabulary = vocabulary
        self.end_of_document: int | None = vocabulary - 1
        self.learned = inner.get_vocab_size()
        model = json.loads(inner.to_str())["model"]
        tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
        definition = json.dumps([vocabulary, tokens, model["merges"]])
        self.hash = hashlib.sha256(definition.encode()).hexdigest()[:16]
        self.token_bytes_V = np.zeros(vocabulary, np.uint16)
        self.token_bytes_V[: len(tokens)] = [len(token) for token in tokens]  # one printable character per byte

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary: int) -> "BpeTokenizer":
        """Train on the texts (on the first 100 MB of them); the same texts always give the same tokenizer."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=vocabulary - 1, initial_alphabet=alphabet, show_progress=False)
        inner.train_from_iterator(beginning(texts, TRAINING_BYTES), trainer)
        return cls(inner, vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of the text, uint32 [L]."""
        return np.array(self._inner.encode(text).ids, np.uint32)

    def decode(self, token_L: np.ndarray) -> str:
        """The text of the tokens."""
        return self._inner.decode(token_L[token_L != self.end_of_document].tolist())

    def save(self, path: Path) -> None:
        """The `tokenizer.json` of HF `tokenizers`, and beside its fields the size of the vocabulary."""
        path.write_text(json.dumps({"kind": "bpe", "vocabulary": self.vocabulary, "tokenizer": self._inner.to_str()}))


class SymbolTokenizer:
    """The tokens of a synthetic world, written as its symbols: one after the other, or as words where one is longer."""

    end_of_document: int | None = None

    def __init__(self, symbols: list[str]):
        self._symbols = symbols
        self._separator = "" if all(len(symbol) == 1 for symbol in symbols) else " "
        self.vocabulary = len(symbols)
        self.hash = hashlib.sha256(json.dumps(symbols).encode()).hexdigest()[:16]
        self.token_bytes_V = np.zeros(self.vocabulary, np.uint16)  # a symbol is no text

    def encode(self, text: str) -> np.ndarray:
        """The tokens of symbols, uint32 [L].

        Raises:
            ScalingError: something that is no symbol of the world.
        """
        ids = {symbol: token for token, symbol in enumerate(self._symbols)}
        written = text.split() if self._separator else [symbol for symbol in text if not symbol.isspace()]
        for symbol in written:
            if symbol not in ids:
                raise ScalingError(f"{symbol!r} is no symbol of this world; it has {' '.join(self._symbols[:20])}")
        return np.array([ids[symbol] for symbol in written], np.uint32)

    def decode(self, token_L: np.ndarray) -> str:
        """The symbols."""
        return "".join(self._symbols[token] + self._separator for token in token_L.tolist())

    def save(self, path: Path) -> None:
        """Its symbols."""
        path.write_text(json.dumps({"kind": "symbols", "symbols": self._symbols}))


def beginning(texts: Iterable[str], limit: int) -> Iterator[str]:
    """The first texts, until they are `limit` UTF-8 bytes."""
    for text in texts:
        yield text
        limit -= len(text.encode())
        if limit <= 0:
            return


def label_of(config: TokenizerConfig) -> str:
    """What a directory is named that holds a text under this tokenizer."""
    if config.kind != "file":
        return f"{config.kind}-{config.vocabulary}"
    return f"file-{hashlib.sha256(Path(config.path or '').expanduser().read_bytes()).hexdigest()[:16]}"


def make_tokenizer(config: TokenizerConfig, training_texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that `config` names, trained on the texts where its kind is trained.

    Raises:
        ScalingError: a file that is not there or damaged, a package that is not installed.
    """
    if config.kind == "bytes":
        return ByteTokenizer()
    if config.kind == "bpe":
        return BpeTokenizer.train(training_texts, config.vocabulary)
    from scaling.data import tokenizer_files

    return tokenizer_files.gpt2() if config.kind == "gpt2" else tokenizer_files.read_tokenizer(config.path or "")


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer that `save` wrote.

    Raises:
        ScalingError: there is none, or not one of ours.
    """
    try:
        saved = json.loads(path.read_text())
        if saved["kind"] == "bytes":
            return ByteTokenizer()
        if saved["kind"] == "symbols":
            return SymbolTokenizer(saved["symbols"])
        if saved["kind"] == "bpe":
            from tokenizers import Tokenizer as Inner

            return BpeTokenizer(Inner.from_str(saved["tokenizer"]), saved["vocabulary"])
        from scaling.data import tokenizer_files

        if saved["kind"] == "huggingface":
            return tokenizer_files.HuggingFaceTokenizer(saved["tokenizer"])
        return tokenizer_files.SentencePieceTokenizer(base64.b64decode(saved["model"]))
    except (OSError, ValueError, KeyError) as error:
        raise ScalingError(f"{path} is not a saved tokenizer ({error}); delete {path.parent} and run again") from None

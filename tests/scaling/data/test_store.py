import itertools
from pathlib import Path

import numpy as np
import pytest

from scaling.data.store import TokenStore, encoded, open_store, shard_path, write_index, write_shard, write_store
from scaling.data.tokenizers import BpeTokenizer, ByteTokenizer
from scaling.errors import ScalingError


def stored(directory: Path, texts: list[str]) -> TokenStore:
    write_store(directory, "train", texts, ByteTokenizer())
    return open_store(directory, "train", ByteTokenizer())


def test_documents_and_their_ends(tmp_path: Path) -> None:
    store = stored(tmp_path, ["ab", "é", "c"])
    assert store.token_N.tolist() == [97, 98, 255, 0xC3, 0xA9, 255, 99, 255]
    assert store.token_N.dtype == np.uint8
    assert store.start_C1.tolist() == [0, 3, 6, 8]
    assert (store.tokens, store.documents, store.bytes) == (8, 3, 5)
    assert not store.token_N.flags.writeable


def test_the_smallest_dtype_that_holds_the_vocabulary(tmp_path: Path) -> None:
    tokenizer = BpeTokenizer.train(["abc abc"], 70_000)
    for vocabulary, dtype in ((300, np.uint16), (65_536, np.uint16), (65_537, np.uint32)):
        tokenizer = BpeTokenizer.train(["abc abc"], vocabulary)
        write_store(tmp_path, "train", ["abc"], tokenizer)
        store = open_store(tmp_path, "train", tokenizer)
        assert store.token_N.dtype == dtype
        assert store.token_N[-1] == vocabulary - 1


@pytest.mark.parametrize("name", ["train-00000.bin", "train-00000.starts.npy", "train.json"])
def test_a_truncated_or_missing_file_is_detected(tmp_path: Path, name: str) -> None:
    stored(tmp_path, ["some text"] * 10)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ScalingError, match=r"damaged.*run again"):
        open_store(tmp_path, "train", ByteTokenizer())
    file.unlink()
    with pytest.raises(ScalingError, match=r"damaged.*run again"):
        open_store(tmp_path, "train", ByteTokenizer())


def test_a_store_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    stored(tmp_path, ["some text"])
    with pytest.raises(ScalingError, match="another tokenizer"):
        open_store(tmp_path, "train", BpeTokenizer.train(["some text"], 300))


@pytest.mark.parametrize("bounds", [[0, 5], [0, 1, 5], [0, 2, 3, 5], [0, 1, 2, 3, 4, 5]])
def test_shards_read_as_one(tmp_path: Path, bounds: list[int]) -> None:
    texts, tokenizer = ["ab", "é", "a longer document", "c", "the last"], ByteTokenizer()
    (tmp_path / "one").mkdir()
    whole = stored(tmp_path / "one", texts)
    for number, (start, stop) in enumerate(itertools.pairwise(bounds)):
        write_shard(shard_path(tmp_path, "train", number), encoded(texts[start:stop], tokenizer), tokenizer)
    write_index(tmp_path, "train", len(bounds) - 1, tokenizer)
    store = open_store(tmp_path, "train", tokenizer)
    assert (store.tokens, store.documents, store.bytes) == (whole.tokens, whole.documents, whole.bytes)
    assert np.array_equal(store.token_N, whole.token_N)
    assert np.array_equal(store.start_C1, whole.start_C1)
    for length in (1, 2, 7, whole.tokens):
        first = np.random.default_rng(0).permutation(whole.tokens - length + 1)
        expected = np.lib.stride_tricks.sliding_window_view(whole.token_N, length)[first]
        assert np.array_equal(store.read(first, length), expected)


def test_a_missing_shard_is_detected(tmp_path: Path) -> None:
    tokenizer = ByteTokenizer()
    for number in range(2):
        write_shard(shard_path(tmp_path, "train", number), encoded(["some text"], tokenizer), tokenizer)
    write_index(tmp_path, "train", 2, tokenizer)
    shard_path(tmp_path, "train", 1).with_suffix(".bin").unlink()
    with pytest.raises(ScalingError, match=r"train-00001.bin is damaged.*run again"):
        open_store(tmp_path, "train", tokenizer)


def test_documents_begin_at_the_mark_before_them(tmp_path: Path) -> None:
    assert stored(tmp_path, ["ab", "é", "c"]).begin_C.tolist() == [0, 2, 5]

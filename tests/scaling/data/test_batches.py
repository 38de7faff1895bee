import math
from pathlib import Path

import numpy as np
import pytest
from sample_text import prose

from scaling.data.batches import Batches, MixedBatches
from scaling.data.store import TokenStore, open_store, write_store
from scaling.data.tokenizers import BpeTokenizer, ByteTokenizer, Tokenizer
from scaling.data.validation import validation_windows
from scaling.data.windows import Windows, without_marks
from scaling.errors import ScalingError


def stored(directory: Path, texts: list[str], tokenizer: Tokenizer | None = None) -> TokenStore:
    tokenizer = tokenizer or ByteTokenizer()
    write_store(directory, "train", texts, tokenizer)
    return open_store(directory, "train", tokenizer)


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    return stored(tmp_path, [prose(seed) for seed in range(10)])


@pytest.mark.parametrize("hosts", [1, 2, 4, 8])
def test_any_number_of_hosts_sees_the_same_global_batch(store: TokenStore, hosts: int) -> None:
    batches = Batches(store, sequence_length=32, batch_size=16, seed=5)
    share = 16 // hosts
    for step in (0, 1, 100):
        parts = [batches.rows(step, host * share, (host + 1) * share) for host in range(hosts)]
        assert np.array_equal(np.concatenate(parts), batches.at(step))


def test_an_epoch_covers_every_window_once(store: TokenStore) -> None:
    batches = Batches(store, sequence_length=32, batch_size=8, seed=0)
    windows = batches.tokens_per_epoch // 32
    assert windows == (store.tokens - 1) // 32
    assert windows % 8  # so that a batch straddles two epochs
    ids = np.concatenate([batches.sequence_ids(step) for step in range(3 * windows // 8 + 1)])
    epochs = [ids[epoch * windows : (epoch + 1) * windows] for epoch in range(3)]
    for epoch in epochs:
        assert np.array_equal(np.sort(epoch), np.arange(windows))
    assert (epochs[0] == epochs[1]).mean() < 0.05


def test_rows_are_the_windows_of_the_text(store: TokenStore) -> None:
    batches = Batches(store, sequence_length=32, batch_size=8, seed=0)
    batch = batches.at(3)
    assert batch.shape == (8, 33)
    assert batch.dtype == np.int32
    for row, window in zip(batch, batches.sequence_ids(3), strict=True):
        assert np.array_equal(row, store.token_N[window * 32 : window * 32 + 33])


def test_seeds_differ_and_reopening_changes_nothing(store: TokenStore) -> None:
    batch = Batches(store, 32, 8, seed=0).at(7)
    assert not np.array_equal(batch, Batches(store, 32, 8, seed=1).at(7))
    reopened = open_store(store.path.parent, "train", ByteTokenizer())
    assert np.array_equal(batch, Batches(reopened, 32, 8, seed=0).at(7))


def test_known_order(tmp_path: Path) -> None:
    """The order of the data is part of what a run id names: to change these numbers is to raise `config.RECIPE`."""
    store = stored(tmp_path, ["x" * 99])
    assert Batches(store, 9, 6, seed=0).sequence_ids(0).tolist() == [1, 8, 7, 3, 9, 6]
    assert Batches(store, 9, 6, seed=1).sequence_ids(3).tolist() == [9, 6, 3, 1, 6, 2]


def test_the_budget(store: TokenStore) -> None:
    batches = Batches(store, 32, 8, seed=0)
    batches.check_budget(batches.tokens_per_epoch, 1.0)
    batches.check_budget(2 * batches.tokens_per_epoch, 2)
    with pytest.raises(ScalingError, match=rf"{batches.tokens_per_epoch + 1} .*{batches.tokens_per_epoch} .*max_epochs"):
        batches.check_budget(batches.tokens_per_epoch + 1, 1.0)


def test_a_store_shorter_than_a_sequence(tmp_path: Path) -> None:
    store = stored(tmp_path, ["abcdef"])
    assert Batches(store, 6, 1, seed=0).at(0).tolist() == [[*b"abcdef", 255]]
    with pytest.raises(ScalingError, match="7 tokens, fewer than one sequence of 7"):
        Batches(store, 7, 1, seed=0)


def test_validation_is_spread_and_fixed(store: TokenStore) -> None:
    held_out = validation_windows(store, 32, 330)
    assert held_out.window_WxL1.shape == (10, 33)
    assert held_out.tokens == 320
    windows = (store.tokens - 1) // 32
    for number, row in enumerate(held_out.window_WxL1):
        start = number * windows // 10 * 32
        assert np.array_equal(row, store.token_N[start : start + 33])
    assert validation_windows(store, 32, windows * 32).tokens == windows * 32
    with pytest.raises(ScalingError, match=rf"holds {windows * 32} tokens.*validation_tokens {windows * 32 + 32}"):
        validation_windows(store, 32, windows * 32 + 32)
    with pytest.raises(ScalingError, match=r"validation_tokens 31 is less than"):
        validation_windows(store, 32, 31)


def test_bits_per_byte_by_hand(tmp_path: Path) -> None:
    # The store is a b é é E c d E, its windows of 3 targets a[b é é] and é[E c d]: 6 targets for the 5 bytes b é é c d.
    held_out = validation_windows(stored(tmp_path, ["abé", "cd"]), 3, 6)
    assert held_out.window_WxL1.tolist() == [[97, 98, 0xC3, 0xA9], [0xA9, 255, 99, 100]]
    assert (held_out.tokens, held_out.bytes) == (6, 5)
    # every target at a probability of 1/4: 12 bits in all, over 5 bytes
    assert held_out.bits_per_byte(math.log(4)) == pytest.approx(12 / 5)


def test_bytes_of_all_targets_are_the_bytes_of_the_source(tmp_path: Path) -> None:
    texts = [prose(seed) for seed in range(5)]
    tokenizer = BpeTokenizer.train(texts, 300)
    store = stored(tmp_path, texts, tokenizer)
    held_out = validation_windows(store, 1, store.tokens - 1)  # every token but the first is a target
    assert store.bytes == sum(len(text.encode()) for text in texts)
    assert held_out.bytes == store.bytes - tokenizer.token_bytes_V[store.token_N[0]]


def seen(batches: Batches, steps: int) -> list[bytes]:
    return [row.tobytes() for step in range(steps) for row in batches.at(step)]


def test_unique_tokens_are_the_first_of_the_run_without_a_limit_again_and_again(store: TokenStore) -> None:
    """8 rows a step, 80 windows a limit: epochs are of 10 steps."""
    unlimited, limited = Batches(store, 32, 8, seed=3), Batches(store, 32, 8, seed=3, unique_tokens=80 * 32 + 31)
    assert unlimited.tokens_per_epoch > 2 * 80 * 32
    rows = seen(limited, 40)
    assert rows[:80] == seen(unlimited, 10)
    epochs = [rows[epoch * 80 : (epoch + 1) * 80] for epoch in range(4)]
    for epoch in epochs:
        assert sorted(epoch) == sorted(epochs[0])
    for one in range(4):
        for other in range(one):
            assert sum(a == b for a, b in zip(epochs[one], epochs[other], strict=True)) < 8  # one in 80 is chance
    assert [limited.unique_tokens(tokens) for tokens in (32, 2560, 10_000)] == [32, 2560, 2560]


def test_more_unique_tokens_include_those_of_fewer(store: TokenStore) -> None:
    subsets = [set(seen(Batches(store, 32, 8, 0, windows * 32), 40)) for windows in (8, 40, 120)]
    assert [len(each) for each in subsets] == [8, 40, 120]
    assert subsets[0] < subsets[1] < subsets[2]
    assert set(seen(Batches(store, 32, 8, 1, 40 * 32), 40)) != subsets[1]


def test_more_unique_tokens_than_there_are(store: TokenStore) -> None:
    available = Batches(store, 32, 8, 0).tokens_per_epoch
    assert Batches(store, 32, 8, 0, available).unique_tokens(10**9) == available
    with pytest.raises(ScalingError, match=r"unique_tokens leave 31 tokens, less than data.sequence_length"):
        Batches(store, 32, 8, 0, 31)
    with pytest.raises(ScalingError, match=rf"unique_tokens {available + 32} are more than the {available} tokens"):
        Batches(store, 32, 8, 0, available + 32)


@pytest.fixture
def stores(tmp_path: Path) -> dict[str, TokenStore]:
    made = {}
    for name, letter, seeds in (("prose", "", 60), ("notes", "#", 40), ("unseen", "%", 10)):
        (tmp_path / name).mkdir()
        made[name] = stored(tmp_path / name, [prose(seed).replace(" ", letter + " ") for seed in range(seeds)])
    return made


WEIGHTS = {"prose": 3.0, "notes": 1.0, "unseen": 0.0}


def test_a_mixture_has_its_shares_in_every_block(stores: dict[str, TokenStore]) -> None:
    batches = MixedBatches(stores, WEIGHTS, 32, 64, seed=0)
    for block in range(3):
        source, number = batches.schedule(1024 * block + np.arange(1024))
        assert np.bincount(source).tolist() == [768, 256]
        for each, share in ((0, 768), (1, 256)):  # its own sequences in their order
            assert np.array_equal(number[source == each], share * block + np.arange(share))
        assert np.diff(source).astype(bool).mean() > 0.1  # and not the sources one after the other
    assert not np.array_equal(source, batches.schedule(np.arange(1024))[0])


@pytest.mark.parametrize("hosts", [1, 2, 8])
def test_a_mixture_is_the_same_for_any_number_of_hosts(stores: dict[str, TokenStore], hosts: int) -> None:
    batches, share = MixedBatches(stores, WEIGHTS, 32, 64, seed=4), 64 // hosts
    whole = batches.rows(15, 0, 64)  # rows on both sides of the end of the first block
    assert np.array_equal(np.concatenate([batches.rows(15, host * share, (host + 1) * share) for host in range(hosts)]), whole)
    alone = {name: Batches(stores[name], 32, 64, seed=4) for name in ("prose", "notes")}
    source, number = batches.schedule(15 * 64 + np.arange(64))
    for row, each, nth in zip(whole, source, number, strict=True):
        assert np.array_equal(row, alone[("prose", "notes")[each]].sequences(np.array([nth]))[0])


def test_unique_tokens_of_a_mixture(stores: dict[str, TokenStore]) -> None:
    """The first 100 sequences of the run without a limit, whichever source they come from, and no others."""
    unlimited, limited = MixedBatches(stores, WEIGHTS, 32, 20, 0), MixedBatches(stores, WEIGHTS, 32, 20, 0, 100 * 32)
    first = [row.tobytes() for step in range(5) for row in unlimited.rows(step, 0, 20)]
    rows = [row.tobytes() for step in range(60) for row in limited.rows(step, 0, 20)]
    assert rows[:100] == first
    assert set(rows) == set(first)
    assert limited.unique_tokens(60 * 20 * 32) == len(set(first)) * 32
    assert unlimited.unique_tokens(100 * 32) == 100 * 32


def test_what_a_mixture_refuses(stores: dict[str, TokenStore]) -> None:
    batches = MixedBatches(stores, WEIGHTS, 32, 20, 0)
    batches.check_budget(40_000, 1.0)
    with pytest.raises(ScalingError, match=r"the source prose of data.mixture: .* epochs"):
        batches.check_budget(10**7, 1.0)
    with pytest.raises(ScalingError, match=r"the source notes of data.mixture: a share below 1/1024"):
        MixedBatches(stores, {**WEIGHTS, "notes": 1e-3}, 32, 20, 0)


def test_marks_of_documents(tmp_path: Path) -> None:
    """The store is a b E c E d e E f E; a document begins with the mark before it, the first one with its own first token."""
    store = stored(tmp_path, ["ab", "c", "de", "f"])
    rows = Windows(store, 3, separate=True).read(np.arange(3))
    a, b, c, d, e, f = b"abcdef"
    assert rows.tolist() == [[~a, b, ~255, c], [c, ~255, d, e], [e, ~255, f, 255]]
    assert np.array_equal(without_marks(rows), Windows(store, 3).read(np.arange(3)))


def test_bytes_in_no_window_are_counted(tmp_path: Path) -> None:
    # 11 tokens: windows of 4 cover the targets 1 to 8, and the tokens x and E are left over, 1 byte of 9.
    store = stored(tmp_path, ["abcd", "efghx"])
    assert store.tokens == 11
    assert Batches(store, 4, 1, 0).dropped == pytest.approx(1 / 9)
    assert Batches(store, 5, 1, 0).dropped == 0

"""The global batch of a step as a function of the token stores: the state of the data is the step number.

Nothing else enters: model, hosts, devices and interruptions do not change what a step sees. Shapes: B sequences, L sequence
length, S sources, P places of a block.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from scaling.data.permutation import permutation_key, permute
from scaling.data.store import TokenStore
from scaling.data.windows import Windows
from scaling.errors import ScalingError

BLOCK = 1024
"""Sequences over which the shares of a mixture come out exactly."""


class Batches:
    """Training batches of one store.

    Sequence g of a run (g = step * B + row) is of epoch g // W, W windows, taken in the order of that epoch's own random
    permutation. With `unique_tokens` the epochs are of the first so many tokens of the whole store's first epoch: more of them
    include those of fewer, and as long as none is repeated it is the run without that limit.

    Raises:
        ScalingError: the store holds no whole sequence, or fewer tokens than `unique_tokens`.
    """

    def __init__(
        self,
        store: TokenStore,
        sequence_length: int,
        batch_size: int,
        seed: int,
        unique_tokens: int | None = None,
        separate: bool = False,
    ):
        self._windows, self._batch_size, self._seed = Windows(store, sequence_length, separate), batch_size, seed
        self._used = len(self._windows) if unique_tokens is None else unique_tokens // sequence_length
        if not self._used:
            raise ScalingError(f"training.unique_tokens leave {unique_tokens} tokens, less than data.sequence_length")
        if self._used > len(self._windows):
            raise ScalingError(
                f"training.unique_tokens {unique_tokens} are more than the {self.tokens_per_epoch} tokens of the corpus: "
                "ask for fewer or give a larger corpus"
            )

    @property
    def tokens_per_epoch(self) -> int:
        """Targets in all windows: how many tokens a run without a limit sees before it repeats any."""
        return len(self._windows) * self._windows.sequence_length

    @property
    def dropped(self) -> float:
        """The share of the text's bytes that is in no sequence."""
        return self._windows.dropped

    def at(self, step: int) -> np.ndarray:
        """The global batch of a step, int32 [B, L + 1]: inputs are the first L columns, targets the last L."""
        return self.rows(step, 0, self._batch_size)

    def rows(self, step: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the global batch, int32 [stop - start, L + 1]: what one host has to load."""
        return self.sequences(step * self._batch_size + np.arange(start, stop))

    def sequence_ids(self, step: int) -> np.ndarray:
        """Which window each row of the global batch is, int64 [B]."""
        return self.window_ids(step * self._batch_size + np.arange(self._batch_size))

    def sequences(self, number_B: np.ndarray) -> np.ndarray:
        """The sequences of these numbers, int32 [B, L + 1]."""
        return self._windows.read(self.window_ids(number_B))

    def window_ids(self, number_B: np.ndarray) -> np.ndarray:
        """Which window each sequence of these numbers is, int64 [B]."""
        epoch_B, place_B = np.divmod(number_B, self._used)
        if self._used == len(self._windows):
            return permute(place_B, self._used, permutation_key(self._seed, epoch_B))
        again_B = epoch_B > 0
        place_B[again_B] = permute(place_B[again_B], self._used, permutation_key(self._seed, epoch_B[again_B]))
        return permute(place_B, len(self._windows), permutation_key(self._seed, np.zeros_like(epoch_B)))

    def unique_tokens(self, tokens: int) -> int:
        """How many different targets there are among the first `tokens`."""
        return min(tokens, self._used * self._windows.sequence_length)

    def check_budget(self, tokens: int, max_epochs: float) -> None:
        """Refuse a budget of training tokens that takes more than `max_epochs` passes over the corpus.

        Raises:
            ScalingError: it does; says what would allow it.
        """
        epochs = tokens / self.tokens_per_epoch
        if epochs > max_epochs:
            raise ScalingError(
                f"training.tokens {tokens} are {epochs:.2f} epochs of the corpus' {self.tokens_per_epoch} tokens: train on "
                f"fewer, give a larger corpus, or allow repetition by data.max_epochs (now {max_epochs:g}) or "
                "training.unique_tokens"
            )


class MixedBatches:
    """Training batches of several stores, each with its share of the tokens; otherwise as `Batches`.

    Of every `BLOCK` sequences each source has as many as its share says, rounded by largest remainder, in an order that is a
    random permutation of its own. The sequences of a source are, one after the other, those of its own `Batches`.
    """

    def __init__(
        self,
        stores: Mapping[str, TokenStore],
        weights: Mapping[str, float],
        sequence_length: int,
        batch_size: int,
        seed: int,
        unique_tokens: int | None = None,
        separate: bool = False,
    ):
        self._names = [name for name in stores if weights[name]]
        self._length, self._batch_size, self._seed = sequence_length, batch_size, seed
        self._count_S = shares(np.array([weights[name] for name in self._names]), BLOCK)
        self._end_S = np.cumsum(self._count_S)
        for name, count in zip(self._names, self._count_S, strict=True):
            if not count:
                raise ScalingError(f"the source {name} of data.mixture: a share below 1/{BLOCK} is none; set its weight to 0")
        limits = [None] * len(self._names) if unique_tokens is None else (self._seen(unique_tokens) * sequence_length).tolist()
        self._sources = []
        for name, limit in zip(self._names, limits, strict=True):
            with _named(name):
                self._sources.append(Batches(stores[name], sequence_length, batch_size, seed, limit, separate))

    @property
    def dropped(self) -> float:
        """Of each source, in its share."""
        return float(sum(source.dropped * count for source, count in zip(self._sources, self._count_S, strict=True))) / BLOCK

    def rows(self, step: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the global batch, int32 [stop - start, L + 1]."""
        source_B, number_B = self.schedule(step * self._batch_size + np.arange(start, stop))
        token_BxL1 = np.empty((stop - start, self._length + 1), np.int32)
        for number, source in enumerate(self._sources):
            mine_B = source_B == number
            if mine_B.any():
                token_BxL1[mine_B] = source.sequences(number_B[mine_B])
        return token_BxL1

    def schedule(self, number_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which source each sequence is from, and which of that source's it is."""
        block_B, place_B = np.divmod(number_B, BLOCK)
        source_B, nth_B = np.empty_like(number_B), np.empty_like(number_B)
        for block in np.unique(block_B):
            key_P = permutation_key(~self._seed, np.full(BLOCK, block))
            source_P = np.searchsorted(self._end_S, permute(np.arange(BLOCK), BLOCK, key_P), side="right")
            nth_P = (source_P[:, None] == np.arange(len(self._count_S))).cumsum(axis=0)[np.arange(BLOCK), source_P] - 1
            here_B = block_B == block
            source_B[here_B] = source_P[place_B[here_B]]
            nth_B[here_B] = block * self._count_S[source_B[here_B]] + nth_P[place_B[here_B]]
        return source_B, nth_B

    def unique_tokens(self, tokens: int) -> int:
        """How many different targets there are among the first `tokens`."""
        seen_S = self._seen(tokens) * self._length
        return sum(source.unique_tokens(int(seen)) for source, seen in zip(self._sources, seen_S, strict=True))

    def check_budget(self, tokens: int, max_epochs: float) -> None:
        """Refuse a budget that takes more than `max_epochs` passes over any source; a `ScalingError` names it."""
        for name, source, seen in zip(self._names, self._sources, self._seen(tokens), strict=True):
            with _named(name):
                source.check_budget(int(seen) * self._length, max_epochs)

    def _seen(self, tokens: int) -> np.ndarray:
        """How many sequences of each source are among the first `tokens`, int64 [S]."""
        whole, rest = divmod(tokens // self._length, BLOCK)
        source, _ = self.schedule(whole * BLOCK + np.arange(rest))
        return whole * self._count_S + np.bincount(source, minlength=len(self._count_S))


@contextmanager
def _named(source: str) -> Iterator[None]:
    try:
        yield
    except ScalingError as error:
        raise ScalingError(f"the source {source} of data.mixture: {error}") from None


def shares(weight_S: np.ndarray, total: int) -> np.ndarray:
    """`total` divided in the ratio of the weights, int64 [S], by largest remainder; of equal remainders the first."""
    exact_S = weight_S / weight_S.sum() * total
    count_S = np.floor(exact_S).astype(np.int64)
    largest = np.argsort(count_S - exact_S, kind="stable")[: total - count_S.sum()]
    count_S[largest] += 1
    return count_S

"""The global batch of a step, and the fixed validation set, as functions of a token store.

A store is cut into windows of L + 1 tokens that begin every L tokens: each has L inputs and L targets, neighbours share
one token, no token is a target twice. Shapes: B sequences, L sequence length, W windows.
"""

import math
from dataclasses import dataclass

import numpy as np

from scaling.data.permutation import permutation_key, permute
from scaling.data.store import TokenStore
from scaling.errors import ScalingError


def _windows(store: TokenStore, sequence_length: int) -> np.ndarray:
    """All windows, a view [W, L + 1] of the store."""
    if store.tokens <= sequence_length:
        raise ScalingError(
            f"{store.path.stem} holds {store.tokens} tokens, fewer than one sequence of {sequence_length} and its "
            "target: give a larger corpus or a smaller data.sequence_length"
        )
    return np.lib.stride_tricks.sliding_window_view(store.token_N, sequence_length + 1)[::sequence_length]


class Batches:
    """Training batches by step: the state of the data is the step number.

    Sequence g of a run (g = step * B + row) is a window of epoch g // W, taken in the order of that epoch's own random
    permutation. Nothing else enters: model, hosts, devices and interruptions do not change what a step sees.
    """

    def __init__(self, store: TokenStore, sequence_length: int, batch_size: int, seed: int):
        self._window_WxL1 = _windows(store, sequence_length)
        self._sequence_length, self._batch_size, self._seed = sequence_length, batch_size, seed

    @property
    def tokens_per_epoch(self) -> int:
        """Targets in all windows: how many tokens a run can see before it repeats any."""
        return len(self._window_WxL1) * self._sequence_length

    def at(self, step: int) -> np.ndarray:
        """The global batch of a step, int32 [B, L + 1]: inputs are the first L columns, targets the last L."""
        return self.rows(step, 0, self._batch_size)

    def rows(self, step: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the global batch, int32 [stop - start, L + 1]: what one host has to load."""
        return self._window_WxL1[self._window_ids(step, start, stop)].astype(np.int32)

    def sequence_ids(self, step: int) -> np.ndarray:
        """Which window each row of the global batch is, int64 [B]."""
        return self._window_ids(step, 0, self._batch_size)

    def _window_ids(self, step: int, start: int, stop: int) -> np.ndarray:
        windows = len(self._window_WxL1)
        sequence = step * self._batch_size + np.arange(start, stop)
        return permute(sequence % windows, windows, permutation_key(self._seed, sequence // windows))

    def check_budget(self, tokens: int, max_epochs: float) -> None:
        """Refuse a budget of training tokens that takes more than `max_epochs` passes over the corpus.

        Raises:
            ScalingError: it does; says what would allow it.
        """
        epochs = tokens / self.tokens_per_epoch
        if epochs > max_epochs:
            raise ScalingError(
                f"training.tokens {tokens} are {epochs:.2f} epochs of the corpus' {self.tokens_per_epoch} tokens: "
                f"train on fewer, give a larger corpus, or set data.max_epochs (now {max_epochs:g}) to allow repetition"
            )


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """A fixed set of held-out windows.

    Attributes:
        window_WxL1: int32 [W, L + 1].
        tokens: targets, W * L.
        bytes: UTF-8 source bytes that the targets stand for. The first token of a window is context and not counted;
            an end of document is a target of 0 bytes: its loss counts, as part of saying where the text ends. A
            character cut by the border of a window counts with the bytes on each side.
    """

    window_WxL1: np.ndarray
    tokens: int
    bytes: int

    def bits_per_byte(self, loss: float) -> float | None:
        """Bits per byte of text from the mean loss over these targets in nats per token; None where they are no text."""
        return loss / math.log(2) * self.tokens / self.bytes if self.bytes else None


def validation_windows(store: TokenStore, sequence_length: int, tokens: int) -> ValidationSet:
    """`tokens` targets (rounded down to whole windows) spread evenly over the store: no seed, no model enters.

    Raises:
        ScalingError: the store has fewer, or not even one window is asked for.
    """
    window_WxL1 = _windows(store, sequence_length)
    available, wanted = len(window_WxL1), tokens // sequence_length
    if wanted > available:
        raise ScalingError(
            f"the validation split holds {available * sequence_length} tokens in sequences of {sequence_length}, "
            f"fewer than data.validation_tokens {tokens}: ask for fewer or give a larger corpus"
        )
    if not wanted:
        raise ScalingError(f"data.validation_tokens {tokens} is less than data.sequence_length {sequence_length}")
    chosen = np.arange(wanted) * available // wanted
    window_WxL1 = window_WxL1[chosen].astype(np.int32)
    size = int(store.token_bytes_V[window_WxL1[:, 1:]].sum(dtype=np.int64))
    return ValidationSet(window_WxL1, wanted * sequence_length, size)

"""A token store cut into sequences.

A window is L + 1 tokens, the next one begins L tokens later: each has L inputs and L targets, neighbours share one token, no
token is a target twice. Shapes: B windows, L sequence length.
"""

import numpy as np

from scaling.data.store import TokenStore
from scaling.errors import ScalingError


class Windows:
    """The windows of a store, read by number: nothing but what is asked for is loaded.

    With `separate` documents, the sign of a token tells where one begins: there is `~token`, which is negative, in its place. A
    document begins with the mark that ended the one before it, so that its own first token is predicted from that alone.

    Raises:
        ScalingError: the store has no whole window.
    """

    def __init__(self, store: TokenStore, sequence_length: int, separate: bool = False):
        if store.tokens <= sequence_length:
            raise ScalingError(
                f"{store.path.name} holds {store.tokens} tokens, fewer than one sequence of {sequence_length} and its "
                "target: give a larger corpus or a smaller data.sequence_length"
            )
        self._store, self.sequence_length = store, sequence_length
        self._begin_C = store.begin_C if separate else None

    def __len__(self) -> int:
        return (self._store.tokens - 1) // self.sequence_length

    def read(self, id_B: np.ndarray) -> np.ndarray:
        """The windows of these numbers, int32 [B, L + 1]."""
        first_B = id_B * self.sequence_length
        token_BxL1 = self._store.read(first_B, self.sequence_length + 1).astype(np.int32)
        if self._begin_C is not None:
            low_B, high_B = (np.searchsorted(self._begin_C, each) for each in (first_B, first_B + token_BxL1.shape[1]))
            row = np.repeat(np.arange(len(id_B)), high_B - low_B)
            nth_in_row = np.arange(len(row)) - np.repeat(np.cumsum(high_B - low_B) - (high_B - low_B), high_B - low_B)
            column = self._begin_C[low_B[row] + nth_in_row] - first_B[row]
            token_BxL1[row, column] = ~token_BxL1[row, column]
        return token_BxL1

    @property
    def dropped(self) -> float:
        """The share of the store's bytes that is in no window: what follows the last whole one."""
        rest = self._store.tokens - 1 - len(self) * self.sequence_length
        if not self._store.bytes or not rest:
            return 0.0
        return self._store.bytes_of(self._store.read(np.array([self._store.tokens - rest]), rest)) / self._store.bytes


def without_marks(token_BxL1: np.ndarray) -> np.ndarray:
    """Windows as they are in the store."""
    return np.where(token_BxL1 < 0, ~token_BxL1, token_BxL1)

"""Pairs of stretches of text for next-sentence prediction (Devlin et al. 2019, arXiv 1810.04805, section 3.1).

A sequence is `[CLS] A [SEP] B [SEP]`: A is the beginning of a window of the store, B what follows it, or, half of the time,
a stretch of another document: a random one from a random place on, as in the authors' `create_pretraining_data.py`. Where a
document ends between A and B what follows is of another one too, and counts as that. Stretches of fixed length are in the place
of sentences. The special tokens come after the tokenizer's: [CLS], [SEP], and the mask. Shapes: B sequences, L their length,
C documents.
"""

import numpy as np

from scaling.data.batches import Batches
from scaling.data.permutation import permutation_key
from scaling.data.store import TokenStore
from scaling.data.validation import ValidationSet, spread
from scaling.data.windows import Windows
from scaling.errors import ScalingError
from scaling.optimization import pair_lengths


class Pairs:
    """The pairs of a store's windows; of which documents they are is a function of seed and sequence number.

    Raises:
        ScalingError: the store has not two documents to take a second stretch from, or sequences are too short.
    """

    def __init__(self, store: TokenStore, vocabulary: int, sequence_length: int, seed: int):
        self._store, self._seed, self._length = store, seed, sequence_length
        self._cls, self._sep = vocabulary, vocabulary + 1
        self._first, self._second = pair_lengths(sequence_length)
        self._start_C1 = store.start_C1
        self._last = store.tokens - self._second  # where a second stretch can begin
        self._documents = int(np.searchsorted(self._start_C1[:-1], self._last, side="right"))
        if self._documents < 2:
            raise ScalingError(f"data.documents pairs needs several documents, and {store.path.name} has {store.documents}")

    def read(self, number_B: np.ndarray, window_B: np.ndarray) -> np.ndarray:
        """The pairs of these sequence numbers and windows, int32 [B, L + 1]: whether B follows A (0 or 1), and the sequence."""
        first_B = window_B * self._length
        cut_B = first_B + self._first
        document_B = self._document_of(cut_B - 1)
        swapped_B = self._draw(number_B, 0) % np.uint64(2) == 1
        second_B = np.where(swapped_B, self._elsewhere(number_B, document_B), cut_B)
        follows_B = ~swapped_B & (self._document_of(cut_B) == document_B)
        cls_Bx1, sep_Bx1 = (np.full((len(number_B), 1), token, np.int32) for token in (self._cls, self._sep))
        a_BxM, b_BxN = self._store.read(first_B, self._first), self._store.read(second_B, self._second)
        return np.concatenate(
            [follows_B[:, None].astype(np.int32), cls_Bx1, a_BxM, sep_Bx1, b_BxN, sep_Bx1], axis=1, dtype=np.int32
        )

    def _elsewhere(self, number_B: np.ndarray, document_B: np.ndarray) -> np.ndarray:
        """Where a random stretch of another document than the given one begins, [B]."""
        here_B = document_B < self._documents
        step_B = (self._draw(number_B, 1) % (self._documents - here_B).astype(np.uint64)).astype(np.int64)
        other_B = np.where(here_B & (step_B >= document_B), step_B + 1, step_B)
        begin_B = self._start_C1[other_B]
        places_B = np.minimum(self._start_C1[other_B + 1], self._last + 1) - begin_B
        return begin_B + (self._draw(number_B, 2) % places_B.astype(np.uint64)).astype(np.int64)

    def _document_of(self, place_B: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._start_C1, place_B, side="right") - 1

    def _draw(self, number_B: np.ndarray, what: int) -> np.ndarray:
        return permutation_key(~self._seed, 3 * number_B + what)


class PairBatches:
    """Training batches of pairs; otherwise as `Batches`, whose windows they are made of."""

    def __init__(self, pairs: Pairs, batches: Batches, batch_size: int):
        self._pairs, self._batches, self._batch_size = pairs, batches, batch_size
        self.dropped, self.unique_tokens, self.check_budget = batches.dropped, batches.unique_tokens, batches.check_budget

    def rows(self, step: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the global batch, int32 [stop - start, L + 1]."""
        number_B = step * self._batch_size + np.arange(start, stop)
        return self._pairs.read(number_B, self._batches.window_ids(number_B))


def validation_pairs(store: TokenStore, vocabulary: int, sequence_length: int, tokens: int) -> ValidationSet:
    """As `validation_windows`, of pairs; the special tokens are no targets.

    Raises:
        ScalingError: as it.
    """
    pairs = Pairs(store, vocabulary, sequence_length, seed=0)
    window_W = spread(Windows(store, sequence_length), tokens)
    pair_WxL1 = pairs.read(np.arange(len(window_W)), window_W)
    text = pair_WxL1[:, 1:][pair_WxL1[:, 1:] < vocabulary]
    return ValidationSet(pair_WxL1, text.size, store.bytes_of(text))

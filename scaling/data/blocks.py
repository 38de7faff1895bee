"""Training batches of text that is tokenised as it is read: the state of the data is still the step number.

Sequences come from blocks. A block is so many random documents, one after the other, cut into M sequences; each row of the
batch reads blocks of its own, one sequence a step. So the rows of a step are of unrelated documents, any step is found without
those before it by tokenising one block a row, and a host tokenises nothing but the blocks of its own rows.

The price: how many tokens a document has is not known before, so that a block is given more documents than fill it, and the
rest of them is left unread. Shapes: B rows, L sequence length, M sequences of a block, K documents of a block.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from scaling.data.permutation import permutation_key, permute
from scaling.errors import ScalingError

BLOCK_TOKENS = 2**16
_SPARE = 3.0  # standard deviations by which the documents of a block are more than fill it
_THREADS = 4


@dataclass(frozen=True)
class Lengths:
    """Tokens of a document, from a sample: the mean and the standard deviation."""

    mean: float
    deviation: float

    def documents_of(self, tokens: int) -> int:
        """How many random documents hold so many tokens: K mean - 3 sqrt(K) deviation = tokens."""
        spare = _SPARE * self.deviation
        root = (spare + math.sqrt(spare**2 + 4 * self.mean * tokens)) / (2 * self.mean)
        return math.ceil(round(root**2, 6))


class Blocks:
    """The blocks of one pass over the documents, in a seed's order: each document is in one of them at most."""

    def __init__(
        self,
        tokens_of: Callable[[int], np.ndarray],
        documents: int,
        lengths: Lengths,
        sequence_length: int,
        seed: int,
        begins: int | None = None,
    ):
        """Blocks that are not made yet.

        Args:
            tokens_of: a document's tokens by its number; none for one that is to be left out.
            documents: how many there are.
            begins: where documents are separate, how many tokens before its first one a document begins, 1 where the one
                before ends with a mark; `~token`, which is negative, stands there (`windows.py`).

        Raises:
            ScalingError: all documents together are not enough for a block.
        """
        self._tokens_of, self._documents, self._seed, self._begins = tokens_of, documents, seed, begins
        self.sequences = max(1, BLOCK_TOKENS // sequence_length)
        self.tokens = self.sequences * sequence_length
        self._taken = lengths.documents_of(self.tokens + 1)
        if not len(self):
            raise ScalingError(
                f"data.streaming reads {self._taken:,} documents for a block of {self.tokens:,} tokens, and there are "
                f"{documents:,}: a corpus of this size is prepared in no time; leave data.streaming out"
            )
        self.unread = max(0.0, 1 - len(self) * self.tokens / (documents * lengths.mean))

    def __len__(self) -> int:
        return self._documents // self._taken

    def __getitem__(self, number: int) -> np.ndarray:
        """Block `number`, int32 [M * L + 1]; where its documents are too few after all, it begins again with the first."""
        slot_K = number * self._taken + np.arange(self._taken)
        document_K = permute(slot_K, self._documents, permutation_key(self._seed, np.zeros_like(slot_K)))
        pieces, begin_of, length = [], [], 0
        while length <= self.tokens:
            before = length
            for document in document_K.tolist():
                pieces.append(self._tokens_of(document).astype(np.int32))
                if self._begins is not None and len(pieces[-1]):
                    begin_of.append(max(0, length - self._begins))
                length += len(pieces[-1])
                if length > self.tokens:
                    break
            if length == before:
                raise ScalingError(f"{self._taken:,} documents of the training split, all of one block, hold no text")
        token_N = np.concatenate(pieces)
        token_N[begin_of] = ~token_N[begin_of]
        return token_N[: self.tokens + 1]


class StreamedBatches:
    """Training batches out of blocks; otherwise as `batches.Batches`, for less than one pass over the documents.

    Row r of step s is sequence s mod M of block (s // M) * B + r. Blocks are made ahead of their step, by Grain's threads.
    """

    def __init__(self, blocks: Blocks, sequence_length: int, batch_size: int):
        self._blocks, self._length, self._batch_size = blocks, sequence_length, batch_size
        self._readers: dict[tuple[int, int], _Reader] = {}

    @property
    def dropped(self) -> float:
        """The share of the text that is in no sequence of a whole pass, by the mean of the sample."""
        return self._blocks.unread

    def at(self, step: int) -> np.ndarray:
        """The global batch of a step, int32 [B, L + 1]: inputs are the first L columns, targets the last L."""
        return self.rows(step, 0, self._batch_size)

    def rows(self, step: int, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the global batch, int32 [stop - start, L + 1]: what one host has to load."""
        reader = self._readers.setdefault((start, stop), _Reader(self._blocks, self._batch_size, start, stop))
        turn, sequence = divmod(step, self._blocks.sequences)
        first = sequence * self._length
        return reader.turn(turn)[:, first : first + self._length + 1]

    def unique_tokens(self, tokens: int) -> int:
        """All of them: no document is read twice."""
        return tokens

    def check_budget(self, tokens: int, max_epochs: float) -> None:
        """Refuse more than one pass over the documents.

        Raises:
            ScalingError: `tokens` need more blocks than there are.
        """
        steps = tokens // (self._batch_size * self._length)
        if -(-steps // self._blocks.sequences) * self._batch_size > len(self._blocks):
            turns = len(self._blocks) // self._batch_size
            most = turns * self._batch_size * self._blocks.tokens
            raise ScalingError(
                f"training.tokens {tokens}: data.streaming reads each document once at most, which is enough for {most} "
                f"tokens in batches of {self._batch_size} sequences: train on fewer, or leave data.streaming out"
            )


class _Reader:
    """The blocks of some rows, turn after turn (M steps); any other turn is read from anew."""

    def __init__(self, blocks: Blocks, batch_size: int, start: int, stop: int):
        self._blocks, self._batch_size, self._start, self._rows = blocks, batch_size, start, stop - start
        self._turn = -2
        self._ahead: Iterator[np.ndarray] = iter(())
        self._token_BxN = np.empty((0, 0), np.int32)

    def turn(self, turn: int) -> np.ndarray:
        """Their blocks at this turn, int32 [B, M * L + 1]."""
        if turn != self._turn:
            if turn != self._turn + 1:
                self._ahead = self._from(turn)
            self._token_BxN = np.stack([next(self._ahead) for _ in range(self._rows)])
            self._turn = turn
        return self._token_BxN

    def _from(self, turn: int) -> Iterator[np.ndarray]:
        import grain  # takes seconds

        def block_of(place: int) -> np.ndarray:
            turn, row = divmod(place, self._rows)
            return self._blocks[turn * self._batch_size + self._start + row]

        places = grain.MapDataset.range(turn * self._rows, len(self._blocks) // self._batch_size * self._rows)
        ahead = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=max(_THREADS, self._rows))
        return iter(places.map(block_of).to_iter_dataset(ahead))

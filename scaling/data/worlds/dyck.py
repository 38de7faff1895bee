"""Balanced parentheses: words of one length, all equally likely; and a process that opens, closes and stops at random.

Tokens: k opening brackets, then the k that close them, then (in the process) the stop. Shapes: C documents, T tokens,
V vocabulary.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scaling.data.worlds.world import IndependentDocuments


@dataclass(frozen=True)
class BalancedWords(IndependentDocuments):
    """Dyck-k words of `pairs` pairs of brackets, each word equally likely.

    There are Catalan(n) k^n of them, so a document has log Catalan(n) + n log k nats (Chomsky & Schuetzenberger 1963).
    """

    name: ClassVar[str] = "dyck"
    pairs: int = 16
    kinds: int = 1

    def __post_init__(self) -> None:
        if self.pairs < 1 or self.kinds < 1:
            raise ValueError(f"pairs and kinds must be at least 1, not {self.pairs} and {self.kinds}")

    @property
    def vocabulary(self) -> int:
        """Opening and closing brackets of every kind."""
        return 2 * self.kinds

    @property
    def spelling(self) -> list[str]:
        """Brackets."""
        return _brackets(self.kinds)

    @property
    def length(self) -> int:
        """Two brackets a pair."""
        return 2 * self.pairs

    @property
    def entropy(self) -> float:
        """The logarithm of the number of words, over their length."""
        n = self.pairs
        log_catalan = math.lgamma(2 * n + 1) - math.lgamma(n + 1) - math.lgamma(n + 2)
        return (log_catalan + n * math.log(self.kinds)) / (2 * n)

    @staticmethod
    def opening_probability(depth: np.ndarray, left: np.ndarray | int) -> np.ndarray:
        """That the next bracket opens, at a depth with so many brackets left, in a random word.

        The ratio of ballot numbers (Arnold & Sleep 1980, "Uniform random generation of balanced parenthesis strings").
        """
        return (left - depth) * (depth + 2) / (2 * left * (depth + 1))

    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `World.documents`."""

        def opens(depth_C: np.ndarray, position: int) -> np.ndarray:
            return random.random(count) < self.opening_probability(depth_C, self.length - position)

        stack = _Stacks(random, count, self.kinds, self.length)
        return np.stack([stack.step(opens(stack.depth_C, position)) for position in range(self.length)], axis=1)

    def document_surprise(self, token_CxT: np.ndarray) -> np.ndarray:
        """See `IndependentDocuments`."""
        depth_CxT, _ = open_brackets(token_CxT, self.kinds)
        opens_CxT = self.opening_probability(depth_CxT, self.length - np.arange(token_CxT.shape[1]))
        return -np.log(np.where(token_CxT < self.kinds, opens_CxT / self.kinds, 1 - opens_CxT))

    def allowed(self, token_CxT: np.ndarray) -> np.ndarray:
        """Which tokens may stand at each place after those before it, bool [C, T, V]: those with which a word can end."""
        depth_CxT, last_CxT = open_brackets(token_CxT, self.kinds)
        left_T = self.length - np.arange(token_CxT.shape[1])
        opens_CxTxK = np.repeat((depth_CxT < left_T)[..., None], self.kinds, axis=2)
        return np.concatenate([opens_CxTxK, _closing(depth_CxT, last_CxT, self.kinds)], axis=2)


@dataclass(frozen=True)
class BracketProcess(IndependentDocuments):
    """Dyck-k words that end by chance, one after the other, cut into documents of `tokens`.

    Inside a word the next bracket opens with probability `opening`, else it closes the last one open; a word that is
    balanced stops with probability `stopping`, else it opens again. A document begins with a word and need not end with one.
    """

    name: ClassVar[str] = "brackets"
    tokens: int = 64
    kinds: int = 1
    opening: float = 0.45
    stopping: float = 0.5

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.kinds < 1:
            raise ValueError(f"tokens and kinds must be at least 1, not {self.tokens} and {self.kinds}")
        if not (0 < self.opening < 1 and 0 < self.stopping <= 1):
            raise ValueError(f"opening and stopping are probabilities, not {self.opening:g} and {self.stopping:g}")

    @property
    def vocabulary(self) -> int:
        """Opening and closing brackets of every kind, and the stop."""
        return 2 * self.kinds + 1

    @property
    def spelling(self) -> list[str]:
        """Brackets and a full stop."""
        return [*_brackets(self.kinds), "."]

    @property
    def length(self) -> int:
        """Of a document."""
        return self.tokens

    @property
    def entropy(self) -> float:
        """The mean of the next token's entropy over the depths that the process visits at each position."""
        inside, outside = _binary(self.opening), _binary(self.stopping)
        kind = math.log(self.kinds)
        depth_T = np.zeros(self.tokens + 2)  # probability of each depth
        depth_T[0], total, fresh = 1.0, 0.0, 1.0  # fresh: of standing at the beginning of a word, which cannot stop
        for _ in range(self.tokens):
            balanced, deep = depth_T[0] - fresh, depth_T[1:].sum()
            total += fresh * kind + balanced * (outside + (1 - self.stopping) * kind) + deep * (inside + self.opening * kind)
            after_T = np.zeros_like(depth_T)
            after_T[2:] += self.opening * depth_T[1:-1]
            after_T[:-1] += (1 - self.opening) * depth_T[1:]
            after_T[1] += fresh + balanced * (1 - self.stopping)
            after_T[0] += balanced * self.stopping
            depth_T, fresh = after_T, balanced * self.stopping
        return total / self.tokens

    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `World.documents`."""
        stack = _Stacks(random, count, self.kinds, self.tokens)
        token_CxT, fresh_C = np.empty((count, self.tokens), np.int64), np.ones(count, bool)
        for position in range(self.tokens):
            stops_C = (stack.depth_C == 0) & ~fresh_C & (random.random(count) < self.stopping)
            opens_C = (stack.depth_C == 0) | (random.random(count) < self.opening)
            token_CxT[:, position] = np.where(stops_C, 2 * self.kinds, stack.step(opens_C, idle_C=stops_C))
            fresh_C = stops_C
        return token_CxT

    def document_surprise(self, token_CxT: np.ndarray) -> np.ndarray:
        """See `IndependentDocuments`."""
        depth_CxT, _ = open_brackets(token_CxT, self.kinds)
        opens_CxT = np.where(depth_CxT > 0, self.opening, np.where(self._fresh(token_CxT), 1.0, 1 - self.stopping))
        ends_CxT = np.where(depth_CxT > 0, 1 - self.opening, self.stopping)
        return -np.log(np.where(token_CxT < self.kinds, opens_CxT / self.kinds, ends_CxT))

    def allowed(self, token_CxT: np.ndarray) -> np.ndarray:
        """Which tokens may stand at each place after those before it, bool [C, T, V]."""
        depth_CxT, last_CxT = open_brackets(token_CxT, self.kinds)
        opens_CxTxK = np.ones((*token_CxT.shape, self.kinds), bool)
        stops_CxTx1 = ((depth_CxT == 0) & ~self._fresh(token_CxT))[..., None]
        return np.concatenate([opens_CxTxK, _closing(depth_CxT, last_CxT, self.kinds), stops_CxTx1], axis=2)

    def _fresh(self, token_CxT: np.ndarray) -> np.ndarray:
        """Whether a word begins at each place, which cannot stop there, bool [C, T]."""
        fresh_CxT = np.ones(token_CxT.shape, bool)
        fresh_CxT[:, 1:] = token_CxT[:, :-1] == 2 * self.kinds
        return fresh_CxT


def open_brackets(token_CxT: np.ndarray, kinds: int) -> tuple[np.ndarray, np.ndarray]:
    """How many brackets are open before each place, and the kind of the last of them (any where none is), int [C, T].

    A closing bracket closes the last open one, of whatever kind that is; where none is open it does nothing.
    """
    rows, places = np.arange(len(token_CxT)), token_CxT.shape[1]
    stack_CxT, depth_C = np.zeros((len(rows), places + 1), np.int64), np.zeros(len(rows), np.int64)
    depth_CxT, last_CxT = np.zeros((2, *token_CxT.shape), np.int64)
    for place in range(places):
        depth_CxT[:, place], last_CxT[:, place] = depth_C, stack_CxT[rows, np.maximum(depth_C - 1, 0)]
        token_C = token_CxT[:, place]
        opens_C, closes_C = token_C < kinds, (kinds <= token_C) & (token_C < 2 * kinds)
        stack_CxT[rows[opens_C], depth_C[opens_C]] = token_C[opens_C]
        depth_C = np.maximum(depth_C + opens_C - closes_C, 0)
    return depth_CxT, last_CxT


def _closing(depth_CxT: np.ndarray, last_CxT: np.ndarray, kinds: int) -> np.ndarray:
    """Which kinds of bracket may be closed, bool [C, T, kinds]: that of the last open one."""
    return (depth_CxT > 0)[..., None] & (last_CxT[..., None] == np.arange(kinds))


class _Stacks:
    """The open brackets of many documents at once."""

    def __init__(self, random: np.random.Generator, count: int, kinds: int, room: int):
        self._random, self._kinds, self._row_C = random, kinds, np.arange(count)
        self.depth_C = np.zeros(count, np.int64)
        self._kind_CxT = np.zeros((count, room + 1), np.int64)

    def step(self, opens_C: np.ndarray, idle_C: np.ndarray | bool = False) -> np.ndarray:
        """Open a bracket of a random kind, or close the last one; nothing happens where `idle_C`. The tokens [C]."""
        kind_C = self._random.integers(self._kinds, size=len(self._row_C))
        last_C = self._kind_CxT[self._row_C, np.maximum(self.depth_C - 1, 0)]
        self._kind_CxT[self._row_C, self.depth_C] = np.where(opens_C, kind_C, self._kind_CxT[self._row_C, self.depth_C])
        self.depth_C = self.depth_C + np.where(idle_C, 0, np.where(opens_C, 1, -1))
        return np.where(opens_C, kind_C, self._kinds + last_C)


def _binary(p: float) -> float:
    return -sum(q * math.log(q) for q in (p, 1 - p) if q > 0)


def _brackets(kinds: int) -> list[str]:
    """The opening ones, then those that close them; numbered where there are more kinds than signs."""
    if kinds <= 4:
        return [*"([{<"[:kinds], *")]}>"[:kinds]]
    return [f"{sign}{kind}" for sign in "()" for kind in range(kinds)]

"""What every world offers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class World(ABC):
    """A source of documents of one length, each independent of the others (or the next stretch of one stationary stream).

    A subclass is a frozen dataclass; its fields are the world's arguments and decide, with the seed among them, everything
    about its language. Shapes: C documents, T tokens of a document, V vocabulary.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def vocabulary(self) -> int:
        """Number of token ids."""

    @property
    @abstractmethod
    def length(self) -> int:
        """Tokens of a document, T."""

    @property
    @abstractmethod
    def entropy(self) -> float:
        """Entropy of a document over its length, nats per token, exact."""

    @property
    def spelling(self) -> list[str]:
        """How each token is written."""
        return [str(token) for token in range(self.vocabulary)]

    @abstractmethod
    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """`count` documents, integers [C, T]."""


def choose(random: np.random.Generator, probability_V: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Independent indices of the given probabilities, int64 of `shape`."""
    ends_V = np.cumsum(probability_V)
    return np.minimum(np.searchsorted(ends_V, random.random(shape) * ends_V[-1], side="right"), len(ends_V) - 1)


def entropy_of(probability_V: np.ndarray) -> float:
    """Of a distribution, nats."""
    positive = probability_V[probability_V > 0]
    return float(-(positive * np.log(positive)).sum())

"""What every world offers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

_TOGETHER = 2**16  # tokens whose surprises are in memory at a time


@dataclass(frozen=True)
class World(ABC):
    """A source of documents of one length, each independent of the others (or the next stretch of one stationary stream).

    A subclass is a frozen dataclass; its fields are the world's arguments and decide, with the seed among them, everything
    about its language. Shapes: C documents, T tokens of a document, V vocabulary; W windows
    of L + 1 tokens, L of them predicted.
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

    @abstractmethod
    def surprise(self, window_WxL1: np.ndarray) -> np.ndarray:
        """-log P, in nats, of each token of a window but the first, given those before it in the window, float [W, L].

        A window begins with a document, as those do that models are judged by: its first token is context alone, and what
        stands before it has no say in the others.
        """

    def loss(self, window_WxL1: np.ndarray) -> float:
        """The mean of `surprise`: the world's own loss on these windows, nats per token, whose expectation is `entropy`."""
        parts = np.array_split(window_WxL1, -(-window_WxL1.size // _TOGETHER))
        return float(sum(self.surprise(part).sum() for part in parts) / window_WxL1[:, 1:].size)


class IndependentDocuments(World):
    """A world whose documents tell nothing of each other."""

    @abstractmethod
    def document_surprise(self, token_CxT: np.ndarray) -> np.ndarray:
        """-log P, in nats, of each token given those before it; of whole documents or of their first T tokens, float [C, T]."""

    def surprise(self, window_WxL1: np.ndarray) -> np.ndarray:
        """See `World.surprise`: of whole documents, and of the one whose first token is the last target."""
        whole_CxT = self.document_surprise(window_WxL1[:, :-1].reshape(-1, self.length))
        begun_Wx1 = self.document_surprise(window_WxL1[:, -1:])
        return np.concatenate([whole_CxT.reshape(len(window_WxL1), -1)[:, 1:], begun_Wx1], axis=1)


def choose(random: np.random.Generator, probability_V: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Independent indices of the given probabilities, int64 of `shape`."""
    ends_V = np.cumsum(probability_V)
    return np.minimum(np.searchsorted(ends_V, random.random(shape) * ends_V[-1], side="right"), len(ends_V) - 1)


def entropy_of(probability_V: np.ndarray) -> float:
    """Of a distribution, nats."""
    positive = probability_V[probability_V > 0]
    return float(-(positive * np.log(positive)).sum())

"""Worlds whose words follow Zipf's law: a Markov chain, and facts to be memorised.

Shapes: C documents, T tokens of a document, V vocabulary, K keys.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scaling.data.worlds.world import IndependentDocuments, World, choose, entropy_of


@dataclass(frozen=True)
class ZipfMarkov(World):
    """Each token is followed by one of Zipf-distributed rank in an order of all tokens that is its own.

    P(next = permutation_state[r]) is proportional to (r + 1)^-exponent. Every state has the same entropy, so the rate is
    the entropy of Zipf's law, whatever the permutations.
    """

    name: ClassVar[str] = "zipf-markov"
    words: int = 64
    exponent: float = 1.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.words < 2 or self.exponent < 0:
            raise ValueError(f"words must be at least 2 and exponent at least 0, not {self.words} and {self.exponent:g}")

    @property
    def vocabulary(self) -> int:
        """One id per word."""
        return self.words

    @property
    def length(self) -> int:
        """A token: the stream has no beginning that a model would have to see."""
        return 1

    @property
    def entropy(self) -> float:
        """Of the next word given the one before."""
        return entropy_of(zipf(self.words, self.exponent))

    @property
    def successor_VxV(self) -> np.ndarray:
        """The word at each rank after each word."""
        random = np.random.default_rng([self.seed, 1])
        return random.permuted(np.tile(np.arange(self.words), (self.words, 1)), axis=1)

    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `World.documents`: a stretch of `count` tokens of a chain that begins anywhere."""
        successor, word = self.successor_VxV.tolist(), int(random.integers(self.words))
        words = []
        for rank in choose(random, zipf(self.words, self.exponent), (count,)).tolist():
            word = successor[word][rank]
            words.append(word)
        return np.array(words)[:, None]

    def surprise(self, window_WxL1: np.ndarray) -> np.ndarray:
        """See `World.surprise`."""
        rank_VxV = np.argsort(self.successor_VxV, axis=1)
        return -np.log(zipf(self.words, self.exponent))[rank_VxV[window_WxL1[:, :-1], window_WxL1[:, 1:]]]


@dataclass(frozen=True)
class ZipfFacts(IndependentDocuments):
    """Pairs of a key and its value: the key drawn with p_k ~ k^-(1 + exponent), the value fixed for each key (Hutter 2021).

    Marcus Hutter, "Learning curve theory", arXiv 2102.04074. The key cannot be foretold and the value can once it was seen:
    the entropy of a pair is that of its key. A learner that remembers what it saw falls towards it as a power of the number
    of pairs, `memoriser_loss`.
    """

    name: ClassVar[str] = "zipf-facts"
    keys: int = 4096
    values: int = 64
    exponent: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        if self.keys < 2 or self.values < 2 or self.exponent <= 0:
            given = f"{self.keys}, {self.values} and {self.exponent:g}"
            raise ValueError(f"keys and values must be at least 2 and exponent above 0, not {given}")

    @property
    def vocabulary(self) -> int:
        """Values first, then keys."""
        return self.values + self.keys

    @property
    def length(self) -> int:
        """A key and its value."""
        return 2

    @property
    def entropy(self) -> float:
        """Half of the key's."""
        return entropy_of(self.probability_K) / 2

    @property
    def probability_K(self) -> np.ndarray:
        """Of each key."""
        return zipf(self.keys, 1 + self.exponent)

    @property
    def value_K(self) -> np.ndarray:
        """The value of each key."""
        return np.random.default_rng([self.seed, 2]).integers(self.values, size=self.keys)

    def memoriser_loss(self, pairs: np.ndarray) -> np.ndarray:
        """Expected loss, nats per token, of one who knows the keys' law and remembers the values of all `pairs` seen.

        (H(key) + log(values) sum_k p_k (1 - p_k)^pairs) / 2: an unseen key's value is guessed (Hutter 2021, section 3).
        """
        p_K = self.probability_K
        unseen = np.exp(np.multiply.outer(np.asarray(pairs, float), np.log1p(-p_K))) @ p_K
        return self.entropy + np.log(self.values) * unseen / 2

    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `World.documents`."""
        key_C = choose(random, self.probability_K, (count,))
        return np.stack([self.values + key_C, self.value_K[key_C]], axis=1)

    def document_surprise(self, token_CxT: np.ndarray) -> np.ndarray:
        """See `IndependentDocuments`: that of the key; the value is certain."""
        surprise_CxT = np.zeros(token_CxT.shape)
        surprise_CxT[:, 0] = -np.log(self.probability_K)[token_CxT[:, 0] - self.values]
        return surprise_CxT


def zipf(count: int, exponent: float) -> np.ndarray:
    """Probabilities in proportion to rank^-exponent, [count]."""
    weight = np.arange(1, count + 1, dtype=float) ** -exponent
    return weight / weight.sum()

"""The random hierarchy model: a probabilistic context-free grammar of chosen depth.

Shapes: C documents, T leaves, V symbols, M productions of each, S symbols of a production, R productions of a level.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from scaling.data.worlds.world import IndependentDocuments


@dataclass(frozen=True)
class RandomHierarchy(IndependentDocuments):
    """A tree of `levels` levels: each symbol becomes one of `rules` tuples of `branching` symbols, all rules equally likely.

    Cagnetta et al. 2024, "How deep neural networks learn compositional data", arXiv 2307.02129; as a language, Cagnetta &
    Wyart 2024, arXiv 2406.00048. No tuple comes from two symbols of a level, so that a text has one tree, and a document
    has log(symbols) + (number of inner nodes) log(rules) nats.
    """

    name: ClassVar[str] = "hierarchy"
    symbols: int = 16
    rules: int = 4
    branching: int = 2
    levels: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.symbols, self.branching) < 2 or min(self.rules, self.levels) < 1:
            raise ValueError("symbols and branching must be at least 2, rules and levels at least 1")
        if self.symbols * self.rules > self.symbols**self.branching:
            most = self.symbols ** (self.branching - 1)
            raise ValueError(f"{self.symbols} symbols have at most {most} rules of {self.branching} each, not {self.rules}")

    @property
    def vocabulary(self) -> int:
        """One id per symbol."""
        return self.symbols

    @property
    def length(self) -> int:
        """Leaves of the tree."""
        return self.branching**self.levels

    @property
    def entropy(self) -> float:
        """Root and rules, over the leaves."""
        inner = (self.length - 1) // (self.branching - 1)
        return (math.log(self.symbols) + inner * math.log(self.rules)) / self.length

    def production_VxMxS(self, level: int) -> np.ndarray:
        """The rules of a level: which symbols each symbol may become."""
        random = np.random.default_rng([self.seed, 3, level])
        tuples = random.choice(self.symbols**self.branching, size=self.symbols * self.rules, replace=False)
        digits = np.stack(np.unravel_index(tuples, (self.symbols,) * self.branching), -1)
        return digits.reshape(self.symbols, self.rules, self.branching)

    def documents(self, random: np.random.Generator, count: int) -> np.ndarray:
        """See `World.documents`."""
        symbol_CxT = random.integers(self.symbols, size=(count, 1))
        for level in range(self.levels):
            rule_CxT = random.integers(self.rules, size=symbol_CxT.shape)
            symbol_CxT = self.production_VxMxS(level)[symbol_CxT, rule_CxT].reshape(count, -1)
        return symbol_CxT

    def document_surprise(self, token_CxT: np.ndarray) -> np.ndarray:
        """See `IndependentDocuments`: the next leaf's probability follows from the nodes above it, read in their order."""
        rules = [self.production_VxMxS(level).reshape(-1, self.branching) for level in range(self.levels)]
        surprise_TxC: list[np.ndarray] = []

        def read(level: int, prior_CxV: np.ndarray) -> np.ndarray:
            """The likelihood of a node's symbol, [C, V], from what stands below it; `prior_CxV` from all before it."""
            place = len(surprise_TxC)
            if place == token_CxT.shape[1]:
                return np.ones_like(prior_CxV)
            if level == self.levels:
                token_Cx1 = token_CxT[:, place, None]
                surprise_TxC.append(-np.log(np.take_along_axis(prior_CxV, token_Cx1, axis=1)[:, 0]))
                return (token_Cx1 == np.arange(self.symbols)).astype(float)
            rule_RxS = rules[level]  # M of each symbol in turn
            joint_CxR = np.repeat(prior_CxV, self.rules, axis=1)
            likelihood_CxR = np.ones_like(joint_CxR)
            for symbol_R in rule_RxS.T:
                child_CxV = (joint_CxR * likelihood_CxR) @ np.eye(self.symbols)[symbol_R]
                likelihood_CxR *= read(level + 1, child_CxV / child_CxV.sum(axis=1, keepdims=True))[:, symbol_R]
            return likelihood_CxR.reshape(-1, self.symbols, self.rules).mean(axis=2)

        read(0, np.full((len(token_CxT), self.symbols), 1 / self.symbols))
        return np.stack(surprise_TxC, axis=1)

"""How well a model of brackets knows their grammar: what it closes at each depth, what it thinks possible, what it completes.

Shapes: C documents, T tokens, V vocabulary, P prompts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling.data.worlds.dyck import BalancedWords, BracketProcess, open_brackets

Predict = Callable[[np.ndarray], np.ndarray]
"""Tokens [C, T] to the probabilities of the token after each, [C, T, V]."""

Brackets = BalancedWords | BracketProcess

TEMPERATURES = (0.0, 0.8)
PROMPTS = 24
"""Of each length."""


@dataclass(frozen=True)
class AtDepth:
    """Over the places of documents where so many brackets are open.

    Attributes:
        closings: places where the document closes one.
        accuracy: share of these where the most probable closing bracket is of the right kind.
        illegal: mean probability, over all places of that depth, of the tokens with which no word can go on.
    """

    depth: int
    closings: int
    accuracy: float
    illegal: float


@dataclass(frozen=True)
class Completion:
    """What becomes of `openings` opening brackets of random kinds: the share of completions that are right to the end."""

    openings: int
    temperature: float
    right: float


@dataclass(frozen=True)
class Judgement:
    """What a model knows of the grammar."""

    accuracy: float
    """Of closing, over all depths."""
    illegal: float
    """Mean probability of illegal continuations, over all places."""
    depths: list[AtDepth]
    completions: list[Completion]

    def longest(self, temperature: float) -> int:
        """The most openings of which at least half are completed rightly; 0 where none are."""
        at_temperature = (each for each in self.completions if each.temperature == temperature)
        return max((each.openings for each in at_temperature if each.right >= 0.5), default=0)


def judge(world: Brackets, predict: Predict, documents: int = 500, seed: int = 0) -> Judgement:
    """Judge a model by fresh documents of its world, and by completions of opening brackets that get longer and longer."""
    random = np.random.default_rng([seed, 5])
    token_CxT = world.documents(random, documents)
    depth_CxT, last_CxT = (each[:, 1:] for each in open_brackets(token_CxT, world.kinds))
    p_CxTxV = predict(token_CxT)[:, :-1]
    illegal_CxT = np.where(world.allowed(token_CxT)[:, 1:], 0.0, p_CxTxV).sum(-1)
    next_CxT = token_CxT[:, 1:]
    closes_CxT = (next_CxT >= world.kinds) & (next_CxT < 2 * world.kinds)
    right_CxT = p_CxTxV[..., world.kinds : 2 * world.kinds].argmax(-1) == last_CxT
    depths = []
    for depth in np.unique(depth_CxT[closes_CxT]):
        here_CxT = depth_CxT == depth
        closing_CxT = here_CxT & closes_CxT
        accuracy, illegal = right_CxT[closing_CxT].mean(), illegal_CxT[here_CxT].mean()
        depths.append(AtDepth(int(depth), int(closing_CxT.sum()), float(accuracy), float(illegal)))
    return Judgement(
        accuracy=float(right_CxT[closes_CxT].mean()),
        illegal=float(illegal_CxT.mean()),
        depths=depths,
        completions=[each for temperature in TEMPERATURES for each in _completions(world, predict, temperature, random)],
    )


def _completions(world: Brackets, predict: Predict, temperature: float, random: np.random.Generator) -> list[Completion]:
    most = world.length // 2
    openings = np.unique(np.linspace(1, most, min(most, 8)).round().astype(int))
    openings_P = np.repeat(openings, PROMPTS)
    token_PxT = random.integers(world.kinds, size=(len(openings_P), world.length))
    for place in range(1, world.length):
        p_PxV = predict(token_PxT)[:, place - 1]
        token_PxT[:, place] = np.where(place < openings_P, token_PxT[:, place], _choose(p_PxV, temperature, random))
    allowed_PxT = np.take_along_axis(world.allowed(token_PxT), token_PxT[..., None], axis=2)[..., 0]
    right_P = np.asarray(allowed_PxT.all(axis=1))
    return [Completion(int(each), temperature, float(right_P[openings_P == each].mean())) for each in openings]


def _choose(p_PxV: np.ndarray, temperature: float, random: np.random.Generator) -> np.ndarray:
    """A token of each row, from p^(1 / temperature); the most probable one at temperature 0."""
    if temperature == 0:
        return p_PxV.argmax(-1)
    with np.errstate(divide="ignore"):
        return (np.log(p_PxV) / temperature + random.gumbel(size=p_PxV.shape)).argmax(-1)

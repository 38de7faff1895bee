"""The best learning rate of a size from the losses of a few, and the law that it follows over sizes.        (no jax)"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scaling.sweeps.rules import Choice, Size

BRINK = 1.1
"""Two values are not told apart any further once they are this factor apart."""


@dataclass(frozen=True)
class Optimum:
    """Where the loss is lowest, in the logarithm of a value."""

    value: float
    loss: float
    """Of the parabola there, nats per token."""


def search(losses: Mapping[float, float]) -> Optimum | float:
    """The vertex of the parabola in log value through the best value and its neighbours, or the next value to be tried.

    An optimum at the edge is none: the next value is as far beyond it as the last two are apart. One whose neighbour diverged
    is looked at more closely, by halves; it is taken as it is once the two are within a factor of `BRINK`.

    Args:
        losses: at least two values, positive, and the loss of each: infinite where the run diverged.
    """
    values = sorted(losses)
    best = min(values, key=lambda value: losses[value])
    place = values.index(best)
    if place == 0 or not math.isfinite(losses[best]):
        return values[0] ** 2 / values[1]
    if place == len(values) - 1:
        return values[-1] ** 2 / values[-2]
    three = values[place - 1 : place + 2]
    for value in three:
        if not math.isfinite(losses[value]):
            apart = max(value, best) / min(value, best)
            return Optimum(best, losses[best]) if apart < BRINK else math.sqrt(value * best)
    return vertex(three, [losses[value] for value in three])


def vertex(values: Sequence[float], losses: Sequence[float]) -> Optimum:
    """The lowest point of the parabola in log value through three points of which the middle one is the lowest."""
    x = np.log(values)
    a, b, c = np.polyfit(x - x[1], losses, 2)
    if a <= 0:  # all three alike
        return Optimum(float(values[1]), float(losses[1]))
    return Optimum(float(np.exp(x[1] - b / (2 * a))), float(c - b**2 / (4 * a)))


@dataclass(frozen=True)
class PowerLaw:
    """value = scale N^a D^b: N non-embedding parameters, D training tokens."""

    scale: float
    parameters: float
    """a; 0 where the sizes it was fitted to have one N."""
    tokens: float
    """b; 0 where they have one D, or D went with N."""
    residual: float
    """Root mean square of the logarithm about the law; 0 where it goes through all of them."""

    def at(self, size: Size) -> float:
        """The value at a size."""
        return float(self.scale * size.parameters**self.parameters * size.tokens**self.tokens)


def fit_power_law(sizes: Sequence[Size], values: Sequence[float]) -> PowerLaw:
    """Least squares of the logarithms. Of N and D, in this order, those have an exponent that the sizes can tell one of."""
    y = np.log(values)
    logs = np.log([[size.parameters, size.tokens] for size in sizes])
    centred, exponents = logs - logs.mean(axis=0), np.zeros(2)
    used: list[int] = []
    for column in range(2):
        wider = [*used, column]
        if len(sizes) > len(wider) and np.linalg.matrix_rank(centred[:, wider], tol=0.05) == len(wider):
            used = wider
    if used:
        exponents[used] = np.linalg.lstsq(centred[:, used], y - y.mean(), rcond=None)[0]
    residual = float(np.sqrt(np.mean((y - y.mean() - centred @ exponents) ** 2)))
    scale = float(np.exp(y.mean() - logs.mean(axis=0) @ exponents))
    return PowerLaw(scale, float(exponents[0]), float(exponents[1]), residual)


@dataclass(frozen=True)
class Tuned:
    """What a tuning stage found, in the place of a published rule."""

    learning_rate: PowerLaw
    batch_tokens: PowerLaw | None
    """None where the batch size was not tuned."""
    name: str = "tuned"
    reference: None = None

    def choose(self, size: Size) -> Choice:
        """The rate of a size, and its batch."""
        return Choice(None if self.batch_tokens is None else self.batch_tokens.at(size), self.learning_rate.at(size))

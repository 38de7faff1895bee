"""What an interval can be asked for: any number that follows from the coordinates of a law."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws import Array, Law, jets
from analysis.laws.jets import Jet, coordinates

NOTHING = 1e-12  # an exponent or an inverse below it counts as this


@dataclass(frozen=True)
class Quantity:
    """A number that follows from a law's coordinates.

    Attributes:
        name: in tables.
        formula: its coordinate from the P coordinates of the law, arrays or `Jet`s, written as laws are.
        positive: whether that coordinate is the logarithm of the number.
        size: where the number is the law's target at a point, the size of that point, see `Law.size`.
    """

    name: str
    formula: Callable[[Sequence[Any]], Any]
    positive: bool
    size: float | None = None

    def coordinate(self, theta: Array) -> Array:
        """At coordinates (..., P) of the law: (...)."""
        value = self.formula(list(np.moveaxis(theta, -1, 0)[..., None]))
        return np.broadcast_to(value, (*theta.shape[:-1], 1))[..., 0]

    def value(self, coordinate: Array) -> Array:
        """The number itself."""
        with np.errstate(over="ignore"):
            return np.exp(coordinate) if self.positive else coordinate

    def gradient(self, theta: Array) -> Array:
        """Of the coordinate by the law's (B, P), at `theta` (B, P)."""
        jet: Jet = self.formula(coordinates(theta))
        return np.broadcast_to(jet.gradient, (*theta.shape, 1))[..., 0]


def parameter(law: Law, name: str) -> Quantity:
    """A parameter of the law.

    Raises:
        AnalysisError: of a law whose parameters follow from its coordinates in a way of its own.
    """
    if type(law).to_parameters is not Law.to_parameters:
        raise AnalysisError(f"parameters of the {law.name} law have intervals by draws only: choose another method")
    index = law.names.index(name)
    each = law.parameters[index]
    if each.kind == "crossing":
        exponent = law.names.index(each.exponent)
        return Quantity(name, lambda theta: theta[index] / jets.at_least(theta[exponent], NOTHING), True)
    if each.kind == "inverse":
        return Quantity(name, lambda theta: -jets.log(jets.at_least(theta[index], NOTHING)), True)
    return Quantity(name, lambda theta: theta[index], each.kind in ("coefficient", "scale"))


def prediction(law: Law, logs: Array) -> Quantity:
    """The target at one point, the logarithms (V,) of the law's variables."""
    point = np.asarray(logs, float)[:, None]
    return Quantity(law.target, lambda theta: law.expression(theta, list(point)), True, float(law.sizes(np.exp(point))[0]))


def optimal_parameters(law: Law, budget: float) -> Quantity:
    """N* of the Chinchilla law at a budget in FLOPs, C = 6 N D (Hoffmann et al. 2022, eq. 4)."""
    return Quantity("compute-optimal parameters", lambda theta: _optimum(law, theta, budget)[0], True)


def optimal_loss(law: Law, budget: float) -> Quantity:
    """The Chinchilla law's loss at N* and D* of a budget in FLOPs."""
    return Quantity("compute-optimal loss", lambda theta: law.expression(theta, _optimum(law, theta, budget)), True, budget)


def _optimum(law: Law, theta: Sequence[Any], budget: float) -> list[Any]:
    """Logarithms of N* and D*."""
    if law.name != "chinchilla":
        raise AnalysisError(f"no compute-optimal allocation of the {law.name} law; it is known for the chinchilla law")
    _, a, b, alpha, beta = theta
    log_nd = np.log(budget / 6)
    log_n = (jets.log(alpha) + a - jets.log(beta) - b + beta * log_nd) / (alpha + beta)
    return [log_n, log_nd - log_n]

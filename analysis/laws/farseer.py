"""A law whose data term changes with the model (Farseer, Li et al. 2025)."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws import jets
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.jets import Array
from analysis.laws.law import Law, Parameter


class Farseer(Law):
    """L(N, D) = exp(a_3 N^gamma + b_3) + B(N) / D^A(N), B(N) = exp(a_2 N^beta + b_2), A(N) = exp(a_1 N^alpha + b_1) (eq. 3).

    All nine parameters are fitted at once here; the paper fits them in stages. Coordinates are, for each line a N^p + b, its
    value at N = 1 and its slope by log N there, c = a p, besides p: a p, a p and b of lines that hardly bend are
    indistinguishable. The unit of N can be changed by these; that of D cannot, so D is not centred.
    """

    name: ClassVar[str] = "farseer"
    formula: ClassVar[str] = "L(N, D) = exp(a_3 N^gamma + b_3) + exp(a_2 N^beta + b_2) D^-exp(a_1 N^alpha + b_1)"
    source: ClassVar[str] = "Li et al. 2025, arXiv 2506.10972, eq. 3"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("a_1", "1 / N^alpha", "number", bounds=(-3.0, 3.0)),
        Parameter("b_1", "log of the exponent of D", "number", bounds=(-5.0, 1.5)),
        Parameter("alpha", "exponent of N", "number", bounds=(-2.0, 2.0)),
        Parameter("a_2", "1 / N^beta", "number", bounds=(-3.0, 3.0)),
        Parameter("b_2", "log of nats/token x D^A", "number", bounds=(-30.0, 60.0)),
        Parameter("beta", "exponent of N", "number", bounds=(-2.0, 2.0)),
        Parameter("a_3", "1 / N^gamma", "number", bounds=(-3.0, 3.0)),
        Parameter("b_3", "log of nats/token", "number", bounds=(-12.0, 6.0)),
        Parameter("gamma", "exponent of N", "number", bounds=(-2.0, 2.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (4, 4)
    centred: ClassVar[tuple[str, ...]] = ("parameters",)

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        exponent, data, model = (b + c * logs[0] * growth(p * logs[0]) for c, b, p in _lines(theta))
        return jets.logaddexp(model, data - jets.exp(exponent) * logs[1])

    def derivatives(self, theta: Array, logs: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        """See `Law.derivatives`: what `jets` would find, several times faster, from the lines' few derivatives."""
        n, d = logs
        lines = [_Line(n, *(each[:, None] for each in line)) for line in _lines(list(theta.T))]
        exponent, data, model = lines
        fall = -np.exp(exponent.value) * d  # what the exponent adds to the logarithm of the data term
        difference = data.value + fall - model.value
        value = model.value + np.logaddexp(0.0, difference)
        share = jets.expit(difference)
        slopes = np.concatenate([fall[:, None] * exponent.slopes, data.slopes, -model.slopes], 1)
        gradient = slopes * np.concatenate([np.repeat(share[:, None], 6, 1), np.repeat(share[:, None] - 1.0, 3, 1)], 1)

        def second(weights: Array) -> Array:
            hessian = (slopes * (weights * share * (1.0 - share))[:, None]) @ slopes.swapaxes(1, 2)
            bent = weights * share * fall
            hessian[:, :3, :3] += (exponent.slopes * bent[:, None]) @ exponent.slopes.swapaxes(1, 2)
            for index, (line, each) in enumerate(zip(lines, (bent, weights * share, weights * (1.0 - share)), strict=True)):
                place = slice(3 * index, 3 * index + 3)
                hessian[:, place, place] += line.second(each)
            return hessian

        return value, gradient, second

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """See `Law.seeds`: those of Chinchilla's law, whose own first two terms bend as one line of this law can."""
        e, a, b, alpha, beta = np.moveaxis(Chinchilla().seeds(logs, log_values, weights, count), -1, 0)
        share = 1.0 / (1.0 + np.exp(e - a))  # of the term in N, where log N is 0
        lines = [(0.0, np.log(beta), 0.1), (0.0, b, -0.1), (-alpha * share, np.logaddexp(e, a), alpha * (share - 1.0))]
        return np.stack([np.broadcast_to(value, e.shape) for line in lines for value in line], -1)

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`."""
        shifted = theta.copy()
        for index, (c, b, p) in enumerate(_lines(list(np.moveaxis(theta, -1, 0)))):
            shifted[..., 3 * index] = c * np.exp(-p * offset[0])
            shifted[..., 3 * index + 1] = b - c * offset[0] * growth(-p * offset[0])
        return shifted

    def to_parameters(self, theta: Array) -> Array:
        """See `Law.to_parameters`; a straight line has no finite a and b."""
        with np.errstate(divide="ignore", invalid="ignore"):
            columns = [each for c, b, p in _lines(list(np.moveaxis(theta, -1, 0))) for each in (c / p, b - c / p, p)]
        return np.stack(columns, -1)

    def to_coordinates(self, parameters: Mapping[str, float]) -> Array:
        """See `Law.to_coordinates`."""
        lines = _lines([parameters[name] for name in self.names])
        return np.array([each for a, b, p in lines for each in (a * p, b + a, p)])


def _lines(values: Sequence[Any]) -> list[Sequence[Any]]:
    return [values[index : index + 3] for index in (0, 3, 6)]


class _Line:
    """A line b + c n growth(p n) at the logarithms n (N,), for lanes of c, b and p (B, 1)."""

    def __init__(self, n: Array, c: Array, b: Array, p: Array):
        moments = [_moment(p * n, order) * n ** (order + 1) for order in range(3)]
        self.value = b + c * moments[0]
        self.slopes = np.stack([moments[0], np.ones_like(moments[0]), c * moments[1]], 1)  # (B, 3, N)
        self.crossed, self.bent = moments[1], c * moments[2]

    def second(self, weights: Array) -> Array:
        """Second derivatives by c, b and p, contracted with weights (B, N): (B, 3, 3)."""
        hessian = np.zeros((len(weights), 3, 3))
        hessian[:, 0, 2] = hessian[:, 2, 0] = (weights * self.crossed).sum(1)
        hessian[:, 2, 2] = (weights * self.bent).sum(1)
        return hessian


def growth(x: Any) -> Any:
    """(e^x - 1) / x, for any x: the mean of e^t for t between 0 and x."""
    return jets.smooth(x, lambda v: _moment(v, 0), lambda v: _moment(v, 1), lambda v: _moment(v, 2))


def _moment(x: Array, order: int) -> Array:
    """The mean of s^order e^(s x) for s between 0 and 1, which is the derivative of `growth` of that order."""
    x = np.asarray(x)
    near = np.clip(x, -1.0, 1.0)
    series = np.full_like(near, 0.0)
    for power in range(17, -1, -1):
        series = series * near + 1.0 / (math.factorial(power) * (power + order + 1))
    far = np.where(np.abs(x) < 1.0, 1.0, x)
    grown = np.exp(far)
    closed = (grown - 1.0, grown * (far - 1.0) + 1.0, grown * (far**2 - 2.0 * far + 2.0) - 2.0)[order] / far ** (order + 1)
    return np.where(np.abs(x) < 1.0, series, closed)

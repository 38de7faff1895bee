"""Values that carry their exact first and second derivatives, so that a law is written once, as a formula.

A `Jet` stands for an array of values (B, N) that depend on P coordinates. Arithmetic and the functions of this module
propagate the derivatives by the chain rule (forward mode, Griewank & Walther 2008, chapter 13); the same formula given
plain arrays computes plain values.

Shapes: `B` lanes, `P` coordinates, `N` points; an axis of length one stands for any length.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Jet:
    """A value (B, N), its gradient (B, P, N) and its second derivatives (B, P, P, N); None for those of linear values."""

    __array_ufunc__ = None  # arrays on the left leave the operation to the methods below
    __slots__ = ("gradient", "hessian", "value")

    def __init__(self, value: Array, gradient: Array, hessian: Array | None = None):
        self.value, self.gradient, self.hessian = value, gradient, hessian

    def __neg__(self) -> "Jet":
        return self * -1.0

    def __add__(self, other: Any) -> "Jet":
        if not isinstance(other, Jet):
            return Jet(self.value + other, self.gradient, self.hessian)
        hessian = self.hessian if other.hessian is None else other.hessian
        if self.hessian is not None and other.hessian is not None:
            hessian = self.hessian + other.hessian
        return Jet(self.value + other.value, self.gradient + other.gradient, hessian)

    def __sub__(self, other: Any) -> "Jet":
        return self + -other

    def __rsub__(self, other: Any) -> "Jet":
        return -self + other

    def __mul__(self, other: Any) -> "Jet":
        if not isinstance(other, Jet):
            other = np.asarray(other, float)
            first, second = (other, other) if other.ndim == 0 else (other[..., None, :], other[..., None, None, :])
            return Jet(self.value * other, self.gradient * first, None if self.hessian is None else self.hessian * second)
        crossed = self.gradient[..., :, None, :] * other.gradient[..., None, :, :]
        hessian = crossed + crossed.swapaxes(-3, -2)
        for one, two in ((self, other), (other, self)):
            if one.hessian is not None:
                hessian = hessian + one.hessian * two.value[..., None, None, :]
        gradient = self.gradient * other.value[..., None, :] + other.gradient * self.value[..., None, :]
        return Jet(self.value * other.value, gradient, hessian)

    def __truediv__(self, other: Any) -> "Jet":
        return self * (reciprocal(other) if isinstance(other, Jet) else 1.0 / np.asarray(other, float))

    def __rtruediv__(self, other: Any) -> "Jet":
        return reciprocal(self) * other

    def __pow__(self, power: Any) -> "Jet":
        return exp(log(self) * power)

    def __rpow__(self, base: Any) -> "Jet":
        return exp(self * np.log(base))

    __radd__, __rmul__ = __add__, __mul__

    def through(self, value: Array, first: Array, second: Array) -> "Jet":
        """f(self), given f, f' and f'' at the value."""
        outer = self.gradient[..., :, None, :] * self.gradient[..., None, :, :]
        hessian = outer * second[..., None, None, :]
        if self.hessian is not None:
            hessian = hessian + self.hessian * first[..., None, None, :]
        return Jet(value, self.gradient * first[..., None, :], hessian)


def coordinates(theta: Array) -> list[Jet]:
    """The coordinates (B, P) as jets."""
    size = theta.shape[1]
    return [Jet(theta[:, index, None], np.eye(size)[None, index, :, None]) for index in range(size)]


def exp(x: Any) -> Any:
    """Exponential."""
    if not isinstance(x, Jet):
        return np.exp(x)
    value = np.exp(x.value)
    return x.through(value, value, value)


def log(x: Any) -> Any:
    """Natural logarithm."""
    if not isinstance(x, Jet):
        return np.log(x)
    inverse = 1.0 / x.value
    return x.through(np.log(x.value), inverse, -(inverse**2))


def reciprocal(x: Any) -> Any:
    """1 / x."""
    if not isinstance(x, Jet):
        return 1.0 / x
    value = 1.0 / x.value
    return x.through(value, -(value**2), 2 * value**3)


def softplus(x: Any) -> Any:
    """log(1 + e^x), for any x."""
    return smooth(x, lambda v: np.logaddexp(0.0, v), expit, lambda v: expit(v) * expit(-v))


def expit(x: Any) -> Any:
    """The logistic function 1 / (1 + e^-x), for any x."""
    if not isinstance(x, Jet):
        half = np.exp(-np.abs(x))
        return np.where(np.asarray(x) >= 0, 1.0, half) / (1.0 + half)
    return smooth(x, expit, lambda v: expit(v) * expit(-v), lambda v: expit(v) * expit(-v) * (1 - 2 * expit(v)))


def log_one_minus_exp(x: Any) -> Any:
    """log(1 - e^-x) for positive x (Maechler 2012)."""

    def value(v: Array) -> Array:
        return np.where(v > np.log(2), np.log1p(-np.exp(-np.maximum(v, np.log(2)))), np.log(-np.expm1(-v)))

    return smooth(x, value, lambda v: -np.exp(-v) / np.expm1(-v), lambda v: -np.exp(-v) / np.expm1(-v) ** 2)


def at_least(x: Any, low: float) -> Any:
    """The larger of x and `low`; flat below it."""
    return smooth(x, lambda v: np.maximum(v, low), lambda v: (v > low).astype(float), np.zeros_like)


def compose(value: Array, first: Array, second: Array, arguments: Sequence[Any]) -> Any:
    """A function of several jets, given its value (B, N) and its derivatives by the A arguments, (A, B, N) and (A, A, B, N)."""
    result: Any = value
    for index, one in enumerate(arguments):
        if isinstance(one, Jet):
            gradient = one.gradient * first[index][..., None, :]
            hessian = None if one.hessian is None else one.hessian * first[index][..., None, None, :]
            for other_index, other in enumerate(arguments):
                if isinstance(other, Jet):
                    outer = one.gradient[..., :, None, :] * other.gradient[..., None, :, :]
                    term = outer * second[index, other_index][..., None, None, :]
                    hessian = term if hessian is None else hessian + term
            result = Jet(np.zeros_like(value), gradient, hessian) + result
    return result


def logaddexp(*terms: Any) -> Any:
    """log(sum of e^term) without overflow: the logarithm of a law from the logarithms of its terms."""
    if not any(isinstance(term, Jet) for term in terms):
        value = np.asarray(terms[0], float)
        for term in terms[1:]:
            value = np.logaddexp(value, term)
        return value
    largest = terms[0].value if isinstance(terms[0], Jet) else terms[0]
    for term in terms[1:]:
        largest = np.maximum(largest, term.value if isinstance(term, Jet) else term)
    return log(sum((exp(term - largest) for term in terms), start=0.0)) + largest


def smooth(x: Any, f: Callable[[Array], Array], first: Callable[[Array], Array], second: Callable[[Array], Array]) -> Any:
    """f(x) of an array or a jet, given f' and f''."""
    return x.through(f(x.value), first(x.value), second(x.value)) if isinstance(x, Jet) else f(x)

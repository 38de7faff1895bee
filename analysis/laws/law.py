"""What a law is: a formula in logarithms, from which everything that the solver needs follows.

A law predicts the logarithm of a positive quantity (the `target`, mostly a loss) from the natural logarithms of its
variables, at *coordinates* theta: logarithms of what is positive and spans decades (coefficients and scales), exponents and
other numbers as they are. That keeps predictions positive and makes residuals relative errors.

To add a law, subclass `Law` (or `SumOfTerms`, where the target is a sum with a coefficient for each term), declare its
facts and write its formula with the functions of `laws.jets`; derivatives, starts and bounds come with it.

Shapes: `V` variables of the law, `P` parameters, `N` points, `B` lanes; `...` any batch (starts, resamples, simulations).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from analysis.laws import jets
from analysis.laws.jets import Array, Jet

CANDIDATES = 1024
EXPONENTS = (0.02, 2.0)  # where starts are sought


@dataclass(frozen=True)
class Parameter:
    """A parameter of a law.

    Attributes:
        name: as in the formula.
        unit: of its value.
        kind: `coefficient` (positive, in the unit of the target or of a term of it; coordinate: its logarithm), `scale`
            (positive, a place on the axis of `variable`; coordinate: its logarithm), `exponent` (coordinate: itself, at least
            0), `number` (coordinate: itself).
        variable: what a scale is a place on.
        bounds: lowest and highest coordinate worth searching, for exponents and numbers.
    """

    name: str
    unit: str
    kind: Literal["coefficient", "scale", "exponent", "number"]
    variable: str = ""
    bounds: tuple[float, float] = (0.0, 3.0)


class Law(ABC):
    """A functional form.

    Attributes:
        name: in tables, files and on the command line.
        formula: as a reader writes it.
        source: paper and equation.
        target: what is predicted; the column it is read from.
        unit: of the target.
        variables: what it is predicted from; the columns they are read from unless others are named.
        parameters: in the order of the coordinates.
        distinct: how many different values of each variable identify the parameters.
        powers: (coefficient, exponent, variable): the coefficient multiplies variable^-exponent, so that a change of the
            variable's unit is a change of the coefficient.
        centred: variables whose unit can be changed by `powers` and scales alone, with no change in the prediction.
    """

    name: ClassVar[str]
    formula: ClassVar[str]
    source: ClassVar[str]
    target: ClassVar[str] = "loss"
    unit: ClassVar[str] = "nats/token"
    variables: ClassVar[tuple[str, ...]]
    parameters: ClassVar[tuple[Parameter, ...]]
    distinct: ClassVar[tuple[int, ...]]
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = ()
    centred: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """Logarithm of the target, from the P coordinates and the V logarithms, each an array or a `Jet`."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(each.name for each in self.parameters)

    @property
    def size(self) -> tuple[str, str]:
        """What says how far a point is beyond others, a name and its convention: FLOPs where the law knows them."""
        if {"parameters", "tokens"} <= set(self.variables):
            return "flops", "6 x parameters x tokens"
        name = next((name for name in ("flops", "tokens", "parameters") if name in self.variables), self.variables[0])
        return name, name

    def sizes(self, values: Array) -> Array:
        """`size` (N,) of points at the variables' values (V, N)."""
        name, convention = self.size
        if name == convention:
            return values[self.variables.index(name)]
        return 6 * values[self.variables.index("parameters")] * values[self.variables.index("tokens")]

    def log_value(self, theta: Array, logs: Array) -> Array:
        """Logarithm of the predicted target: (..., P) and (V, N) -> (..., N)."""
        value = self.expression(list(np.moveaxis(theta, -1, 0)[..., None]), list(logs))
        return np.broadcast_to(value, (*theta.shape[:-1], logs.shape[1]))

    def derivatives(self, theta: Array, logs: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        """Value (B, N), gradient (B, P, N), and the second derivative as a contraction over points.

        The last is a function of weights (B, N) that returns sum_i weights_i d2 log target_i / d theta2, (B, P, P).
        """
        batch, size = theta.shape
        jet: Jet = self.expression(jets.coordinates(theta), list(logs))
        value = np.broadcast_to(jet.value, (batch, logs.shape[1]))
        gradient = np.broadcast_to(jet.gradient, (batch, size, logs.shape[1]))

        def second(weights: Array) -> Array:
            if jet.hessian is None:
                return np.zeros((batch, size, size))
            hessian = np.broadcast_to(jet.hessian, (batch, size, size, logs.shape[1]))
            return (hessian.reshape(batch, size * size, -1) @ weights[..., None])[..., 0].reshape(batch, size, size)

        return value, gradient, second

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """Starting coordinates (B, count, P) for log targets and weights (B, N), best first.

        Candidates fill the plausible coordinates evenly; each region of them gives its best, by the weighted
        squared error of the log target, so that the starts differ and their agreement means something.
        """
        low, high = np.array([self._plausible(each, logs, log_values) for each in self.parameters]).T
        places = spread(len(low))
        candidates = low + (high - low) * places
        predicted = self.log_value(candidates, logs)
        chosen = np.empty((len(log_values), count, len(low)))
        for lane in range(len(log_values)):
            error = np.nan_to_num((predicted - log_values[lane]) ** 2 @ weights[lane], nan=np.inf)
            chosen[lane] = candidates[best_of_regions(error, places, count)]
        return chosen

    def _plausible(self, parameter: Parameter, logs: Array, log_values: Array) -> tuple[float, float]:
        """The coordinates of a parameter among which starts are sought, for centred `logs`."""
        if parameter.kind == "coefficient":
            return log_values.min() - 5.0, log_values.max() + 1.0
        if parameter.kind == "scale":
            axis = logs[self.variables.index(parameter.variable)]
            return axis.min() - 2.0, axis.max() + 2.0
        low, high = parameter.bounds
        return (max(low, EXPONENTS[0]), min(high, EXPONENTS[1])) if parameter.kind == "exponent" else (low, high)

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """Lowest and highest coordinates (P,) worth searching, for centred `logs`.

        A term below e^-12 of the smallest target is absent; scales lie within a factor e^10 of the data.
        """
        pairs = []
        for each in self.parameters:
            if each.kind == "coefficient":
                pairs.append((log_values.min() - 12.0, log_values.max() + 1.0))
            elif each.kind == "scale":
                axis = logs[self.variables.index(each.variable)]
                pairs.append((axis.min() - 10.0, axis.max() + 10.0))
            else:
                pairs.append(each.bounds)
        low, high = np.array(pairs, float).T
        return low, high

    def centre(self, logs: Array) -> Array:
        """What to subtract from the logarithms (V, N) for a well-conditioned fit, (V,)."""
        return np.where(np.isin(self.variables, self.centred), logs.mean(1), 0.0)

    def shift(self, theta: Array, offset: Array) -> Array:
        """The coordinates for variables `logs` that predict what `theta` does for `logs - offset`; offset is (V,)."""
        shifted = theta.copy()
        for coefficient, exponent, variable in self.powers:
            moved = theta[..., self.names.index(exponent)] * offset[self.variables.index(variable)]
            shifted[..., self.names.index(coefficient)] += moved
        for index, each in enumerate(self.parameters):
            if each.kind == "scale" and each.variable in self.centred:
                shifted[..., index] += offset[self.variables.index(each.variable)]
        return shifted

    def to_parameters(self, theta: Array) -> Array:
        """Coordinates (..., P) -> parameters in their units (..., P)."""
        positive = [each.kind in ("coefficient", "scale") for each in self.parameters]
        return np.where(positive, np.exp(np.where(positive, theta, 0.0)), theta)

    def to_coordinates(self, parameters: dict[str, float]) -> Array:
        """Parameters by name -> coordinates (P,): a published law, ready to predict."""
        return np.array(
            [np.log(parameters[p.name]) if p.kind in ("coefficient", "scale") else parameters[p.name] for p in self.parameters]
        )


class SumOfTerms(Law):
    """A law that is a sum of terms, each with a coefficient of its own.

    `coefficients` names them in the order of the terms. Starts come from variable projection (Golub & Pereyra 1973): at
    given other coordinates the law is linear in its coefficients, so those are solved for and not searched.
    """

    coefficients: ClassVar[tuple[str, ...]]

    @abstractmethod
    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """Logarithms of the terms, in the order of `coefficients`."""

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        return jets.logaddexp(*self.terms(theta, logs))

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """See `Law.seeds`: least squares of the relative error over the coefficients, at each candidate of the rest.

        A coefficient that comes out negative is raised to a small positive share of the target and judged as such.
        """
        linear = [self.names.index(name) for name in self.coefficients]
        searched = [index for index in range(len(self.parameters)) if index not in linear]
        places = spread(len(searched))
        # On a grid each coordinate keeps an axis of its own, so that a term is computed once per value of what is in it.
        axes = np.ix_(*[np.unique(values) for values in places.T]) if len(searched) <= 2 else places.T
        candidates: list[Array] = [np.zeros(1)] * len(self.parameters)
        for index, values in zip(searched, axes, strict=True):
            low, high = self._plausible(self.parameters[index], logs, log_values)
            geometric = self.parameters[index].kind == "exponent"
            candidates[index] = (low * (high / low) ** values if geometric else low + (high - low) * values)[..., None]
        basis = [np.exp(term) for term in self.terms(candidates, list(logs))]
        shape = np.broadcast_shapes(*[values.shape[:-1] for values in candidates])
        pairs = [(first, second) for first in range(len(basis)) for second in range(first + 1)]
        target = np.exp(log_values)
        floor = 1e-3 * target.min(-1)
        chosen = np.empty((len(target), count, len(self.parameters)))
        gram, right = np.empty((*shape, len(basis), len(basis))), np.empty((*shape, len(basis)))
        for lane in range(len(target)):
            scaled = [each / target[lane] for each in basis]
            weighted = [each * weights[lane] for each in scaled]
            for first, second in pairs:
                gram[..., first, second] = gram[..., second, first] = np.vecdot(weighted[first], scaled[second])
            for first, each in enumerate(weighted):
                right[..., first] = each.sum(-1)
            ridge = 1e-10 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * np.eye(len(basis))
            solved = np.maximum(np.linalg.solve(gram + ridge, right[..., None])[..., 0], floor[lane])
            error = np.einsum("...t,...tu,...u", solved, gram, solved) - 2 * (solved * right).sum(-1)
            best = np.unravel_index(best_of_regions(error.ravel(), places, count), shape)
            chosen[lane] = np.concatenate([np.broadcast_to(values, (*shape, 1))[best] for values in candidates], -1)
            chosen[lane][:, linear] = np.log(solved[best])
        return chosen


def spread(dimensions: int) -> Array:
    """Points (K, dimensions) that fill the unit cube evenly, always the same.

    A grid in one and two dimensions, beyond them an additive recurrence (Roberts 2018, the R sequence).
    """
    if dimensions <= 2:
        axis = (np.arange(16) + 0.5) / 16
        return np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
    golden = 2.0
    for _ in range(60):
        golden = (1.0 + golden) ** (1.0 / (dimensions + 1))
    return (0.5 + np.arange(1, CANDIDATES + 1)[:, None] * golden ** -np.arange(1.0, dimensions + 1)) % 1.0


def best_of_regions(error: Array, places: Array, count: int) -> np.ndarray:
    """Indices (count,) of the best candidates of the best of 16 equal regions of the unit cube, best first.

    Args:
        error: of each candidate (K,).
        places: where it lies in the unit cube (K, dimensions).
        count: how many, at most 16.
    """
    divisions = {1: (16,), 2: (4, 4), 3: (4, 2, 2)}.get(places.shape[1], (2, 2, 2, 2))
    cells = (places[:, : len(divisions)] * divisions).astype(int)
    regions = np.ravel_multi_index(tuple(cells.T), divisions)
    ranked = error.argsort(kind="stable")
    _, first = np.unique(regions[ranked], return_index=True)
    return ranked[np.sort(first)[:count]]

"""What a law is: a formula in logarithms, from which everything that the solver needs follows.

A law predicts the logarithm of a positive quantity (the `target`, mostly a loss) from the natural logarithms of its
variables, at *coordinates* theta: logarithms of what is positive and spans decades (coefficients and scales), exponents and
other numbers as they are. That keeps predictions positive and makes residuals relative errors.

To add a law, subclass `Law`, or where they fit `PowerLaw` (a product of powers: nothing but declarations), `LogLinear` (the
logarithm is linear in some coordinates) or `SumOfTerms` (a sum with a coefficient for each term); declare its facts and
write its formula with the functions of `laws.jets`. Derivatives, starts and bounds come with it.

Shapes: `V` variables of the law, `P` parameters, `N` points, `B` lanes; `...` any batch (starts, resamples, simulations).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from analysis.laws import jets
from analysis.laws.jets import Array, Jet
from analysis.laws.seeding import best_of_regions, on_axes, spread

EXPONENTS = (0.02, 2.0)  # where starts are sought


@dataclass(frozen=True)
class Parameter:
    """A parameter of a law.

    Attributes:
        name: as in the formula.
        unit: of its value.
        kind: `coefficient` (positive, in the unit of the target or of a term of it; coordinate: its logarithm), `scale`
            (positive, a place on the axis of `variable`; coordinate: its logarithm), `crossing` (positive: the place X_c
            where the term (X_c / X)^alpha is 1; coordinate: the logarithm of that term's coefficient X_c^alpha, which data
            determine where X_c lies far outside them), `exponent` (coordinate: itself, at least 0), `inverse` (coordinate:
            1 / itself, at least 0), `number` (coordinate: itself).
        variable: what a scale is a place on; a scale without one is sought within its bounds.
        exponent: the exponent of a crossing.
        bounds: lowest and highest coordinate worth searching, for all but coefficients, crossings and scales on an axis.
    """

    name: str
    unit: str
    kind: Literal["coefficient", "scale", "crossing", "exponent", "inverse", "number"]
    variable: str = ""
    exponent: str = ""
    bounds: tuple[float, float] = (0.0, 3.0)

    def value(self, coordinate: Array, exponent: Array | None) -> Array:
        """In its unit, from its coordinate and for a crossing that of its exponent."""
        if self.kind in ("exponent", "number"):
            return coordinate
        with np.errstate(over="ignore", divide="ignore"):  # a crossing or an inverse without a finite place is at infinity
            if self.kind == "inverse":
                return 1.0 / coordinate
            return np.exp(coordinate if self.kind != "crossing" or exponent is None else coordinate / exponent)

    def coordinate(self, value: float, exponent: Any) -> Any:
        """The opposite of `value`."""
        if self.kind in ("exponent", "number"):
            return value
        if self.kind == "inverse":
            return 1.0 / value
        return np.log(value) * (exponent if self.kind == "crossing" else 1.0)


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
            variable's unit is a change of the coefficient; "-exponent" means that it multiplies variable^exponent.
        centred: variables whose unit can be changed by `powers` and scales alone, with no change in the prediction.
        published: parameters by name, by who published them: `to_coordinates` makes them ready to predict.
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
    published: ClassVar[dict[str, dict[str, float]]] = {}

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
        candidates, places = self._candidates(range(len(self.parameters)), logs, log_values)
        predicted = self.log_value(candidates, logs)
        starts = []
        for values, weight in zip(log_values, weights, strict=True):
            error = np.nan_to_num((predicted - values) ** 2 @ weight, nan=np.inf)
            starts.append(candidates[best_of_regions(error, places, count)])
        return np.stack(starts)

    def _candidates(self, searched: Sequence[int], logs: Array, log_values: Array) -> tuple[Array, Array]:
        """Candidates (K, P) that differ in the `searched` coordinates, and where those lie in the unit cube."""
        places = spread(len(searched))
        candidates = np.zeros((len(places), len(self.parameters)))
        for index, values in zip(searched, places.T, strict=True):
            low, high = self._plausible(self.parameters[index], logs, log_values)
            geometric = self.parameters[index].kind == "exponent" and low > 0
            candidates[:, index] = low * (high / low) ** values if geometric else low + (high - low) * values
        return candidates, places

    def _plausible(self, parameter: Parameter, logs: Array, log_values: Array) -> tuple[float, float]:
        """The coordinates of a parameter among which starts are sought, for centred `logs`."""
        if parameter.kind in ("coefficient", "crossing"):
            return log_values.min() - 5.0, log_values.max() + 1.0
        if parameter.kind == "scale" and parameter.variable:
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
            if each.kind in ("coefficient", "crossing"):
                pairs.append((log_values.min() - 12.0, log_values.max() + 1.0))
            elif each.kind == "scale" and each.variable:
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
            index, sign = self._signed(exponent)
            shifted[..., self.names.index(coefficient)] += sign * theta[..., index] * offset[self.variables.index(variable)]
        for index, each in enumerate(self.parameters):
            if each.kind == "scale" and each.variable in self.centred:
                shifted[..., index] += offset[self.variables.index(each.variable)]
        return shifted

    def _signed(self, exponent: str) -> tuple[int, float]:
        """Index and sign of an exponent as `powers` names it."""
        return self.names.index(exponent.removeprefix("-")), -1.0 if exponent.startswith("-") else 1.0

    def to_parameters(self, theta: Array) -> Array:
        """Coordinates (..., P) -> parameters in their units (..., P)."""
        columns = dict(zip(self.names, np.moveaxis(theta, -1, 0), strict=True))
        return np.stack([each.value(columns[each.name], columns.get(each.exponent)) for each in self.parameters], -1)

    def to_coordinates(self, parameters: Mapping[str, float]) -> Array:
        """Parameters by name -> coordinates (P,): a published law, ready to predict."""
        return np.array([each.coordinate(parameters[each.name], parameters.get(each.exponent)) for each in self.parameters])


class LogLinear(Law):
    """A law whose logarithm is a sum of features, each with a coordinate of its own as its factor.

    `linear` names those coordinates in the order of the features. Starts come from weighted least squares over them at each
    candidate of the other coordinates; without others there is one start, at the bottom of a convex objective.
    """

    linear: ClassVar[tuple[str, ...]]

    @abstractmethod
    def features(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """What each coordinate of `linear` multiplies, from the other coordinates and the variables."""

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        linear = (theta[self.names.index(name)] for name in self.linear)
        return sum((factor * feature for factor, feature in zip(linear, self.features(theta, logs), strict=True)), start=0.0)

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """See `Law.seeds`."""
        linear = [self.names.index(name) for name in self.linear]
        searched = [index for index in range(len(self.parameters)) if index not in linear]
        candidates, places = self._candidates(searched, logs, log_values)
        features = self.features(list(candidates.T[..., None]), list(logs))
        basis = [np.broadcast_to(each, (len(places), logs.shape[1])) for each in features]
        starts = []
        for values, weight in zip(log_values, weights, strict=True):
            solved, error = least_squares(basis, values, weight)
            best = best_of_regions(error, places, count)
            starts.append(candidates[best])
            starts[-1][:, linear] = solved[best]
        return np.stack(starts)


class PowerLaw(LogLinear):
    """A product of powers of the variables, as `powers` declares them: all of its factors, each with the one coefficient."""

    def __init_subclass__(cls) -> None:
        cls.linear = tuple(each.name for each in cls.parameters)
        cls.centred = tuple(name for name in cls.variables if any(name == variable for _, _, variable in cls.powers))
        cls.distinct = (2,) * len(cls.variables)

    def features(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `LogLinear.features`."""
        features: list[Any] = [1.0] * len(self.parameters)
        for _, exponent, variable in self.powers:
            index, sign = self._signed(exponent)
            features[index] = -sign * logs[self.variables.index(variable)]
        return features


class SumOfTerms(Law):
    """A law that is a sum of terms, each with a coefficient of its own.

    `coefficients` names them in the order of the terms; terms beyond them have none. Terms with the sign -1 are subtracted,
    and the sum is positive where the law holds. Starts come from variable projection (Golub & Pereyra 1973): at given other
    coordinates the law is linear in its coefficients, so those are solved for and not searched.
    """

    coefficients: ClassVar[tuple[str, ...]]
    signs: ClassVar[tuple[int, ...]] = ()

    @abstractmethod
    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """Logarithms of the terms, in the order of `coefficients`."""

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        terms = self.terms(theta, logs)
        if not self.signs:
            return jets.logaddexp(*terms)
        added, taken = ([term for term, each in zip(terms, self.signs, strict=True) if each == sign] for sign in (1, -1))
        added, taken = jets.logaddexp(*added), jets.logaddexp(*taken)
        return added + jets.log_one_minus_exp(jets.at_least(added - taken, 1e-9))

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """See `Law.seeds`: least squares of the relative error over the coefficients, at each candidate of the rest.

        A coefficient that comes out negative is raised to a small positive share of the target and judged as such.
        """
        linear = [self.names.index(name) for name in self.coefficients]
        searched = [index for index in range(len(self.parameters)) if index not in linear]
        candidates, places = self._candidates(searched, logs, log_values)
        basis = [np.exp(term) for term in self.terms(on_axes(candidates, searched), list(logs))]
        if self.signs:
            basis = [sign * each for sign, each in zip(self.signs, basis, strict=True)]
        basis, rest = basis[: len(linear)], sum(basis[len(linear) :], start=np.zeros(1))
        starts = []
        for values, weight in zip(np.exp(log_values), weights, strict=True):
            scaled = [each / values for each in basis]
            solved, error = least_squares(scaled, 1.0 - rest / values, weight, lowest=1e-3 * values.min())
            best = best_of_regions(error.ravel(), places, count)
            starts.append(candidates[best])
            starts[-1][:, linear] = np.log(solved.reshape(len(places), len(linear))[best])
        return np.stack(starts)


def least_squares(basis: Sequence[Array], values: Array, weights: Array, lowest: float = -np.inf) -> tuple[Array, Array]:
    """Factors (..., T) of T bases that come closest to `values`, and the squared errors (...).

    Bases and values broadcast to (..., N). Factors below `lowest` are raised to it, and the error is theirs as they are then.
    """
    shape = np.broadcast_shapes(values.shape, *[each.shape for each in basis])[:-1]
    gram, right = np.empty((*shape, len(basis), len(basis))), np.empty((*shape, len(basis)))
    for first, each in enumerate(basis):
        weighted = each * weights
        right[..., first] = np.vecdot(weighted, values)
        for second in range(first + 1):
            gram[..., first, second] = gram[..., second, first] = np.vecdot(weighted, basis[second])
    ridge = 1e-10 * np.trace(gram, axis1=-2, axis2=-1)[..., None, None] * np.eye(len(basis))
    solved = np.maximum(np.linalg.solve(gram + ridge, right[..., None])[..., 0], lowest)
    error = np.einsum("...t,...tu,...u->...", solved, gram, solved) - 2 * (solved * right).sum(-1)
    return solved, error + np.vecdot(values**2, weights)

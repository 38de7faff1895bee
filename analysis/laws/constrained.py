"""A law with some of its parameters held at known values or tied to each other."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws.jets import Array
from analysis.laws.law import Law, SumOfTerms


def constrained(law: Law, **constraints: float | str) -> Law:
    """The law with parameters held (`E=1.69`) or tied (`beta="alpha"`); the others keep their names, units and bounds.

    Raises:
        AnalysisError: an unknown parameter, or a tie that is not between free parameters of the same kind.
    """
    for name, value in constraints.items():
        if name not in law.names:
            raise AnalysisError(f"the {law.name} law has no parameter {name!r}; it has {', '.join(law.names)}")
        if isinstance(value, str) and (value not in law.names or value in constraints):
            raise AnalysisError(f"{name} can be tied to a free parameter of the {law.name} law, not to {value!r}")
        if isinstance(value, str) and {law.parameters[law.names.index(each)].kind for each in (name, value)} - {
            "exponent",
            "number",
        }:
            raise AnalysisError(f"only exponents and numbers can be tied, not {name} to {value}")
    return _ConstrainedSum(law, constraints) if isinstance(law, SumOfTerms) else _ConstrainedLaw(law, constraints)


class _Constrained(Law):
    """What both kinds share: coordinates of the free parameters only, completed before the law is asked."""

    def __init__(self, law: Law, constraints: dict[str, float | str]):
        self.law, self.constraints = law, constraints
        self.free = [index for index, name in enumerate(law.names) if name not in constraints]
        listed = ", ".join(f"{name} = {value}" for name, value in constraints.items())
        vars(self).update(
            name=f"{law.name} with {listed}",
            formula=f"{law.formula} with {listed}",
            source=law.source,
            target=law.target,
            unit=law.unit,
            variables=law.variables,
            parameters=tuple(law.parameters[index] for index in self.free),
            distinct=law.distinct,
        )
        vars(self)["centred"] = law.centred if self._holds(law.centred) else tuple(v for v in law.centred if self._holds((v,)))

    def _holds(self, variables: Sequence[str]) -> bool:
        """Whether a change of these variables' units leaves what is held and tied as it is: tried at a point."""
        theta = np.linspace(0.3, 0.4, len(self.free))
        logs = np.linspace(3.0, 1.0, len(self.variables))[:, None]
        offset = np.where(np.isin(self.variables, variables), self.law.centre(logs), 0.0)
        moved = self.log_value(self.shift(theta, offset), logs) - self.log_value(theta, logs - offset[:, None])
        return bool(np.abs(moved) < 1e-9)

    def complete(self, theta: Sequence[Any]) -> list[Any]:
        """All coordinates of the law from those of the free parameters."""
        known: dict[str, Any] = {self.law.names[index]: value for index, value in zip(self.free, theta, strict=True)}
        ordered = sorted(self.law.parameters, key=lambda each: each.kind == "crossing")  # these need their exponents
        for each in ordered:
            value = self.constraints.get(each.name)
            if value is not None:
                known[each.name] = known[value] if isinstance(value, str) else each.coordinate(value, known.get(each.exponent))
        return [known[name] for name in self.law.names]

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        return self.law.expression(self.complete(theta), logs)

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`."""
        low, high = self.law.bounds(logs, log_values)
        return low[self.free], high[self.free]

    def centre(self, logs: Array) -> Array:
        """See `Law.centre`."""
        return np.where(np.isin(self.variables, self.centred), self.law.centre(logs), 0.0)

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`."""
        full = self.complete(list(np.moveaxis(theta, -1, 0)))
        return self.law.shift(np.stack(np.broadcast_arrays(*full), -1), offset)[..., self.free]


class _ConstrainedLaw(_Constrained):
    """Any law but a sum of terms: starts are sought among all free parameters."""


class _ConstrainedSum(_Constrained, SumOfTerms):
    """A sum of terms: its free coefficients are still solved for."""

    law: SumOfTerms

    def __init__(self, law: SumOfTerms, constraints: dict[str, float | str]):
        super().__init__(law, constraints)
        self.order = sorted(range(len(law.coefficients)), key=lambda index: law.coefficients[index] in constraints)
        self.order += range(len(law.coefficients), len(law.signs) or len(law.coefficients))
        vars(self).update(
            coefficients=tuple(name for name in law.coefficients if name not in constraints),
            signs=tuple(law.signs[index] for index in self.order) if law.signs else (),
        )

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`; those whose coefficient is held come last."""
        terms = self.law.terms(self.complete(theta), logs)
        return [terms[index] for index in self.order]


def parse_constraints(text: str) -> dict[str, float | str]:
    """What stands after "with" in the name of a constrained law: "E = 1.69, beta = alpha"."""
    constraints: dict[str, float | str] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*([^\s=]+)\s*=\s*([^\s=]+)\s*", part)
        if match is None:
            raise AnalysisError(f"{part.strip()!r} is no constraint; write it as in 'E = 1.69' or 'beta = alpha'")
        name, value = match.groups()
        try:
            constraints[name] = float(value)
        except ValueError:
            constraints[name] = value
    return constraints

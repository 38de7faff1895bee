"""Broken neural scaling laws: power laws whose slope changes smoothly, at breaks (Caballero et al. 2022)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import Parameter, SumOfTerms

SLOPES = (-2.0, 3.0)
WIDTHS = (0.05, 3.0)  # factors e of x over which a break takes place


class BrokenPowerLaw(SumOfTerms):
    """L(x) = a + b x^-c0 prod_i (1 + (x / d_i)^(1 / f_i))^(-c_i f_i) (Caballero et al. 2022, arXiv 2210.14891, eq. 1).

    At each break d_i the slope on a log-log plot changes by c_i, over some f_i factors e of x. With no break it is `M2`.
    Breaks are sought among the data: what lies beyond them cannot be seen in them.

    A subclass says how many breaks it has.
    """

    source: ClassVar[str] = "Caballero et al. 2022, arXiv 2210.14891, eq. 1"
    unit: ClassVar[str] = "of the loss"
    variables: ClassVar[tuple[str, ...]] = ("examples",)
    coefficients: ClassVar[tuple[str, ...]] = ("a", "b")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("b", "c0", "examples"),)
    centred: ClassVar[tuple[str, ...]] = variables

    def __init_subclass__(cls, breaks: int, **rest: Any):
        super().__init_subclass__(**rest)
        numbers = range(1, breaks + 1)
        cls.name = f"bnsl{breaks}"
        cls.formula = "L(x) = a + b x^-c0" + "".join(f" (1 + (x/d{i})^(1/f{i}))^(-c{i} f{i})" for i in numbers)
        cls.parameters = (
            Parameter("a", "of the loss", "coefficient"),
            Parameter("b", "loss x examples^c0", "coefficient"),
            Parameter("c0", "exponent of x", "number", bounds=SLOPES),
        )
        for i in numbers:
            cls.parameters += (
                Parameter(f"c{i}", "change of the exponent", "number", bounds=SLOPES),
                Parameter(f"d{i}", "examples", "scale", "examples"),
                Parameter(f"f{i}", "factors e of examples", "number", bounds=WIDTHS),
            )
        cls.distinct = (len(cls.parameters),)

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        a, b, c0, *breaks = theta
        power = b - c0 * logs[0]
        for c, d, f in zip(*[iter(breaks)] * 3, strict=True):
            power = power - c * f * jets.softplus((logs[0] - d) / f)
        return [a, power]

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`; a break lies among the data."""
        low, high = super().bounds(logs, log_values)
        scale = np.array([each.kind == "scale" for each in self.parameters])
        return np.where(scale, logs[0].min(), low), np.where(scale, logs[0].max(), high)


class Unbroken(BrokenPowerLaw, breaks=0):
    """A power law above an irreducible loss."""


class OneBreak(BrokenPowerLaw, breaks=1):
    """Two slopes."""


class TwoBreaks(BrokenPowerLaw, breaks=2):
    """Three slopes."""


class ThreeBreaks(BrokenPowerLaw, breaks=3):
    """Four slopes."""


BROKEN = (Unbroken(), OneBreak(), TwoBreaks(), ThreeBreaks())

"""Four laws of an error or loss against the examples seen (Alabdulmohsin, Neyshabur & Zhai 2022, arXiv 2209.06640)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws import jets
from analysis.laws.jets import Jet
from analysis.laws.law import Parameter, SumOfTerms

SOURCE = "Alabdulmohsin et al. 2022, arXiv 2209.06640"
EXAMPLES = ("examples",)
STEPS = 100  # of the implicit solve; Newton needs 5 to 10


class M1(SumOfTerms):
    """L(x) = B x^-c: a power law with nothing irreducible."""

    name: ClassVar[str] = "m1"
    formula: ClassVar[str] = "L(x) = B x^-c"
    source: ClassVar[str] = f"{SOURCE}, M1"
    unit: ClassVar[str] = "of the loss"
    variables: ClassVar[tuple[str, ...]] = EXAMPLES
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("B", "loss x examples^c", "coefficient"),
        Parameter("c", "exponent of x", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (2,)
    coefficients: ClassVar[tuple[str, ...]] = ("B",)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("B", "c", "examples"),)
    centred: ClassVar[tuple[str, ...]] = EXAMPLES

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        b, c = theta
        return [b - c * logs[0]]


class M2(SumOfTerms):
    """L(x) = E + B x^-c: a power law above an irreducible loss."""

    name: ClassVar[str] = "m2"
    formula: ClassVar[str] = "L(x) = E + B x^-c"
    source: ClassVar[str] = f"{SOURCE}, M2"
    unit: ClassVar[str] = "of the loss"
    variables: ClassVar[tuple[str, ...]] = EXAMPLES
    parameters: ClassVar[tuple[Parameter, ...]] = (Parameter("E", "of the loss", "coefficient"), *M1.parameters)
    distinct: ClassVar[tuple[int, ...]] = (3,)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "B")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = M1.powers
    centred: ClassVar[tuple[str, ...]] = EXAMPLES

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, b, c = theta
        return [e, b - c * logs[0]]


class M3(SumOfTerms):
    """L(x) = B (1/x + 1/S)^c: a power law that saturates at S examples, where the paper writes gamma for 1/S."""

    name: ClassVar[str] = "m3"
    formula: ClassVar[str] = "L(x) = B (1/x + 1/S)^c"
    source: ClassVar[str] = f"{SOURCE}, M3"
    unit: ClassVar[str] = "of the loss"
    variables: ClassVar[tuple[str, ...]] = EXAMPLES
    parameters: ClassVar[tuple[Parameter, ...]] = (*M1.parameters, Parameter("S", "examples", "scale", "examples"))
    distinct: ClassVar[tuple[int, ...]] = (3,)
    coefficients: ClassVar[tuple[str, ...]] = ("B",)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = M1.powers
    centred: ClassVar[tuple[str, ...]] = EXAMPLES

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        b, c, s = theta
        return [b + c * jets.logaddexp(-logs[0], -s)]


class M4(SumOfTerms):
    """(L - E) / (L0 - L)^alpha = b x^-c: from L0, the loss of guessing, down to E, the irreducible one.

    The same law with a share w in (0, 1) of the whole way A = L0 - E still to go, and X for the constant b:

        L(x) = E + A w(x),   w / (1 - w)^alpha = (X / x)^c,   b = X^c A^(1 - alpha).
    """

    name: ClassVar[str] = "m4"
    formula: ClassVar[str] = "L(x) = E + A w with w / (1 - w)^alpha = (X / x)^c"
    source: ClassVar[str] = f"{SOURCE}, M4"
    unit: ClassVar[str] = "of the loss"
    variables: ClassVar[tuple[str, ...]] = EXAMPLES
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("E", "of the loss", "coefficient"),
        Parameter("A", "of the loss", "coefficient"),
        Parameter("X", "examples", "scale", "examples"),
        Parameter("c", "exponent of x", "exponent"),
        Parameter("alpha", "of the way down from L0", "exponent", bounds=(0.1, 10.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (5,)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "A")
    centred: ClassVar[tuple[str, ...]] = EXAMPLES

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, a, scale, c, alpha = theta
        return [e, a - jets.softplus(-_logit((scale - logs[0]) * c, alpha))]


def _logit(z: Any, alpha: Any) -> Any:
    """The u that solves log w - alpha log(1 - w) = z for w = 1 / (1 + e^-u), of arrays or jets.

    Newton's method finds the value: the left side, u + (alpha - 1) log(1 + e^u), is convex or concave, so that it
    converges from anywhere. Two more steps in the arithmetic of jets then carry the derivatives: each makes one more
    order of them exact.
    """

    def newton(u: Any, z: Any, alpha: Any) -> Any:
        return u - (u + (alpha - 1.0) * jets.softplus(u) - z) / (1.0 + (alpha - 1.0) * jets.expit(u))

    level, power = (x.value if isinstance(x, Jet) else x for x in (z, alpha))
    u = np.where(level < 0, level, level / power)
    for _ in range(STEPS):
        before, u = u, newton(u, level, power)
        if np.all(np.abs(u - before) <= 1e-13 * (1 + np.abs(u))):
            break
    return newton(newton(u, z, alpha), z, alpha) if isinstance(z, Jet) else u

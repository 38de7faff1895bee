"""Runs on many more tokens than is compute-optimal (Gadre et al. 2024)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from analysis.laws.law import Parameter, SumOfTerms


class OverTraining(SumOfTerms):
    """L(C, M) = E + (a M^eta + b / M^eta) / C^eta with M = D / N and C = 6 N D (eq. 4).

    It is Chinchilla's law with alpha = beta = 2 eta, a = A 6^eta and b = B 6^eta: at a fixed token multiplier M the reducible
    loss is one power of compute, and over-training moves that line without turning it.
    """

    name: ClassVar[str] = "over-training"
    formula: ClassVar[str] = "L(C, M) = E + (a M^eta + b / M^eta) / C^eta"
    source: ClassVar[str] = "Gadre et al. 2024, arXiv 2403.08540, eq. 4"
    variables: ClassVar[tuple[str, ...]] = ("flops", "tokens_per_parameter")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("E", "nats/token", "coefficient"),
        Parameter("a", "nats/token x C^eta / M^eta", "coefficient"),
        Parameter("b", "nats/token x C^eta M^eta", "coefficient"),
        Parameter("eta", "exponent of C and M", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 2)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "a", "b")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("a", "eta", "flops"),
        ("b", "eta", "flops"),
        ("a", "-eta", "tokens_per_parameter"),
        ("b", "eta", "tokens_per_parameter"),
    )
    centred: ClassVar[tuple[str, ...]] = variables

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, a, b, eta = theta
        return [e, a + eta * (logs[1] - logs[0]), b - eta * (logs[1] + logs[0])]

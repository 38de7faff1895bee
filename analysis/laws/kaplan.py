"""The laws of Kaplan et al. 2020, arXiv 2001.08361: one variable at a time, two together, and the critical batch.

N counts parameters without embeddings and D training tokens. Compute is in FLOPs here, where the paper has PF-days
(`PF_DAY`). The constants of the laws of one variable and of the joint laws are different fits and must not be mixed.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from analysis.laws import jets
from analysis.laws.law import Law, Parameter, PowerLaw, SumOfTerms

PF_DAY = 8.64e19  # FLOPs


class KaplanParameters(PowerLaw):
    """L(N) = (N_c / N)^alpha_N, trained to convergence on enough data (eq. 1.1)."""

    name: ClassVar[str] = "kaplan-parameters"
    formula: ClassVar[str] = "L(N) = (N_c / N)^alpha_N"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.1"
    variables: ClassVar[tuple[str, ...]] = ("parameters",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("N_c", "parameters", "crossing", exponent="alpha_N"),
        Parameter("alpha_N", "exponent of N", "exponent"),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("N_c", "alpha_N", "parameters"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"kaplan": {"N_c": 8.8e13, "alpha_N": 0.076}}


class KaplanTokens(PowerLaw):
    """L(D) = (D_c / D)^alpha_D, a large model stopped early (eq. 1.2)."""

    name: ClassVar[str] = "kaplan-tokens"
    formula: ClassVar[str] = "L(D) = (D_c / D)^alpha_D"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.2"
    variables: ClassVar[tuple[str, ...]] = ("tokens",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("D_c", "tokens", "crossing", exponent="alpha_D"),
        Parameter("alpha_D", "exponent of D", "exponent"),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("D_c", "alpha_D", "tokens"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"kaplan": {"D_c": 5.4e13, "alpha_D": 0.095}}


class KaplanCompute(PowerLaw):
    """L(C) = (C_c / C)^alpha_C, at a fixed batch and the best model for each compute."""

    name: ClassVar[str] = "kaplan-compute"
    formula: ClassVar[str] = "L(C) = (C_c / C)^alpha_C"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361"
    variables: ClassVar[tuple[str, ...]] = ("flops",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("C_c", "FLOPs", "crossing", exponent="alpha_C"),
        Parameter("alpha_C", "exponent of C", "exponent"),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("C_c", "alpha_C", "flops"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"kaplan": {"C_c": 1.6e7 * PF_DAY, "alpha_C": 0.057}}


class KaplanMinimumCompute(PowerLaw):
    """L(C_min) = (C_c / C_min)^alpha_C, with the least compute for each loss: a batch far below the critical (eq. 1.3)."""

    name: ClassVar[str] = "kaplan-minimum-compute"
    formula: ClassVar[str] = "L(C_min) = (C_c / C_min)^alpha_C"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.3"
    variables: ClassVar[tuple[str, ...]] = ("minimum_flops",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("C_c", "FLOPs", "crossing", exponent="alpha_C"),
        Parameter("alpha_C", "exponent of C_min", "exponent"),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("C_c", "alpha_C", "minimum_flops"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"kaplan": {"C_c": 3.1e8 * PF_DAY, "alpha_C": 0.050}}


class Kaplan(Law):
    """L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D, stopped early (eq. 1.5)."""

    name: ClassVar[str] = "kaplan"
    formula: ClassVar[str] = "L(N, D) = [(N_c / N)^(alpha_N / alpha_D) + D_c / D]^alpha_D"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.5"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("N_c", "parameters", "crossing", exponent="alpha_N"),
        Parameter("D_c", "tokens", "crossing", exponent="alpha_D"),
        Parameter("alpha_N", "exponent of N", "exponent"),
        Parameter("alpha_D", "exponent of D", "exponent", bounds=(0.005, 3.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (2, 2)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("N_c", "alpha_N", "parameters"), ("D_c", "alpha_D", "tokens"))
    centred: ClassVar[tuple[str, ...]] = variables
    published: ClassVar[dict[str, dict[str, float]]] = {
        "kaplan": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}
    }

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`: each coordinate of a crossing is the logarithm of its whole term to the power alpha_D."""
        n_c, d_c, alpha_n, alpha_d = theta
        return alpha_d * jets.logaddexp((n_c - alpha_n * logs[0]) / alpha_d, d_c / alpha_d - logs[1])


class KaplanSteps(SumOfTerms):
    """L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S (eq. 1.6).

    S_min = S / (1 + B_crit(L) / B) counts the steps that a batch far above the critical one would have needed.
    """

    name: ClassVar[str] = "kaplan-steps"
    formula: ClassVar[str] = "L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.6"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "minimum_steps")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("N_c", "parameters", "crossing", exponent="alpha_N"),
        Parameter("S_c", "steps", "crossing", exponent="alpha_S"),
        Parameter("alpha_N", "exponent of N", "exponent"),
        Parameter("alpha_S", "exponent of S_min", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (2, 2)
    coefficients: ClassVar[tuple[str, ...]] = ("N_c", "S_c")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("N_c", "alpha_N", "parameters"),
        ("S_c", "alpha_S", "minimum_steps"),
    )
    centred: ClassVar[tuple[str, ...]] = variables
    published: ClassVar[dict[str, dict[str, float]]] = {
        "kaplan": {"N_c": 6.5e13, "S_c": 2.1e3, "alpha_N": 0.077, "alpha_S": 0.76}
    }

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        n_c, s_c, alpha_n, alpha_s = theta
        return [n_c - alpha_n * logs[0], s_c - alpha_s * logs[1]]


class CriticalBatch(PowerLaw):
    """B_crit(L) = B* / L^(1 / alpha_B): the batch beyond which more data parallelism saves few steps (eq. 1.4)."""

    name: ClassVar[str] = "critical-batch"
    formula: ClassVar[str] = "B_crit(L) = B* / L^(1 / alpha_B)"
    source: ClassVar[str] = "Kaplan et al. 2020, arXiv 2001.08361, eq. 1.4"
    target: ClassVar[str] = "critical_batch"
    unit: ClassVar[str] = "tokens"
    variables: ClassVar[tuple[str, ...]] = ("loss",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("B*", "tokens at a loss of 1", "coefficient"),
        Parameter("alpha_B", "inverse exponent of L", "inverse", bounds=(0.0, 50.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("B*", "alpha_B", "loss"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"kaplan": {"B*": 2e8, "alpha_B": 0.21}}

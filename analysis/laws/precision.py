"""Fewer bits, in training and after it (Kumar et al. 2024)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import Parameter, PowerLaw, SumOfTerms


class WeightPrecision(SumOfTerms):
    """L(N, D, P_w) = E + A / N_eff^alpha + B / D^beta with N_eff = N (1 - exp(-P_w / gamma_w)) (eq. 3).

    N counts parameters without embeddings; the model is trained with weights of P_w bits. Constants of its table 2, where
    alpha = beta.
    """

    name: ClassVar[str] = "weight-precision"
    formula: ClassVar[str] = "L(N, D, P_w) = E + A / [N (1 - exp(-P_w / gamma_w))]^alpha + B / D^beta"
    source: ClassVar[str] = "Kumar et al. 2024, arXiv 2411.04330, eq. 3"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "weight_bits")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("E", "nats/token", "coefficient"),
        Parameter("A", "nats/token x N^alpha", "coefficient"),
        Parameter("B", "nats/token x D^beta", "coefficient"),
        Parameter("alpha", "exponent of N_eff", "exponent"),
        Parameter("beta", "exponent of D", "exponent"),
        Parameter("gamma_w", "bits", "scale", variable="weight_bits"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3, 2)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "A", "B")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("A", "alpha", "parameters"), ("B", "beta", "tokens"))
    centred: ClassVar[tuple[str, ...]] = ("parameters", "tokens")
    published: ClassVar[dict[str, dict[str, float]]] = {
        "kumar": {"E": 2.7648, "A": 4299.0, "B": 18060.0, "alpha": 0.4965, "beta": 0.4965, "gamma_w": 2.6745}
    }

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, a, b, alpha, beta, *scales = theta
        n, d, *bits = logs
        for scale, each in zip(scales, bits, strict=True):
            n = n + jets.log_one_minus_exp(jets.exp(each - scale))
        return [e, a - alpha * n, b - beta * d]


class Precision(WeightPrecision):
    """As `WeightPrecision`, with N_eff reduced by the bits of weights, activations and the key-value cache alike (eq. 4)."""

    name: ClassVar[str] = "precision"
    formula: ClassVar[str] = (
        "L = E + A / N_eff^alpha + B / D^beta, "
        "N_eff = N (1 - exp(-P_w / gamma_w)) (1 - exp(-P_a / gamma_a)) (1 - exp(-P_kv / gamma_kv))"
    )
    source: ClassVar[str] = "Kumar et al. 2024, arXiv 2411.04330, eq. 4"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "weight_bits", "activation_bits", "cache_bits")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        *WeightPrecision.parameters,
        Parameter("gamma_a", "bits", "scale", variable="activation_bits"),
        Parameter("gamma_kv", "bits", "scale", variable="cache_bits"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3, 2, 2, 2)
    published: ClassVar[dict[str, dict[str, float]]] = {
        "kumar": {**WeightPrecision.published["kumar"], "gamma_a": 2.2102, "gamma_kv": 0.9578}
    }


class Quantization(PowerLaw):
    """delta L(N, D, P) = C_T D^gamma_D / N^gamma_N exp(-P / gamma_P): what rounding to P bits after training adds (eq. 2)."""

    name: ClassVar[str] = "quantization"
    formula: ClassVar[str] = "delta L(N, D, P) = C_T D^gamma_D / N^gamma_N exp(-P / gamma_P)"
    source: ClassVar[str] = "Kumar et al. 2024, arXiv 2411.04330, eq. 2"
    target: ClassVar[str] = "loss_increase"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "bits")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("C_T", "nats/token x N^gamma_N / D^gamma_D", "coefficient"),
        Parameter("gamma_D", "exponent of D", "exponent"),
        Parameter("gamma_N", "exponent of N", "exponent"),
        Parameter("gamma_P", "bits", "inverse", bounds=(0.0, 20.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("C_T", "-gamma_D", "tokens"), ("C_T", "gamma_N", "parameters"))
    published: ClassVar[dict[str, dict[str, float]]] = {
        "kumar": {"C_T": 0.0598, "gamma_D": 0.5068, "gamma_N": 0.3439, "gamma_P": 0.5907}
    }

    def features(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `LogLinear.features`."""
        return [1.0, logs[1], -logs[0], -jets.exp(logs[2])]

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`. C_T is the coefficient at no bits, far above any increase."""
        low, high = super().bounds(logs, log_values)
        high[0] += high[3] * float(jets.exp(logs[2]).max())
        return low, high

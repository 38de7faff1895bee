"""From the loss of a model to what it gets right: the second step of a two-step forecast.

The first step is any law of the loss; `prediction.chain` joins the two with the intervals of both. A smaller loss is the
larger model here, so the size of a point is 1 / loss.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import Law, Parameter, SumOfTerms


class DownstreamError(SumOfTerms):
    """Err(L) = epsilon - k exp(-gamma L): the average top-1 error over tasks (eq. 5)."""

    name: ClassVar[str] = "downstream-error"
    formula: ClassVar[str] = "Err(L) = epsilon - k exp(-gamma L)"
    source: ClassVar[str] = "Gadre et al. 2024, arXiv 2403.08540, eq. 5"
    target: ClassVar[str] = "error"
    unit: ClassVar[str] = "share"
    variables: ClassVar[tuple[str, ...]] = ("loss",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("epsilon", "share", "coefficient"),
        Parameter("k", "share", "coefficient"),
        Parameter("gamma", "token/nat", "exponent", bounds=(0.0, 20.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (3,)
    coefficients: ClassVar[tuple[str, ...]] = ("epsilon", "k")
    signs: ClassVar[tuple[int, ...]] = (1, -1)

    @property
    def size(self) -> tuple[str, str]:
        """See `Law.size`."""
        return "inverse_loss", "1 / loss"

    def sizes(self, values: Array) -> Array:
        """See `Law.sizes`."""
        return 1.0 / values[0]

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        epsilon, k, gamma = theta
        return [epsilon, k - gamma * jets.exp(logs[0])]

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`. k is the coefficient at a loss of 0, far above any error where gamma is large."""
        low, high = super().bounds(logs, log_values)
        high[1] += 20.0 * float(jets.exp(logs[0]).max())
        return low, high


class DownstreamAccuracy(Law):
    """Acc(L) = b + a / (1 + exp(k (L - L_0))): a sigmoid of the loss on the task, between chance b and a ceiling a + b.

    L is the loss of the correct answer, in the unit of the task (nats, or bits per byte).
    """

    name: ClassVar[str] = "downstream-accuracy"
    formula: ClassVar[str] = "Acc(L) = b + a / (1 + exp(k (L - L_0)))"
    source: ClassVar[str] = "Bhagia et al. 2024, arXiv 2412.04403, eq. 2; Llama Team 2024, arXiv 2407.21783, section 3.2.1"
    target: ClassVar[str] = "accuracy"
    unit: ClassVar[str] = "share"
    variables: ClassVar[tuple[str, ...]] = ("loss",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("a", "share", "coefficient"),
        Parameter("b", "share", "coefficient"),
        Parameter("k", "1 / unit of L", "exponent", bounds=(0.0, 100.0)),
        Parameter("L_0", "unit of L", "scale", variable="loss"),
    )
    distinct: ClassVar[tuple[int, ...]] = (4,)

    @property
    def size(self) -> tuple[str, str]:
        """See `Law.size`."""
        return "inverse_loss", "1 / loss"

    def sizes(self, values: Array) -> Array:
        """See `Law.sizes`."""
        return 1.0 / values[0]

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        a, b, k, midpoint = theta
        return jets.logaddexp(b, a - jets.softplus(k * (jets.exp(logs[0]) - jets.exp(midpoint))))

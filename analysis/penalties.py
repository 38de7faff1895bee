"""What a residual costs in a fit: the objectives that have been published for approach 3, by name.

The sum of the costs over points is minimised. A mean has the same optimum, and makes solvers that stop at an absolute
tolerance stop early (Besiroglu et al. 2024, arXiv 2404.10102); ours stops at a relative one.

Shapes: `B` lanes, `N` points.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

NEVER = 1e3  # a delta that no residual reaches: least squares


@dataclass(frozen=True)
class Penalty:
    """Huber's loss of a residual: r^2 / 2 where |r| <= delta, delta (|r| - delta / 2) beyond.

    Attributes:
        delta: where it turns from quadratic to linear, in the unit of the residual.
        raw: whether the residual is that of the loss itself (nats), and not of its logarithm.
        over: how many times a prediction above the measured loss costs what one below it does. More than one makes the
            fit a frontier that few runs beat, not the mean of the runs.
    """

    delta: float = 1e-3
    raw: bool = False
    over: float = 1.0

    def __call__(self, predicted: Array, measured: Array) -> tuple[Array, Array, Array]:
        """Cost and its first and second derivative by the predicted log loss, (B, N) each, from log losses (B, N)."""
        loss = np.exp(predicted) if self.raw else None
        residual = predicted - measured if loss is None else loss - np.exp(measured)
        clipped = np.clip(residual, -self.delta, self.delta)
        cost = clipped * (residual - 0.5 * clipped)
        curvature = (clipped == residual).astype(float)
        slope = clipped
        if loss is not None:
            slope = clipped * loss
            curvature = curvature * loss**2 + slope
        if self.over != 1:
            factor = np.where(residual > 0, self.over, 1.0)
            return factor * cost, factor * slope, factor * curvature
        return cost, slope, curvature

    def __str__(self) -> str:
        what = "squares" if self.delta >= NEVER else f"Huber losses (delta {self.delta:g})"
        residuals = "loss residuals" if self.raw else "log-loss residuals"
        return f"sum of {what} of {residuals}" + (
            f", predictions too high costing {self.over:g} times" if self.over != 1 else ""
        )

    def widened(self, factor: float) -> "Penalty":
        """The same with delta times a factor."""
        return replace(self, delta=factor * self.delta)


OBJECTIVES: dict[str, tuple[Penalty, str]] = {
    "huber-log": (Penalty(), "Hoffmann et al. 2022, arXiv 2203.15556, eq. 3"),
    "huber-likelihood": (
        Penalty(1e-6),
        "Besiroglu et al. 2024, arXiv 2404.10102: Huber likelihood with a fitted scale. Its delta of 1e-3 is in units of that "
        "scale, which comes out a thousand times smaller than the residuals, so it is least absolute error of log loss",
    ),
    "mse-log": (Penalty(NEVER), "log-normal noise: least squares of log loss"),
    "mse": (Penalty(NEVER, raw=True), "additive noise: least squares of loss, as in Open-Athena/vpnls"),
    "huber": (Penalty(raw=True), "Huber's loss of the loss itself, as in Open-Athena/vpnls"),
    "frontier": (
        Penalty(1e-5, raw=True, over=10.0),
        "absolute error, ten times for predictions too high, as in kyo-takano/chinchilla: the frontier of runs, not their mean",
    ),
}
"""Each objective by name, and who published it."""

"""A fitted law with its points: what every method starts from, and the draws that most of them end with."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from analysis import fitting
from analysis.laws import Array, Law
from analysis.penalties import NEVER, Penalty


@dataclass(frozen=True)
class Draws:
    """Draws of the law's coordinates and of the noise of a single run.

    Attributes:
        theta: coordinates (R, P).
        noise_level: standard deviation of the log target around the law.
        noise: draws of it (R,).
        method: which made them, in words.
    """

    theta: Array
    noise_level: float
    noise: Array
    method: str


@dataclass(frozen=True)
class Problem:
    """A fitted law and the points it was fitted to.

    Attributes:
        law: the functional form.
        logs: logarithms of its variables (V, N).
        log_values: logarithms of its target (N,).
        theta: coordinates at the optimum (P,).
        delta: of Huber's loss; or another penalty of the residuals.
        runs: which run each point is from (N,), as whole numbers from 0 on; each from its own where absent. Points of one
            run share their noise, so it is runs that are drawn and counted.
    """

    law: Law
    logs: Array
    log_values: Array
    theta: Array
    delta: float | Penalty = fitting.DELTA
    runs: np.ndarray = field(default_factory=lambda: np.empty(0, int))

    def __post_init__(self) -> None:
        if not len(self.runs):
            object.__setattr__(self, "runs", np.arange(len(self.log_values)))

    @cached_property
    def penalty(self) -> Penalty:
        """What was minimised."""
        return self.delta if isinstance(self.delta, Penalty) else Penalty(self.delta)

    @cached_property
    def clusters(self) -> int:
        """How many runs there are."""
        return int(self.runs.max()) + 1

    @cached_property
    def clustered(self) -> bool:
        """Whether a run gave several points."""
        return self.clusters < len(self.log_values)

    @cached_property
    def freedom(self) -> int:
        """Degrees of freedom of the noise: runs beyond the parameters, at least one."""
        return max(1, self.clusters - len(self.theta))

    @cached_property
    def least_squares(self) -> Array:
        """Coordinates of the least-squares fit (P,). Its residuals show the noise; those of a least-absolute fit, which
        passes through P of the points, do not."""
        start = self.theta[None]
        return fitting.refine(self.law, self.logs, self.log_values, None, start, delta=NEVER, continuation=(1.0,)).theta[0]

    @cached_property
    def residuals(self) -> Array:
        """Measured less predicted log target of the least-squares fit (N,)."""
        return self.log_values - self.law.log_value(self.least_squares, self.logs)

    @cached_property
    def noise_level(self) -> float:
        """Standard deviation of the log target around the least-squares fit, with N - P degrees of freedom."""
        return float(np.sqrt((self.residuals**2).sum() / (len(self.log_values) - len(self.theta))))

    def noise_draws(self, count: int, random: np.random.Generator) -> Array:
        """Draws (count,) of the noise level: sigma^2 ~ level^2 nu / chi^2(nu), nu the degrees of freedom."""
        return self.noise_level * np.sqrt(self.freedom / random.chisquare(self.freedom, count))

    @cached_property
    def centre(self) -> Array:
        """What the fit subtracts from the logarithms of the variables (V,)."""
        return self.law.centre(self.logs)

    @cached_property
    def uncentred(self) -> Array:
        """Derivatives (P, P) of the coordinates by those for centred logarithms, in which the problem is well conditioned."""
        size = len(self.theta)
        return (self.law.shift(np.eye(size), self.centre) - self.law.shift(np.zeros(size), self.centre)).T

    def jacobian(self, theta: Array) -> Array:
        """Derivatives (P, N) of the log target at the points by the centred coordinates, at `theta` (P,)."""
        centred = self.logs - self.centre[:, None]
        return self.law.derivatives(self.law.shift(theta, -self.centre)[None], centred)[1][0]

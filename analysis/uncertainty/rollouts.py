"""How the law predicted larger runs of the same data from smaller ones.

No law holds exactly beyond its data, and no bootstrap knows. So a prediction beyond the largest fitted run carries a law
error too: a drift of the log target away from the law, in proportion to the logarithm of size. Its size is `LAW_ERROR` at
least, which is what real data sets ask for (`benchmarks/law_error.py`), and more where `roll_out`, by which fits on the
smaller runs predict the larger ones, finds a drift that noise does not explain.
"""

from dataclasses import dataclass

import numpy as np

from analysis import fitting
from analysis.laws import Array, Law
from analysis.penalties import Penalty
from analysis.uncertainty.problem import Draws

LAW_ERROR = 0.02  # standard deviation of log loss per factor e of compute beyond the data
ROLLOUT_SIMULATIONS = 200
ROLLOUT_CUTOFFS = 8


@dataclass(frozen=True)
class Rollouts:
    """How the law predicted larger runs of the same data from smaller ones.

    Attributes:
        cutoffs: largest value of `size` that each of the fits saw (K,), at most `ROLLOUT_CUTOFFS` of them.
        errors: measured minus predicted log loss of each larger point, in order of `cutoffs` (M,).
        reach: largest ratio of a predicted point's size to its fit's cut-off.
        drift: of the measured from the predicted log loss, per factor e of size.
        drift_noise: standard deviation of the same where the law holds, by simulation; infinite without rollouts.
    """

    cutoffs: Array
    errors: Array
    reach: float
    drift: float
    drift_noise: float

    @property
    def law_error(self) -> float:
        """Standard deviation of the law's error per factor e of compute: `LAW_ERROR` and the drift beyond its noise."""
        return float(np.sqrt(LAW_ERROR**2 + max(0.0, self.drift**2 - self.drift_noise**2)))


def roll_out(
    law: Law, logs: Array, log_losses: Array, theta: Array, delta: float | Penalty, size: Array, draws: Draws, seed: int
) -> Rollouts:
    """Fit below each cut-off of `size` (N,), predict the points above, and do the same with simulations of the law.

    The drift is the slope, through the origin, of the errors on log(size / cut-off), each weighted by the inverse of
    its variance in the simulations. Sizes within 1 % are one: the runs of a budget differ by rounding, and a drift over
    that distance would be any number.
    """
    budgets, budget = np.unique(np.log(size).round(2), return_inverse=True)
    size = np.array([size[budget == each].max() for each in range(len(budgets))])[budget]
    cutoffs = [cutoff for cutoff in np.unique(size)[:-1] if fitting.carries(law, logs[:, size <= cutoff])]
    if not cutoffs:
        return Rollouts(np.empty(0), np.empty(0), 1.0, 0.0, np.inf)
    chosen = np.linspace(0, len(cutoffs) - 1, min(len(cutoffs), ROLLOUT_CUTOFFS)).round().astype(int)
    cutoffs = [cutoffs[index] for index in chosen]
    random = np.random.default_rng(seed)
    noise = draws.noise[random.integers(len(draws.noise), size=ROLLOUT_SIMULATIONS), None]
    simulated = law.log_value(theta, logs) + noise * random.standard_normal((ROLLOUT_SIMULATIONS, len(log_losses)))
    data = np.concatenate([log_losses[None], simulated])
    errors, distances = [], []
    for cutoff in cutoffs:
        seen = size <= cutoff
        fitted = fitting.refine(law, logs[:, seen], data[:, seen], None, theta[None], delta).theta
        errors.append(data[:, ~seen] - law.log_value(fitted, logs[:, ~seen]))
        distances.append(np.log(size[~seen] / cutoff))
    error, distance = np.concatenate(errors, 1), np.concatenate(distances)
    weight = distance / (error[1:] ** 2).mean(0)
    drift = error @ weight / (distance @ weight)
    return Rollouts(
        cutoffs=np.array(cutoffs),
        errors=error[0],
        reach=float(size.max() / cutoffs[0]),
        drift=float(drift[0]),
        drift_noise=float(drift[1:].std()),
    )

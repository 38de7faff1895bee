"""How far a fit can be trusted: draws of its parameters, and rollouts that test its extrapolation.

Two ways to draw:

`simulate` (parametric bootstrap) for small grids. Losses are simulated around the fit and fitted again. Each draw first
takes its noise level from sigma^2 ~ RSS / chi^2(n - P), with RSS of the least-squares fit of the same law: a
least-absolute fit passes through P of the points, so its own residuals say nothing of the noise at 12 points. The
draw of sigma gives the intervals the tails of Student's t with n - P degrees of freedom.

`resample` (case bootstrap) for many points, where the points themselves represent the noise whatever its
distribution: runs are drawn with replacement, as counts that weigh the points.

`draw` takes the second from `CASES_PER_PARAMETER` points per parameter on. `benchmarks/coverage.py` measures that the
nominal 90 % hold where the law does.

No law holds exactly beyond its data, and no bootstrap knows. So a prediction beyond the largest fitted run carries a law
error too: a drift of log loss away from the law, in proportion to the logarithm of compute. Its size is `LAW_ERROR` at
least, which is what real data sets ask for (`benchmarks/law_error.py`), and more where `roll_out`, by which fits on the
smaller runs predict the larger ones, finds a drift that noise does not explain.

Shapes: `R` draws, `P` parameters, `N` points, `V` variables.
"""

from dataclasses import dataclass

import numpy as np

from analysis import fitting
from analysis.laws import Array, Law

CASES_PER_PARAMETER = 20
LAW_ERROR = 0.02  # standard deviation of log loss per factor e of compute beyond the data
ROLLOUT_SIMULATIONS = 200
ROLLOUT_CUTOFFS = 8


@dataclass(frozen=True)
class Draws:
    """Draws of the law's coordinates and of the noise of a single run.

    Attributes:
        theta: coordinates (R, P).
        noise_level: standard deviation of log loss around the law.
        noise: draws of it (R,).
        method: which bootstrap made them, in words.
    """

    theta: Array
    noise_level: float
    noise: Array
    method: str


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


def draw(law: Law, logs: Array, log_losses: Array, theta: Array, delta: float, count: int, seed: int) -> Draws:
    """Draw from the default method for this number of points; see the module's docstring."""
    enough = len(log_losses) >= CASES_PER_PARAMETER * len(theta)
    return (resample if enough else simulate)(law, logs, log_losses, theta, delta, count, seed)


def simulate(law: Law, logs: Array, log_losses: Array, theta: Array, delta: float, count: int, seed: int) -> Draws:
    """Parametric bootstrap with Student's tails."""
    random = np.random.default_rng(seed)
    level = noise_level(law, logs, log_losses, theta)
    noise = _noise_draws(level, len(log_losses) - len(theta), count, random)
    simulated = law.log_value(theta, logs) + noise[:, None] * random.standard_normal((count, len(log_losses)))
    draws = fitting.refine(law, logs, simulated, None, theta[None], delta)
    return Draws(draws.theta, level, noise, "parametric bootstrap, noise drawn from its chi-squared posterior")


def resample(law: Law, logs: Array, log_losses: Array, theta: Array, delta: float, count: int, seed: int) -> Draws:
    """Case bootstrap, each refit started from the optimum of all points."""
    random = np.random.default_rng(seed)
    points = len(log_losses)
    counts = random.multinomial(points, np.full(points, 1 / points), size=count).astype(float)
    draws = fitting.refine(law, logs, log_losses, counts, theta[None], delta, continuation=(3.0, 1.0))
    level = noise_level(law, logs, log_losses, theta)
    noise = _noise_draws(level, points - len(theta), count, random)
    return Draws(draws.theta, level, noise, "case bootstrap")


def noise_level(law: Law, logs: Array, log_losses: Array, theta: Array) -> float:
    """Standard deviation of log loss around the least-squares fit of the law, with n - P degrees of freedom."""
    squares = fitting.refine(law, logs, log_losses, None, theta[None], delta=1e3, continuation=(1.0,))
    return float(np.sqrt(2 * squares.objective[0] / (len(log_losses) - len(theta))))


def _noise_draws(level: float, freedom: int, count: int, random: np.random.Generator) -> Array:
    return level * np.sqrt(freedom / random.chisquare(freedom, count))


def interval(samples: Array, level: float) -> tuple[Array, Array]:
    """The central interval of draws on the first axis."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def roll_out(
    law: Law, logs: Array, log_losses: Array, theta: Array, delta: float, size: Array, draws: Draws, seed: int
) -> Rollouts:
    """Fit below each cut-off of `size` (N,), predict the points above, and do the same with simulations of the law.

    The drift is the slope, through the origin, of the errors on log(size / cut-off), each weighted by the inverse of
    its variance in the simulations.
    """
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

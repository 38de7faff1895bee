"""A Bayesian posterior, by an ensemble of walkers.

The likelihood is Gaussian in the log target, its noise level unknown; the prior is Jeffreys' for the coordinates and for the
noise apart, so that nothing depends on how the law is written: with sigma integrated out,
p(theta | y) ~ |J J^T|^(1/2) RSS(theta)^(-N / 2), and sigma^2 | theta ~ RSS(theta) / chi^2(N). Where the law is linear this is
Student's t with N - P degrees of freedom, exactly.

The sampler is the affine-invariant stretch move (Goodman & Weare 2010), to which narrow valleys are as easy as round ones. The
walkers start at refits of data simulated from the least-squares fit: those lie along the valley already, however it is curved.
"""

import numpy as np

from analysis import fitting
from analysis.errors import AnalysisError
from analysis.laws import Array
from analysis.penalties import NEVER
from analysis.uncertainty.bootstraps import parametric
from analysis.uncertainty.problem import Draws, Problem

WALKERS = 200
STEPS = 120
KEPT = tuple(range(39, STEPS, 20))  # steps after which the walkers are kept: a thousand draws
STRETCH = 2.0
LOWEST_ACCEPTANCE = 0.05


def posterior(problem: Problem, count: int, seed: int) -> Draws:
    """Draws of the posterior.

    Raises:
        AnalysisError: several points to a run, whose noise is not independent; or walkers that cannot move, as where the data
            leave a parameter open.
    """
    if problem.clustered:
        raise AnalysisError("the posterior takes the noise of every point as independent; with several to a run, use `wild`")
    random = np.random.default_rng(seed)
    centred = problem.law.shift(problem.least_squares, -problem.centre)
    around = Problem(problem.law, problem.logs - problem.centre[:, None], problem.log_values, centred, NEVER)
    simulated, _, _ = parametric(around, WALKERS, random)
    walkers = fitting.refine(problem.law, around.logs, simulated, None, centred[None], NEVER, (1.0,)).theta
    density, squares = marginal(around, walkers)
    half, size = WALKERS // 2, walkers.shape[1]
    kept, kept_squares, accepted = [], [], 0
    for step in range(STEPS):
        for mine, others in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
            partner = walkers[others][random.integers(half, size=half)]
            stretch = ((STRETCH - 1) * random.random(half) + 1) ** 2 / STRETCH
            proposed = partner + stretch[:, None] * (walkers[mine] - partner)
            new_density, new_squares = marginal(around, proposed)
            better = (size - 1) * np.log(stretch) + new_density - density[mine]
            taken = np.log(random.random(half)) < better
            walkers[mine] = np.where(taken[:, None], proposed, walkers[mine])
            density[mine] = np.where(taken, new_density, density[mine])
            squares[mine] = np.where(taken, new_squares, squares[mine])
            accepted += int(taken.sum())
        if step in KEPT:
            kept.append(walkers.copy())
            kept_squares.append(squares.copy())
    acceptance = accepted / (STEPS * WALKERS)
    if acceptance < LOWEST_ACCEPTANCE:
        raise AnalysisError(
            f"the posterior of the {problem.law.name} law cannot be sampled here: {acceptance:.0%} of the moves were accepted; "
            "the data leave a parameter open, use `profile`"
        )
    chosen = random.permutation(len(kept) * WALKERS)
    chosen = np.resize(chosen, count)
    noise = np.sqrt(np.concatenate(kept_squares)[chosen] / random.chisquare(len(problem.log_values), count))
    theta = problem.law.shift(np.concatenate(kept)[chosen], problem.centre)
    return Draws(theta, problem.noise_level, noise, f"posterior under Jeffreys' prior, {acceptance:.0%} of the moves accepted")


def marginal(problem: Problem, theta: Array) -> tuple[Array, Array]:
    """Log density (K,) of the posterior at coordinates (K, P), up to a constant, and the residuals' sums of squares (K,)."""
    low, high = problem.law.bounds(problem.logs, problem.log_values[None])
    within = np.clip(theta, low, high)
    value, gradient, _ = problem.law.derivatives(within, problem.logs)
    squares = ((problem.log_values - value) ** 2).sum(1)
    sign, information = np.linalg.slogdet(gradient @ gradient.swapaxes(1, 2))
    density = 0.5 * information - 0.5 * len(problem.log_values) * np.log(squares)
    inside = (sign > 0) & np.isfinite(density) & (within == theta).all(1)
    return np.where(inside, density, -1e300), squares

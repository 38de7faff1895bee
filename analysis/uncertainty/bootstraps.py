"""Bootstraps: ways to make data sets like the one at hand. Refitted, they draw the parameters.

Each takes a problem, how many data sets to make and a random generator, and returns log targets (R, N), weights (R, N) or
None, and the noise level of each data set (R,). What is drawn around the law takes a scale from the chi-squared posterior
of the noise, which gives the intervals the tails of Student's t with runs - P degrees of freedom; percentiles of draws with one
scale are those of a normal distribution, too narrow for few points.

Shapes: `R` draws, `N` points, `P` parameters, `G` runs.
"""

from collections.abc import Callable

import numpy as np

from analysis import fitting
from analysis.laws import Array
from analysis.uncertainty.problem import Draws, Problem

Sample = tuple[Array, Array | None, Array]
WEBB = np.sqrt([0.5, 1.0, 1.5])
REFIT = (10.0, 3.0, 1.0)  # continuation in delta, for starts at the optimum of the data at hand
MOST_LEVERAGE = 0.99


def parametric(problem: Problem, count: int, random: np.random.Generator) -> Sample:
    """Gaussian noise around the law."""
    noise = problem.noise_draws(count, random)
    disturbance = random.standard_normal((count, len(problem.log_values)))
    return problem.law.log_value(problem.theta, problem.logs) + noise[:, None] * disturbance, None, noise


def case(problem: Problem, count: int, random: np.random.Generator) -> Sample:
    """Runs with replacement, as weights: the points themselves stand for the noise, whatever its distribution."""
    counts = random.multinomial(problem.clusters, np.full(problem.clusters, 1 / problem.clusters), size=count)
    return problem.log_values[None], counts[:, problem.runs].astype(float), problem.noise_draws(count, random)


def residual(problem: Problem, count: int, random: np.random.Generator) -> Sample:
    """Residuals of the least-squares fit, as large as they would be without it, drawn with replacement around the law."""
    noise = problem.noise_draws(count, random)
    pool = unabsorbed(problem, 0.5)
    pool = pool - pool.mean()
    drawn = pool[random.integers(len(pool), size=(count, len(pool)))] * (noise / problem.noise_level)[:, None]
    return problem.law.log_value(problem.theta, problem.logs) + drawn, None, noise


def wild(problem: Problem, count: int, random: np.random.Generator) -> Sample:
    """Each run keeps the size of its residuals and draws one factor for all of them: unequal noise and runs of several
    points are allowed for (Cameron, Gelbach & Miller 2008), with the six-point factors of Webb (2014) for few runs."""
    noise = problem.noise_draws(count, random)
    factors = random.choice(np.concatenate([-WEBB, WEBB]), size=(count, problem.clusters))
    scale = factors * (noise / problem.noise_level)[:, None]
    return problem.law.log_value(problem.theta, problem.logs) + scale[:, problem.runs] * unabsorbed(problem, 1.0), None, noise


def unabsorbed(problem: Problem, power: float) -> Array:
    """Residuals (N,) with what the fit absorbed given back: (I - H_gg)^-power r_g for each run g.

    With a power of 1/2 they have the variance of noise of one size; with 1 they are what the run misses the fit to all others
    by, as in the jackknife, to the safe side where one run has much leverage (for wild bootstraps MacKinnon, Nielsen & Webb
    2023, arXiv 2301.04527).
    """
    basis = np.linalg.svd(problem.jacobian(problem.least_squares), full_matrices=False)[2]
    corrected = problem.residuals.copy()
    for run in range(problem.clusters):
        mine = problem.runs == run
        leverage, directions = np.linalg.eigh(basis[:, mine].T @ basis[:, mine])
        scale = (1 - np.minimum(leverage, MOST_LEVERAGE)) ** -power
        corrected[mine] = directions @ (scale * (directions.T @ problem.residuals[mine]))
    return corrected


BOOTSTRAPS: dict[str, Callable[[Problem, int, np.random.Generator], Sample]] = {
    "parametric": parametric,
    "case": case,
    "residual": residual,
    "wild": wild,
}
WORDS = {
    "parametric": "parametric bootstrap, noise drawn from its chi-squared posterior",
    "case": "case bootstrap",
    "residual": "residual bootstrap with Student's tails",
    "wild": "wild bootstrap by run, Webb's weights, with Student's tails",
}


def bootstrap(problem: Problem, method: str, count: int, seed: int) -> Draws:
    """Refit `count` data sets made by a bootstrap of `BOOTSTRAPS`."""
    targets, weights, noise = BOOTSTRAPS[method](problem, count, np.random.default_rng(seed))
    refits = fitting.refine(problem.law, problem.logs, targets, weights, problem.theta[None], problem.delta, REFIT)
    return Draws(refits.theta, problem.noise_level, noise, WORDS[method])

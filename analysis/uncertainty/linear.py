"""The delta method: a fit as linear in its parameters as it is at the optimum, and Student's t.

Without several points to a run, the covariance of the coordinates is that of an M-estimator under Gaussian noise of one size
(Huber 1964): sigma^2 (J J^T)^-1 E[psi^2] / (sigma E[psi'])^2, psi being Huber's; the last factor runs from 1 for least squares
to pi / 2 for least absolute residuals. With them it is the sandwich that sums scores by run (Liang & Zeger 1986), times
G / (G - P), which assumes no noise of one size and no independence within a run.
"""

import numpy as np
from scipy import special

from analysis.laws import Array
from analysis.uncertainty.problem import Draws, Problem
from analysis.uncertainty.quantities import Quantity


def covariance(problem: Problem) -> Array:
    """Of the coordinates at the optimum (P, P); along directions that the points do not show it is zero."""
    jacobian = problem.jacobian(problem.theta)
    width = np.sqrt((jacobian**2).sum(1))
    width[width == 0] = 1.0
    scaled = jacobian / width[:, None]
    bread = np.asarray(np.linalg.pinv(scaled @ scaled.T, rcond=1e-14, hermitian=True), np.float64)
    inside, square = huber_moments(problem.penalty.delta / problem.noise_level)
    if problem.clustered:
        delta = problem.penalty.delta
        pull = np.clip(problem.law.log_value(problem.theta, problem.logs) - problem.log_values, -delta, delta)
        scores = np.zeros((len(scaled), problem.clusters))
        np.add.at(scores.T, problem.runs, (scaled * pull).T)
        meat = scores @ scores.T * problem.clusters / problem.freedom
        spread = bread @ meat @ bread / inside**2
    else:
        spread = bread * problem.noise_level**2 * square / inside**2
    return problem.uncentred @ (spread / (width[:, None] * width)) @ problem.uncentred.T


def huber_moments(ratio: float) -> tuple[float, float]:
    """E[psi'] and E[psi^2] / sigma^2 of Huber's psi under Gaussian noise, delta = ratio x sigma."""
    inside = 2 * special.ndtr(ratio) - 1
    density = np.exp(-0.5 * ratio**2) / np.sqrt(2 * np.pi)
    return float(inside), float(inside - 2 * ratio * density + 2 * ratio**2 * special.ndtr(-ratio))


def linear_draws(problem: Problem, count: int, seed: int) -> Draws:
    """Student's t with the covariance, one scale for the coordinates and the noise of a draw."""
    random = np.random.default_rng(seed)
    noise = problem.noise_draws(count, random)
    values, vectors = np.linalg.eigh(covariance(problem))
    steps = random.standard_normal((count, len(values))) @ (vectors * np.sqrt(np.maximum(values, 0))).T
    low, high = problem.law.bounds(problem.logs, problem.log_values[None])
    exponents = np.array([each.kind == "exponent" for each in problem.law.parameters])
    theta = problem.theta + steps * (noise / problem.noise_level)[:, None]
    return Draws(np.where(exponents, np.clip(theta, low, high), theta), problem.noise_level, noise, "delta method, Student's t")


def linear_interval(problem: Problem, quantity: Quantity, level: float) -> tuple[float, float]:
    """Of a quantity's coordinate."""
    gradient = quantity.gradient(problem.theta[None])[0]
    middle = float(quantity.coordinate(problem.theta))
    reach = special.stdtrit(problem.freedom, (1 + level) / 2) * np.sqrt(gradient @ covariance(problem) @ gradient)
    return middle - float(reach), middle + float(reach)

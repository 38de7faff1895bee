"""Bootstraps against published standard errors and simulated truth; rollouts that notice a law that fails."""

import numpy as np
import pandas as pd
import pytest

from analysis import fitting, uncertainty
from analysis.laws import Chinchilla

LAW = Chinchilla()
TRUTH = np.array([np.log(1.5), np.log(80.0), np.log(250.0), 0.35, 0.38])


def grid(sizes: int, token_counts: int) -> np.ndarray:
    n, d = np.meshgrid(np.geomspace(1e5, 1.6e6, sizes), np.geomspace(1e6, 1.6e7, token_counts))
    return np.log(np.stack([n.ravel(), d.ravel()]))


def drawn(logs: np.ndarray, losses: np.ndarray, count: int) -> tuple[np.ndarray, uncertainty.Draws]:
    theta = fitting.fit(LAW, logs, losses).solution.theta[0]
    return theta, uncertainty.draw(uncertainty.Problem(LAW, logs, losses, theta), count, seed=0)


def test_published_standard_errors(epoch_points: pd.DataFrame) -> None:
    """Besiroglu et al. 2024, table 1: alpha 0.0154, beta 0.0206 from 4,000 case bootstraps."""
    logs = np.log(epoch_points[["parameters", "tokens"]].to_numpy().T)
    _, draws = drawn(logs, np.log(epoch_points["loss"].to_numpy()), 4000)
    assert draws.method == "case bootstrap"
    errors = draws.theta.std(0, ddof=1)
    assert errors[3] == pytest.approx(0.0154, rel=0.05)
    assert errors[4] == pytest.approx(0.0206, rel=0.05)


def test_a_small_grid_is_simulated_with_student_tails() -> None:
    logs = grid(4, 3)
    losses = LAW.log_value(TRUTH, logs) + 0.005 * np.random.default_rng(0).standard_normal(12)
    _, draws = drawn(logs, losses, 4000)
    assert draws.method.startswith("parametric")
    # noise^2 / level^2 is 7 / chi^2(7), whose mean is 7 / (7 - 2).
    assert (draws.noise**2).mean() / draws.noise_level**2 == pytest.approx(7 / 5, rel=0.1)


def test_noise_level_is_unbiased_at_twelve_points() -> None:
    """500 simulations of 12 points: the mean of the variance has a standard error of sqrt(2 / 7 / 500) = 2.4 %."""
    logs, random = grid(4, 3), np.random.default_rng(0)
    mean = LAW.log_value(TRUTH, logs)
    noisy = mean + 0.003 * random.standard_normal((500, 12))
    levels = [uncertainty.Problem(LAW, logs, losses, TRUTH).noise_level for losses in noisy]
    assert np.mean(np.square(levels)) == pytest.approx(0.003**2, rel=0.08)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """60 grids of 4 x 3; 90 % nominal. Under 80 % of 60 would have a probability of 0.6 % if 90 % were true."""
    logs, random = grid(4, 3), np.random.default_rng(0)
    mean = LAW.log_value(TRUTH, logs)
    hits = []
    for _ in range(60):
        _, draws = drawn(logs, mean + 0.005 * random.standard_normal(12), 200)
        low, high = uncertainty.interval(draws.theta, 0.9)
        hits.append((low <= TRUTH) & (high >= TRUTH))
    assert (np.mean(hits, axis=0) >= 0.8).all()


def rolled_out(losses: np.ndarray, logs: np.ndarray) -> uncertainty.Rollouts:
    theta, draws = drawn(logs, losses, 400)
    size = np.exp(logs.sum(0))
    return uncertainty.roll_out(LAW, logs, losses, theta, fitting.DELTA, size, draws, seed=0)


def test_rollouts_predict_each_larger_point_once_per_cutoff() -> None:
    logs = grid(4, 4)
    losses = LAW.log_value(TRUTH, logs) + 0.003 * np.random.default_rng(0).standard_normal(16)
    rollouts = rolled_out(losses, logs)
    size = np.exp(logs.sum(0))
    assert len(rollouts.errors) == sum((size > cutoff).sum() for cutoff in rollouts.cutoffs)
    assert rollouts.reach == pytest.approx(size.max() / rollouts.cutoffs[0])
    assert np.abs(rollouts.errors).max() < 0.1


def test_rollouts_find_no_drift_where_the_law_holds_and_the_drift_where_it_bends() -> None:
    """From the middle of the compute range on, losses are 5 % higher per factor e: smaller runs cannot foresee it."""
    logs = grid(8, 8)
    losses = LAW.log_value(TRUTH, logs) + 0.003 * np.random.default_rng(0).standard_normal(64)
    sound = rolled_out(losses, logs)
    assert abs(sound.drift) < 3 * sound.drift_noise
    assert sound.law_error >= uncertainty.LAW_ERROR
    size = logs.sum(0)
    bent = rolled_out(losses + 0.05 * np.maximum(0, size - np.median(size)), logs)
    assert bent.drift > 3 * bent.drift_noise
    assert bent.law_error > 1.5 * uncertainty.LAW_ERROR


def test_no_rollouts_without_points_to_spare() -> None:
    logs = grid(3, 3)[:, [0, 1, 2, 3, 6, 8]]
    losses = LAW.log_value(TRUTH, logs) + 0.003 * np.random.default_rng(0).standard_normal(6)
    rollouts = rolled_out(losses, logs)
    assert len(rollouts.cutoffs) == 0
    assert rollouts.law_error == uncertainty.LAW_ERROR

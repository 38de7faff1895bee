"""Approach 1 against simulated truth, and what it refuses."""

import numpy as np
import pytest
from simulated import World

from analysis.conventions import Convention
from analysis.envelope import fit_envelope
from analysis.errors import AnalysisError

TOTAL = Convention("parameters")
SIZES = np.geomspace(2e7, 5e9, 16)
TOKENS = (1e8, 1e11)


def test_the_frontier_is_recovered() -> None:
    """To within the steps between sizes, which are 20 % of N each way and average out over the line."""
    world = World()
    fit = fit_envelope(world.curves(np.random.default_rng(0), SIZES, TOKENS), TOTAL, draws=100)
    assert fit.laws["parameters"].exponent.value == pytest.approx(world.a, abs=0.01)
    row = fit.predict([1e22]).iloc[0]
    n, d, loss = world.best(1e22)
    assert row["parameters"] == pytest.approx(n, rel=0.15)
    assert row["tokens"] == pytest.approx(d, rel=0.15)
    assert row["loss"] == pytest.approx(loss, rel=0.005)
    assert fit.notes == []


def test_ninety_percent_intervals_hold_the_truth() -> None:
    """A bootstrap that leaves sizes out is wider than the noise asks for: all 20 hold it, where 15 would do."""
    world, random, inside = World(), np.random.default_rng(1), 0
    for seed in range(20):
        fit = fit_envelope(world.curves(random, SIZES, TOKENS, noise=0.002), TOTAL, draws=60, seed=seed, budgets=150)
        exponent = fit.laws["parameters"].exponent
        inside += exponent.low < world.a < exponent.high
    assert inside >= 15


def test_nothing_at_an_edge_counts() -> None:
    """Where only the largest sizes reach a budget, or only the smallest were begun, the best run is at an edge."""
    fit = fit_envelope(World().curves(np.random.default_rng(0), SIZES, TOKENS), TOTAL, draws=50)
    used = fit.optima["parameters"]
    assert used.min() > SIZES[0]
    assert used.max() < SIZES[-1]
    assert fit.excluded
    assert min(fit.excluded) < fit.optima["budget"].min()


def test_an_envelope_of_edges_is_refused() -> None:
    world = World()
    with pytest.raises(AnalysisError, match="made of 0 sizes that are not at an edge"):
        fit_envelope(world.curves(np.random.default_rng(0), np.array([2e7, 4e9]), TOKENS), TOTAL)
    with pytest.raises(AnalysisError, match="every run here has a single point"):
        fit_envelope(world.isoflops(np.random.default_rng(0), np.array([1e20])), TOTAL)
    with pytest.raises(AnalysisError, match="bootstrap draws by run leave fewer than 3 sizes"):
        fit_envelope(world.curves(np.random.default_rng(0), np.geomspace(2e7, 5e9, 5), TOKENS), TOTAL)


def test_points_before_the_end_of_a_decay_are_told() -> None:
    curves = World().curves(np.random.default_rng(0), SIZES, TOKENS)
    decayed = curves.assign(learning_rate=1e-3 * (1 - 0.9 * curves["tokens"] / TOKENS[1]))
    notes = fit_envelope(decayed, TOTAL, draws=20).notes
    assert len(notes) == 1
    assert "of the envelope lies before the end of a schedule that decays" in notes[0]
    (unknown,) = fit_envelope(curves.drop(columns="learning_rate"), TOTAL, draws=20).notes
    assert "without a recorded learning rate" in unknown


def test_smoothing_takes_the_noise_of_batches_off_the_envelope() -> None:
    """The least of many noisy losses is too low; smoothed, the frontier's loss is nearer the truth."""
    world, random = World(), np.random.default_rng(0)
    curves = world.curves(random, SIZES, TOKENS, points=300)
    noisy = curves.assign(loss=curves["loss"] * np.exp(0.02 * random.standard_normal(len(curves))))
    errors = []
    for smooth in (0.0, 0.1):
        optima = fit_envelope(noisy, TOTAL, smooth=smooth, draws=20, budgets=100).optima
        truth = np.array([world.best(budget)[2] for budget in optima["budget"]])
        errors.append(np.log(optima["loss"] / truth).mean())
    assert errors[0] < -0.01 < errors[1] < 0.002

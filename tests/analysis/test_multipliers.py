"""What a recipe is worth: against closed forms, simulated truth and published numbers."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from simulated import World

from analysis.chinchilla import fit_parametric
from analysis.errors import AnalysisError
from analysis.multipliers import compute_multiplier, effective_speedup
from analysis.results import Fit

BASELINE = World()
# Half the compute everywhere: N and D each worth sqrt(2) as much.
CANDIDATE = replace(BASELINE, A=BASELINE.A * 2 ** (-BASELINE.alpha / 2), B=BASELINE.B * 2 ** (-BASELINE.beta / 2))


def fitted(world: World, seed: int, noise: float) -> Fit:
    points = world.isoflops(np.random.default_rng(seed), np.geomspace(1e19, 1e21, 4), noise=noise)
    return fit_parametric(points, "parameters", draws=200)


def test_a_recipe_worth_twice_the_compute() -> None:
    exact = compute_multiplier(fitted(CANDIDATE, 0, 0.0), fitted(BASELINE, 1, 0.0), [1e20, 1e22])
    assert exact["multiplier"].tolist() == pytest.approx([2.0, 2.0], rel=5e-3)
    noisy = compute_multiplier(fitted(CANDIDATE, 0, 0.002), fitted(BASELINE, 1, 0.002), [1e20]).iloc[0]
    assert noisy["multiplier_low"] < 2 < noisy["multiplier_high"]
    assert noisy["multiplier_low"] > 1.5
    assert noisy["baseline_extrapolation"] == pytest.approx(noisy["multiplier"] * noisy["extrapolation"])


def test_a_recipe_over_itself() -> None:
    fit = fitted(BASELINE, 0, 0.002)
    row = compute_multiplier(fit, fit, [1e21]).iloc[0]
    assert row["multiplier"] == pytest.approx(1, rel=1e-6)
    assert row["multiplier_high"] == pytest.approx(1, rel=1e-6), "the draws are the same on both sides"


def test_a_baseline_that_never_gets_there() -> None:
    lower = replace(BASELINE, E=1.2)
    row = compute_multiplier(fitted(lower, 0, 0.0), fitted(BASELINE, 1, 0.0), [1e22]).iloc[0]
    assert row["multiplier"] == pytest.approx(np.exp(30))


def test_conventions_must_agree() -> None:
    fit = fitted(BASELINE, 0, 0.002)
    other = replace(fit, columns={**fit.columns, "parameters": "non_embedding_parameters"})
    with pytest.raises(AnalysisError, match=r"counted differently \(parameters, non_embedding_parameters\)"):
        compute_multiplier(fit, other, [1e21])


MARIN = pd.DataFrame({"flops": [2.19e17, 1.70e18, 9.00e18], "loss": [3.7404, 3.3834, 3.1230]})


def test_marin_three_point_envelope() -> None:
    """marin-community/marin, issue 5619: with E = 1.6 these runs give 1.6 + 81.68 C^-0.0912, and 2.975 at 2.83e19.

    They fit the loss and this its logarithm above E, which is worth a thousandth.
    """
    at = effective_speedup(MARIN, pd.DataFrame({"flops": [2.83e19, 1.0], "loss": [2.975, 3.0]}), 1.6)
    assert at["baseline_loss"][0] == pytest.approx(2.975, abs=1.5e-3)
    assert at["speedup"][0] == pytest.approx(1, abs=0.01)
    assert at["baseline_loss"][1] - 1.6 == pytest.approx(81.68, rel=0.02)


def test_speedup_does_not_depend_on_the_budget() -> None:
    """The identity of issue 8096: ((L1 - E) / (L2 - E))^(1 / alpha), whatever the compute."""
    runs = pd.DataFrame({"flops": [1e18, 1e19, 1e20], "loss": [1.6 + 88.0 * c**-0.0941 for c in (1e18, 1e19, 1e20)]})
    better = runs.assign(loss=1.6 + (runs["loss"] - 1.6) * 0.95, run=["a", "b", "c"])
    found = effective_speedup(runs, better, 1.6, 0.0941)
    assert found["speedup"].tolist() == pytest.approx([(1 / 0.95) ** (1 / 0.0941)] * 3)
    assert found["run"].tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("exponent", [None, 0.09])
def test_the_interval_is_students(exponent: float | None) -> None:
    """Of 400 candidates that are worth nothing, 90 % have 1 in their interval; exactly so, up to 3 standard errors."""
    random = np.random.default_rng(0)
    flops, inside = np.geomspace(1e18, 1e20, 4), 0
    for _ in range(400):
        runs = pd.DataFrame({"flops": flops, "loss": 1.6 + 80 * flops**-0.09 * np.exp(0.004 * random.standard_normal(4))})
        same = pd.DataFrame({"flops": [3e20], "loss": [1.6 + 80 * 3e20**-0.09 * np.exp(0.004 * random.standard_normal())]})
        row = effective_speedup(runs, same, 1.6, exponent).iloc[0]
        inside += row["speedup_low"] < 1 < row["speedup_high"]
    assert abs(inside - 360) < 3 * stats.binom(400, 0.9).std()


def test_what_an_envelope_needs() -> None:
    with pytest.raises(AnalysisError, match=r"2 baseline runs leave nothing to tell .*: 3 are needed"):
        effective_speedup(MARIN.iloc[:2], MARIN, 1.6)
    with pytest.raises(AnalysisError, match=r"a candidate run has a loss of 3\.12.*not above the asymptote 3\.2"):
        effective_speedup(MARIN.assign(loss=[4, 3.8, 3.6]), MARIN, 3.2)
    with pytest.raises(AnalysisError, match="baseline runs need the column 'flops'"):
        effective_speedup(MARIN[["loss"]], MARIN, 1.6)
    with pytest.raises(AnalysisError, match="does not fall with compute"):
        effective_speedup(MARIN.assign(loss=[3.0, 3.1, 3.2]), MARIN, 1.6)

"""Fits find the exponents that theory says, where no training blurs them."""

import numpy as np
import pandas as pd
import pytest
from solvable import linear_loss, memoriser_loss, spectrum

from analysis.fits import fit_law
from analysis.laws import law

FLOOR = 0.5


@pytest.mark.parametrize("limit", ["features", "examples"])
def test_the_linear_model_loses_what_least_squares_loses(limit: str) -> None:
    """The closed form against least squares on drawn projections, or drawn examples, at finite size."""
    random, variance, resource = np.random.default_rng(0), spectrum(0.7, 400), 20
    losses = []
    for _ in range(200):
        rows = random.normal(size=(resource, len(variance)))
        if limit == "features":  # the part of the target that no combination of the projections explains
            scaled = rows * np.sqrt(variance)
            target = np.sqrt(variance)
            kept = scaled.T @ np.linalg.lstsq(scaled.T, target, rcond=None)[0]
            losses.append(((target - kept) ** 2).sum())
        else:  # the least weights that explain the examples, judged by new ones
            examples = rows * np.sqrt(variance)
            weights = np.linalg.lstsq(examples, examples.sum(axis=1), rcond=None)[0]
            losses.append((variance * (weights - 1) ** 2).sum())
    error = np.std(losses) / np.sqrt(len(losses))
    expected = linear_loss(resource, variance)
    assert np.mean(losses) == pytest.approx(expected, abs=4 * error + 0.02 * expected)  # the form is exact in the limit
    assert error < 0.02 * expected


@pytest.mark.parametrize("a", [0.5, 0.75, 1.0])
def test_a_fit_finds_exponent_and_floor_of_the_linear_model(a: float) -> None:
    directions = 300_000
    variance, beyond = spectrum(a, directions), directions**-a / a  # the sum of the rest, as an integral
    resource = np.geomspace(100, 3000, 10)
    loss = FLOOR + np.array([linear_loss(each, variance, beyond) for each in resource])
    points = pd.DataFrame({"run": map(str, range(10)), "parameters": resource, "loss": loss})
    fit = fit_law(points, law("E + A / parameters**alpha"), draws=50)
    assert fit.estimates["alpha"].value == pytest.approx(a, abs=0.02)
    assert fit.estimates["E"].value == pytest.approx(FLOOR, rel=0.02)


@pytest.mark.parametrize(("axis", "a"), [("parameters", 0.5), ("parameters", 1.0), ("tokens", 0.5), ("tokens", 1.0)])
def test_a_fit_finds_the_exponents_of_the_memoriser(axis: str, a: float) -> None:
    """Either resource alone; both at once are no sum of powers: the memoriser's loss is that of its bottleneck."""
    facts, values = 2_000_000, 64
    amount = np.geomspace(100, 1e4, 10) if axis == "parameters" else np.geomspace(1e4, 1e6, 10)
    loss = memoriser_loss(**{"parameters": None, "tokens": None, axis: amount}, a=a, facts=facts, values=values)
    unlearnt = np.log(values) * facts**-a / a / (np.arange(1, facts + 1) ** -(1.0 + a)).sum()  # were there ever more facts
    points = pd.DataFrame({"run": map(str, range(10)), axis: amount, "loss": FLOOR + unlearnt + loss})
    fit = fit_law(points, law(f"E + A / {axis}**alpha"), draws=50)
    assert fit.estimates["alpha"].value == pytest.approx(a if axis == "parameters" else a / (1 + a), abs=0.02)
    assert fit.estimates["E"].value == pytest.approx(FLOOR, rel=0.02)

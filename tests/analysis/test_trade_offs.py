"""Allocation of any law, iso-loss curves, over-training and inference against SciPy, closed forms and papers."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar
from simulated import World

from analysis import allocation, laws, trade_offs
from analysis.chinchilla import fit_parametric
from analysis.errors import AnalysisError
from analysis.fits import fit_law
from analysis.laws import Chinchilla
from analysis.results import Fit

WORLD = World()


class Searched(Chinchilla):
    """The same law by another name, which has no closed form."""

    name: ClassVar[str] = "searched"


@pytest.fixture(scope="module")
def fit() -> Fit:
    points = WORLD.isoflops(np.random.default_rng(0), np.geomspace(1e19, 1e21, 4))
    return fit_parametric(points, "parameters", draws=100)


def known(fit: Fit, **parameters: float) -> Fit:
    """The fit with a law given, and no doubt about it."""
    theta = fit.form.to_coordinates(parameters)
    return replace(fit, theta=theta, draws=np.repeat(theta[None], 3, 0))


def test_the_search_finds_the_closed_form(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(laws.LAWS, "searched", Searched())
    budgets = [1e17, 1e21, 1e25]
    searched = allocation.compute_optimal(replace(fit, law="searched"), budgets)
    pd.testing.assert_frame_equal(searched, allocation.compute_optimal(fit, budgets), rtol=1e-4)


def test_a_law_of_more_variables_needs_their_values(fit: Fit) -> None:
    class Repeated(Chinchilla):
        variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "unique_tokens")

    with pytest.raises(AnalysisError, match=r"also needs unique_tokens: give a value, as in given=\{'unique_tokens': 1e9\}"):
        allocation.predictor(Repeated())
    predict = allocation.predictor(Repeated(), {"unique_tokens": 1e9})
    assert predict(fit.theta, np.log([1e9]), np.log([1e10])) == pytest.approx(
        np.log(fit.loss(np.array([1e9]), np.array([1e10])))
    )


def test_a_law_of_something_else() -> None:
    class OfCompute(Chinchilla):
        variables: ClassVar[tuple[str, ...]] = ("flops", "tokens")

    with pytest.raises(AnalysisError, match="needs a loss of parameters and tokens, this is loss of flops, tokens"):
        allocation.predictor(OfCompute())


def test_iso_loss_is_a_contour(fit: Fit) -> None:
    known_fit = known(fit, E=WORLD.E, A=WORLD.A, B=WORLD.B, alpha=WORLD.alpha, beta=WORLD.beta)
    sizes = [1e8, 1e9, 3e9, 1e10]
    contour = trade_offs.iso_loss(known_fit, 2.2, sizes)
    assert contour["parameters"].tolist() == pytest.approx(sizes[1:]), "the smallest size never reaches 2.2"
    assert WORLD.loss(contour["parameters"], contour["tokens"]).tolist() == pytest.approx([2.2] * 3, rel=1e-9)
    assert contour["flops"].tolist() == pytest.approx((6 * contour["parameters"] * contour["tokens"]).tolist())
    uncertain = trade_offs.iso_loss(fit, 2.2, sizes[1:])
    assert (uncertain["tokens_low"] < uncertain["tokens"]).all()
    assert (uncertain["tokens"] < uncertain["tokens_high"]).all()
    with pytest.raises(AnalysisError, match=r"reaches a loss of 1\.5"):
        trade_offs.iso_loss(fit, 1.5, sizes)


def test_over_training_costs_what_a_search_says(fit: Fit) -> None:
    """The compute-optimal budget of the same loss, by SciPy along the frontier's closed form."""
    known_fit = known(fit, E=WORLD.E, A=WORLD.A, B=WORLD.B, alpha=WORLD.alpha, beta=WORLD.beta)
    n_best, d_best, loss_best = WORLD.best(1e21)
    rows = trade_offs.over_training(known_fit, [1e21], [d_best / n_best, 200.0])
    best, small = rows.iloc[0], rows.iloc[1]
    assert best["excess"] == pytest.approx(1)
    assert best["overhead"] == pytest.approx(1, abs=2e-3)
    assert small["tokens"] / small["parameters"] == pytest.approx(200)
    assert 6 * small["tokens"] * small["parameters"] == pytest.approx(1e21)
    assert small["loss"] == pytest.approx(WORLD.loss(small["parameters"], small["tokens"]))
    assert small["excess"] == pytest.approx(small["loss"] / loss_best)
    same = minimize_scalar(lambda x: (WORLD.best(np.exp(x))[2] - small["loss"]) ** 2, bounds=(40, 49), method="bounded")
    assert small["overhead"] == pytest.approx(1e21 / np.exp(same.x), rel=2e-3)


def test_sardana_figure_1(fit: Fit) -> None:
    """13 billion parameters and 2 trillion tokens served: 7 billion trained longer save 1.7e22 FLOPs, 17 % of all.

    With alpha and beta to the three digits of the paper's constants, 0.336 and 0.283.
    """
    law = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.336, "beta": 0.283}
    world = World(**law)
    budget = np.exp(minimize_scalar(lambda x: (world.best(np.exp(x))[0] - 13e9) ** 2, bounds=(46, 54), method="bounded").x)
    row = trade_offs.inference_aware(known(fit, **law), world.best(budget)[2], [2e12]).iloc[0]
    assert row["parameters"] == pytest.approx(7e9, rel=0.01)
    spared = row["flops"] * (row["saving"] - 1)
    assert spared == pytest.approx(1.7e22, abs=0.05e22)
    assert spared / (row["flops"] * row["saving"]) == pytest.approx(0.17, abs=0.005)


def test_inference_aware_is_the_minimum_of_scipy(fit: Fit) -> None:
    known_fit = known(fit, E=WORLD.E, A=WORLD.A, B=WORLD.B, alpha=WORLD.alpha, beta=WORLD.beta)
    rows = trade_offs.inference_aware(known_fit, 2.2, [0.0, 1e11, 1e13])
    for row in rows.itertuples():
        tokens = lambda log_n: brentq(lambda x: WORLD.loss(np.exp(log_n), np.exp(x)) - 2.2, 10, 200, xtol=1e-13)  # noqa: E731
        cost = lambda log_n, served=row.served: log_n + np.log(6 * np.exp(tokens(log_n)) + 2 * served)  # noqa: B023, E731
        found = minimize_scalar(cost, bounds=np.log([1.2e9, 1e12]), method="bounded", options={"xatol": 1e-9})
        assert np.log(row.flops) == pytest.approx(found.fun, abs=1e-9)
        assert row.parameters == pytest.approx(np.exp(found.x), rel=1e-3)
    training = rows.iloc[0]
    assert WORLD.best(training["flops"])[2] == pytest.approx(2.2, rel=1e-6)
    assert rows["saving"].is_monotonic_increasing
    assert rows["parameters"].is_monotonic_decreasing
    with pytest.raises(AnalysisError, match=r"no size reaches a loss of 1\.5"):
        trade_offs.inference_aware(fit, 1.5, [0])
    with pytest.raises(AnalysisError, match="served tokens must be 0 or more"):
        trade_offs.inference_aware(fit, 2.2, [-1])


def test_paired_draws_make_ratios_narrow(fit: Fit) -> None:
    """The optimum and the smaller model share each draw: their ratio is better known than either loss."""
    row = trade_offs.over_training(fit, [1e22], [100.0]).iloc[0]
    of_ratio = np.log(row["excess_high"] / row["excess_low"])
    of_loss = np.log(row["loss_high"] / row["loss_low"])
    assert 0 < of_ratio < 0.5 * of_loss


def test_fit_law_of_the_searched_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """A law that the package does not know in closed form goes all the way from points to N*."""
    monkeypatch.setitem(laws.LAWS, "searched", Searched())
    exact = WORLD.isoflops(np.random.default_rng(0), np.geomspace(1e19, 1e21, 4), noise=0.0)
    row = allocation.compute_optimal(fit_law(exact, Searched(), draws=20), [1e22]).iloc[0]
    n, d, loss = WORLD.best(1e22)
    assert [row["parameters"], row["tokens"], row["loss"]] == pytest.approx([n, d, loss], rel=1e-4)

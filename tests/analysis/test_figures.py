"""Figures: marks at the data's coordinates, what is left out and why, files in three formats."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from simulated import World

from analysis import chinchilla, curves, figures
from analysis.allocation import compute_optimal
from analysis.conventions import Convention
from analysis.envelope import fit_envelope
from analysis.results import Fit
from analysis.study import Study, profile_table, study
from analysis.trade_offs import iso_loss

TOTAL = Convention("parameters")
WORLD = World()
BUDGETS = np.geomspace(1e18, 1e21, 5)


@pytest.fixture(scope="module")
def isoflop_curves() -> pd.DataFrame:
    """Five budgets of nine sizes, and one of two sizes, which approach 2 refuses."""
    random = np.random.default_rng(0)
    alone = WORLD.isoflops(random, np.array([1e17]), sizes=2)
    return curves.read(pd.concat([WORLD.isoflops(random, BUDGETS), alone], ignore_index=True))


@pytest.fixture(scope="module")
def fit(isoflop_curves: pd.DataFrame) -> Fit:
    return chinchilla.fit_parametric(curves.final_points(isoflop_curves), "parameters", draws=200)


@pytest.fixture(scope="module")
def found(isoflop_curves: pd.DataFrame, fit: Fit) -> Study:
    return study(isoflop_curves, fit)


def test_a_study_has_what_the_data_allow_and_the_reason_of_the_rest(found: Study) -> None:
    assert set(found.frontiers) == {"approach 2"}
    assert "a single point" in found.refused["approach 1"]
    drawn = figures.collect(found)
    assert {"loss-curves", "isoflops", "frontiers", "iso-losses", "profiles", "rollouts", "parameter-pairs"} <= set(drawn)
    assert "collapsed-curves" not in drawn
    assert "before their last one" in found.refused["collapsed curves"]


def test_budgets_of_a_sweep_are_its_recorded_flops() -> None:
    """Where attention costs much, runs of one budget differ in 6ND; a sweep over budgets says in what they agree."""
    parts = []
    for budget in BUDGETS:
        n = WORLD.best(budget)[0] * np.geomspace(0.2, 5, 9)
        d = budget / (6 * n * (1 + (WORLD.best(budget)[0] / n) ** 0.5))
        parts.append(pd.DataFrame({"parameters": n, "tokens": d, "flops": budget, "loss": WORLD.loss(n, d)}))
    table = pd.concat(parts, ignore_index=True)
    assert "approach 2" not in study(curves.read(table), None).frontiers
    found = study(curves.read(table.assign(**{"label.budget": table["flops"]})), None).frontiers["approach 2"]
    assert found.convention == Convention("parameters", "flops")
    assert found.optima["budget"].to_numpy() == pytest.approx(BUDGETS, rel=1e-3)


def test_without_a_fit_the_curves_are_drawn_and_the_reason_kept(isoflop_curves: pd.DataFrame) -> None:
    few = study(isoflop_curves.head(3), None, reason="3 points")
    assert list(figures.collect(few)) == ["loss-curves"]
    assert few.refused["the law"] == "3 points"


def test_files_in_three_formats(tmp_path: Path, fit: Fit) -> None:
    def saved(directory: str) -> dict[str, bytes]:
        figure = figures.allocation(fit).figure
        assert isinstance(figure, Figure)
        return {path.suffix: path.read_bytes() for path in figures.save(figure, tmp_path / directory, "one")}

    first = saved("new")
    assert first[".png"].startswith(b"\x89PNG")
    assert b"<svg" in first[".svg"]
    assert first[".pdf"].startswith(b"%PDF")
    assert saved("other") == first  # no date, no random ids


def test_valleys_have_their_minima_where_the_frontier_says(found: Study) -> None:
    frontier = found.frontiers["approach 2"]
    ax = figures.isoflops(frontier, found.points)
    drawn = ax.containers[0].lines[0]
    np.testing.assert_allclose(drawn.get_xdata(orig=False), frontier.optima["parameters"])
    np.testing.assert_allclose(drawn.get_ydata(orig=False), frontier.optima["loss"])
    # A drawn valley is the fitted one: its lowest point is the minimum.
    valleys = [line for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) == 100]
    assert len(valleys) == len(BUDGETS)
    lowest = sorted(line.get_xdata()[np.argmin(line.get_ydata())] for line in valleys)
    np.testing.assert_allclose(lowest, sorted(frontier.optima["parameters"]), rtol=0.05)
    measured = np.concatenate([line.get_xdata() for line in ax.lines if line.get_marker() == "o"])
    assert len(measured) == len(found.points)
    assert any("2 sizes; a cubic curve needs 5" in text.get_text() for text in ax.texts)


def test_frontiers_show_every_procedure_and_its_band(found: Study, fit: Fit) -> None:
    frontier = found.frontiers["approach 2"]
    of_parameters, of_tokens = figures.frontiers({"approach 2": frontier, "approach 3": fit})
    for ax, name in ((of_parameters, "parameters"), (of_tokens, "tokens")):
        lines = {line.get_label(): line for line in ax.lines}
        budgets = lines["approach 3"].get_xdata()
        np.testing.assert_allclose(lines["approach 3"].get_ydata(), compute_optimal(fit, budgets)[name])
        np.testing.assert_allclose(lines["approach 2"].get_ydata(), frontier.predict(budgets)[name])
        assert budgets[-1] == pytest.approx(10 * BUDGETS[-1])
        band = ax.collections[0].get_paths()[0].vertices[:, 1]
        assert band.max() == pytest.approx(frontier.predict(budgets)[f"{name}_high"].max())


def test_contours_are_where_the_law_has_that_loss(found: Study, fit: Fit) -> None:
    ax = figures.iso_losses(fit, found.points, losses=[2.5])
    line = ax.lines[0]
    np.testing.assert_allclose(fit.loss(line.get_xdata(), line.get_ydata()), 2.5, rtol=1e-6)
    expected = iso_loss(fit, 2.5, line.get_xdata())
    assert ax.collections[0].get_paths()[0].vertices[:, 1].min() == pytest.approx(expected["tokens_low"].min())
    assert ax.texts[0].get_text() == "2.5"


def test_profiles_close_around_the_least_squares_optimum(found: Study) -> None:
    """With Gaussian noise and a delta that no residual reaches, the fit is that optimum, and each level holds the lower one."""
    points = found.points
    square = chinchilla.fit_parametric(points, "parameters", objective="mse-log", draws=100)
    table = profile_table(square, points, levels=(0.02, 0.5, 0.9))
    for name, rows in table.groupby("parameter"):
        estimate = square.estimates[name].value
        assert (rows["low"] < estimate).all()
        assert (rows["high"] > estimate).all()
        assert rows["low"].is_monotonic_decreasing
        assert rows["high"].is_monotonic_increasing
        narrow = rows.iloc[0]
        assert narrow["high"] - narrow["low"] < 0.05 * (rows["high"].iloc[2] - rows["low"].iloc[2])
    panel = figures.profiles(square, table)[0]
    np.testing.assert_allclose(np.sort(panel.lines[0].get_xdata()), np.sort(table[["low", "high"]].head(3).to_numpy().ravel()))


def test_rollouts_are_errors_at_their_distances(found: Study, fit: Fit) -> None:
    assert found.rollouts is not None
    ax = figures.rollouts(fit, found.rollouts)
    marks = [line for line in ax.lines if line.get_marker() in ("o", "^")]
    shown = np.concatenate([np.stack([line.get_xdata(), line.get_ydata()]) for line in marks], 1)
    expected = np.stack([np.exp(found.rollouts["distance"]), 100 * found.rollouts["error"]])
    np.testing.assert_allclose(shown[:, np.lexsort(shown)], expected[:, np.lexsort(expected)])


def test_the_envelope_lies_under_the_curves_it_is_made_of() -> None:
    """Both in one convention: at each of its budgets the envelope is the lowest of the curves drawn."""
    table = WORLD.curves(np.random.default_rng(0), np.geomspace(1e7, 1e10, 12), (1e8, 1e12))
    read = curves.read(table)
    envelope = fit_envelope(read, TOTAL, draws=50)
    ax = figures.loss_curves(read, TOTAL, envelope)
    *runs, line = [each for each in ax.lines if len(each.get_xdata()) > 1]
    assert line.get_label() == "envelope (approach 1)"
    x = np.log(line.get_xdata())
    lowest = np.min([np.interp(x, np.log(run.get_xdata()), np.log(run.get_ydata()), left=9, right=9) for run in runs], axis=0)
    np.testing.assert_allclose(np.log(line.get_ydata()), lowest, atol=1e-9)

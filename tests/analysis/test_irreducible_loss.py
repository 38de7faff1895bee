"""A fit of runs whose data have a known source, held against its loss: in words, in the report and on the figures."""

import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import Truth as Law

from analysis import chinchilla, curves, figures, report
from analysis.study import Study, study
from analysis.truth import find_truth


def recorded(sweep: Path, source_loss: float, entropy: float) -> pd.DataFrame:
    """The made-up sweep, its runs' record stating what their source loses, and is expected to lose."""
    for path in sweep.glob("*/run.json"):
        record = json.loads(path.read_text())
        record["facts"] |= {"source_loss": source_loss, "entropy": entropy}
        path.write_text(json.dumps(record))
    return curves.read(sweep)


def studied(sweep: Path, source_loss: float, entropy: float) -> Study:
    table = recorded(sweep, source_loss, entropy)
    return study(table, chinchilla.fit_parametric(curves.final_points(table), draws=200))


def test_the_irreducible_loss_is_held_against_the_source_on_the_same_tokens(sweep: Path, truth: Law) -> None:
    """The runs follow a law of E = 1.5 with noise: its own interval holds that, and not three fifths of it.

    The entropy is shown and decides nothing.
    """
    found = studied(sweep, truth.E, entropy=0.6 * truth.E)
    assert found.truth is not None
    assert (found.truth.source_loss, found.truth.entropy) == (truth.E, 0.6 * truth.E)
    assert found.truth.inside
    wrong = studied(sweep, 0.6 * truth.E, entropy=truth.E)
    assert wrong.truth is not None
    assert not wrong.truth.inside
    assert wrong.truth.error_percent == pytest.approx(100 * (wrong.truth.fitted.value / 0.9 - 1))
    for form in report.FORMATS:
        page = html.unescape(report.write(report.gather(wrong, "made-up", sweep), sweep / f"report.{form}").read_text())
        assert str(wrong.truth) in page
        assert "of the source itself on the held-out tokens 0.9000 nats per token" in page
        assert "outside the interval (the source's entropy: 1.5000)" in page


def test_the_figures_mark_it(sweep: Path, truth: Law) -> None:
    table = recorded(sweep, truth.E, 1.2)
    points = curves.final_points(table)
    fit = chinchilla.fit_parametric(points, draws=50)
    for ax in (figures.loss_curves(table), figures.fitted_losses(fit, points)):
        (line,) = (line for line in ax.lines if line.get_label() == "the source itself, 1.5 (its entropy: 1.2)")
        np.testing.assert_array_equal(line.get_ydata(), truth.E)
        assert ax.get_ylim()[0] <= truth.E


def test_the_figures_of_the_page_mark_it(sweep: Path, truth: Law, visit) -> None:
    path = report.write(report.gather(studied(sweep, truth.E, 1.2), "made-up", sweep), sweep / "report.html")
    page = visit(path.as_uri(), 1600).page
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    for name in ("curves", "law"):
        traces = page.evaluate(f"document.querySelector('#figure-{name} .plot').data.map(t => [t.name, Array.from(t.y)])")
        assert dict(map(tuple, traces))["the source itself, 1.5 (its entropy: 1.2)"] == [truth.E, truth.E]


def test_a_text_has_no_truth_and_two_samples_have_no_common_one(sweep: Path) -> None:
    points = curves.final_points(recorded(sweep, 1.5, 1.2))
    fit = chinchilla.fit_parametric(points, draws=50)
    assert find_truth(fit, points) is not None
    for unknown in (points.assign(source_loss=np.nan, entropy=np.nan), points.assign(source_loss=np.nan)):
        assert find_truth(fit, unknown) is None
    two = points.assign(source_loss=np.where(np.arange(len(points)) % 2, 1.5, 1.4))
    assert find_truth(fit, two) is None

"""Figures, findings and the page: what they show, and that they stand alone."""

import base64
import html
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import set_status

from analysis import checks, chinchilla, curves, figures, forecasting, report, results
from analysis.errors import AnalysisError
from analysis.study import Study, study


@pytest.fixture
def analysed(sweep: Path) -> Path:
    """The sweep with its fit and forecast, and one diverged run."""
    set_status(sweep / f"{1:012x}", "diverged", 20, 40, "loss is not finite at step 20")
    points = curves.final_points(curves.read(sweep))
    fit = chinchilla.fit_parametric(points, draws=200)
    results.write_fit(fit, sweep)
    results.write_forecast(forecasting.forecast(fit, points[points["role"] == "holdout"]), sweep)
    return sweep


def studied(sweep: Path) -> Study:
    fit = results.read_fit(sweep) if (sweep / "fit.json").exists() else None
    forecast = results.read_forecast(sweep) if (sweep / "forecast.json").exists() else None
    return study(curves.read(sweep), fit, forecast)


def written(sweep: Path) -> str:
    """The page, with one small figure: they have tests of their own."""
    found = studied(sweep)
    drawn = {"loss-curves": figures.loss_curves(found.curves, found.convention).get_figure()}
    return report.write(sweep, found, drawn).read_text()


def test_every_figure_has_a_caption_and_the_page_stays_small(analysed: Path) -> None:
    found = studied(analysed)
    page = report.write(analysed, found, figures.collect(found))
    assert page.read_text().count("<img ") == len(figures.collect(found))
    assert page.stat().st_size < 5e6
    for what in found.refused:
        assert f"Left out: {what}" in page.read_text()


def test_nothing_to_draw_before_the_first_evaluation(sweep: Path) -> None:
    for path in sweep.glob("*/curve.jsonl"):
        path.write_text("")
    with pytest.raises(AnalysisError, match="no run has logged a held-out loss"):
        studied(sweep)


def test_figures_show_the_numbers_of_the_fit(analysed: Path) -> None:
    points, fit = curves.final_points(curves.read(analysed)), results.read_fit(analysed)
    shown = figures.residuals(fit, points).collections[-1].get_offsets()
    used = points[points["run"].isin(fit.origin.runs)]
    fitted = fit.loss(used[fit.parameters_column].to_numpy(), used["tokens"].to_numpy())
    np.testing.assert_allclose(shown[:, 1], 100 * np.log(used["loss"] / fitted), rtol=1e-6)
    compared = results.compare_forecast(results.read_forecast(analysed), points)
    forecast, measured = figures.forecasts(compared, 0.9).lines
    assert forecast.get_xdata() == compared["loss"].to_list()
    assert measured.get_xdata() == compared["measured"].to_list()


def test_the_page_stands_alone_and_answers_first(analysed: Path) -> None:
    page = written(analysed)
    assert not re.search(r"""(src|href)=["'](?!data:)""", page)
    compared = results.compare_forecast(results.read_forecast(analysed), curves.final_points(curves.read(analysed))).iloc[0]
    answer = page[: page.index("<h2>Figures")]
    for value in (compared["loss"], compared["low"], compared["high"], compared["measured"]):
        assert f"{value:.4f}" in answer
    assert "<strong>inside</strong>" in answer
    assert "diverged: loss is not finite at step 20" in page
    assert page.count("<img ") == 1


def test_the_page_carries_its_data(analysed: Path) -> None:
    encoded = re.search(r'data:text/csv;base64,([^"]+)"', written(analysed))
    assert encoded
    table = pd.read_csv(io.BytesIO(base64.b64decode(encoded[1])))
    points = curves.final_points(curves.read(analysed))
    np.testing.assert_allclose(table["loss"], points["loss"])
    assert list(table["run"]) == list(points["run"])


def test_a_page_before_the_fit_says_so(sweep: Path) -> None:
    assert "There is no fit yet" in written(sweep)


def test_text_from_a_run_cannot_become_markup(sweep: Path) -> None:
    set_status(sweep / f"{1:012x}", "failed", 20, 40, "<script>alert(1)</script>")
    assert "<script>" not in written(sweep)


def test_the_page_says_what_to_doubt_and_what_to_do(analysed: Path) -> None:
    """Every finding of `checks` is on the page with its advice; the diverged run is one of them."""
    points, fit = curves.final_points(curves.read(analysed)), results.read_fit(analysed)
    compared = results.compare_forecast(results.read_forecast(analysed), points)
    findings = checks.find(fit, points, compared)
    assert "left_out" in {finding.name for finding in findings}
    page = html.unescape(written(analysed))
    for finding in findings:
        assert finding.text in page
        assert finding.advice in page
        assert f'<li class="{finding.severity}">' in page

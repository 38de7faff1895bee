"""Figures, findings and the page: what they show, and that they stand alone."""

import base64
import gzip
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import Truth, fabricate_run, set_status

from analysis import checks, chinchilla, curves, figures, forecasting, report, results
from analysis.conventions import Convention
from analysis.errors import AnalysisError
from analysis.report import provenance
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


def written(sweep: Path, form: str = "html") -> str:
    found = studied(sweep)
    return report.write(report.gather(found, "made-up", sweep), sweep / f"report.{form}").read_text()


def numbers(page: str) -> dict:
    """What the figures are drawn from."""
    packed = re.search(r'id="numbers">([^<]+)<', page)
    assert packed
    return json.loads(gzip.decompress(base64.b64decode(packed[1])))


def test_what_is_left_out_is_said(analysed: Path) -> None:
    page = html.unescape(written(analysed))
    found = studied(analysed)
    assert found.refused
    for what, why in found.refused.items():
        assert f"Left out: {what}: {why[:100]}" in page


def test_two_hundred_runs_stay_below_five_megabytes(tmp_path: Path) -> None:
    """With 500 evaluated rows each; the record of each run is in the page too."""
    random = np.random.default_rng(0)
    truth = Truth()
    cells = []
    for number in range(200):
        parameters, tokens = round(1e5 * 1.3 ** (number // 10)), round(1e6 * 1.5 ** (number % 10))
        run = tmp_path / "many" / f"{number:012x}"
        fabricate_run(run, truth, parameters, tokens, 0.003 * random.standard_normal(), steps=1000)
        cells.append({"run_id": run.name, "role": "fit", "labels": {"model": parameters, "training.tokens": tokens}})
    (tmp_path / "many" / "plan.json").write_text(json.dumps({"sweep": "many", "cells": cells}))
    read = curves.read(tmp_path / "many")
    fit = chinchilla.fit_parametric(curves.final_points(read), draws=50)
    nothing = dict.fromkeys(("truth", "profiles", "rollouts", "forecast", "comparison"))
    points, convention = curves.final_points(read), Convention()
    found = Study(curves=read, points=points, convention=convention, fit=fit, frontiers={}, refused={}, **nothing)
    page = report.write(report.gather(found, "many", tmp_path / "many"), tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    assert len(numbers(page.read_text())["runs"]) == 200


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
    before_scripts = page[: page.index('<script type="text/plain"')]
    assert not re.search(r"""(src|href)=["'](?!data:)""", before_scripts)
    compared = results.compare_forecast(results.read_forecast(analysed), curves.final_points(curves.read(analysed))).iloc[0]
    answer = page[: page.index('id="figures"')]
    for value in (compared["loss"], compared["low"], compared["high"], compared["measured"]):
        assert f"{value:.4f}" in answer
    assert "<strong>inside</strong>" in answer
    assert "diverged: loss is not finite at step 20" in page


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
    page = written(sweep)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "</script>" not in page[page.index('id="numbers">') : page.index("</script>", page.index('id="numbers">'))]


def test_the_page_says_what_to_doubt_and_what_to_do(analysed: Path) -> None:
    """Every finding of `checks` is on the page with its advice, every check with its verdict; the diverged run is a finding."""
    points, fit = curves.final_points(curves.read(analysed)), results.read_fit(analysed)
    compared = results.compare_forecast(results.read_forecast(analysed), points)
    findings = checks.find(fit, points, compared)
    assert "left_out" in {finding.name for finding in findings}
    for page in (html.unescape(written(analysed)), written(analysed, "md")):
        for finding in findings:
            assert finding.text in page
            assert finding.advice in page
        for verdict in checks.verdicts(fit, points, compared):
            assert verdict.looks_for in page
        assert "nothing found" in page


def test_verdicts_hold_the_findings_of_every_check(analysed: Path) -> None:
    points, fit = curves.final_points(curves.read(analysed)), results.read_fit(analysed)
    said = checks.verdicts(fit, points)
    assert len({verdict.name for verdict in said}) == len(said)
    in_verdicts = [finding.text for verdict in said for finding in verdict.findings]
    assert sorted(in_verdicts) == sorted(finding.text for finding in checks.find(fit, points))


def test_methods_say_what_really_ran(analysed: Path) -> None:
    """Facts that differ between runs are ranges, those that are alike are said once; totals are sums over the records."""
    for number in range(17):
        run = analysed / f"{number:012x}"
        environment = {"started": "2026-01-01T00:00:00+00:00", "host": "a", "platform": "Linux", "python": "3.11.7"}
        environment |= {
            "packages": {"jax": "0.10.2"},
            "commit": "f00d",
            "devices": {"count": 4, "kind": "TPU v5e", "processes": 1},
        }
        (run / "environment.json").write_text(json.dumps(environment))
        record = json.loads((run / "run.json").read_text())
        record["identity"] |= {
            "optimizer": {"name": "adamw", "learning_rate": 1e-3 * (1 + number)},
            "data": {"sequence_length": 128},
        }
        (run / "run.json").write_text(json.dumps(record))
    for page in (html.unescape(written(analysed)), written(analysed, "md")):
        for words in ("4 x TPU v5e", "jax 0.10.2", "commit f00d", "adamw", "0.001 to 0.017 (17 values)", "sequences of 128"):
            assert words in page, words
        done = [json.loads((analysed / f"{n:012x}" / "run.json").read_text())["facts"]["flops"] for n in range(17)]
        spent = sum(done) - done[1] / 2  # the diverged run ended half way
        assert f"spent {spent:.3g} model FLOPs and 5.67 minutes" in page  # 17 runs of 20 seconds
        assert results.read_fit(analysed).origin.points_sha256 in page
        assert "@software{scaling-lab-made-up," in page


def test_budgets_of_the_readers_choice(analysed: Path) -> None:
    found = studied(analysed)
    content = report.gather(found, "made-up", analysed, [1e15, 3e18])
    assert [row["budget"] for row in content.optimum] == [1e15, 3e18]
    text = report.write(content, analysed / "report.md").read_text()
    assert "| 1.00e15 |" in text
    assert "| 3.00e18 |" in text


def test_the_methods_tell_networks_and_their_objectives_from_what_was_counted():
    def record(baseline=None, **training):
        return {
            "identity": {"seed": 0},
            "facts": {"baseline": baseline},
            "config": {"training": training},
            "environment": {},
            "status": {},
        }

    runs = {"a": record(objective="causal"), "b": record(objective="causal")}
    assert provenance.training_sentences(runs)[0].startswith("2 decoder-only transformers (")
    trained, counted, *_ = provenance.training_sentences({**runs, "c": record(objective="masked"), "d": record("3-gram")})
    assert trained.startswith("3 transformers (objective causal, masked) (")
    assert counted == "3-gram models were counted on the same data."
    assert not any("transformers" in said for said in provenance.training_sentences({"d": record("3-gram")}))


@pytest.mark.parametrize(("varied", "exponent"), [("tokens", 0.38), ("parameters", 0.35)])
def test_where_one_axis_varies_the_law_of_that_axis_is_said(tmp_path: Path, varied: str, exponent: float) -> None:
    """The other term is constant, so that the law of the one axis is exact, with its exponent."""
    truth = Truth()
    for step in range(8):
        size, tokens = (150_000, 1_000_000 * 2**step) if varied == "tokens" else (100_000 * 2**step, 4_000_000)
        fabricate_run(tmp_path / f"{step:012x}", truth, size, tokens, noise=0.0)
    found = study(curves.read(tmp_path), None, reason="one axis alone")
    content = report.gather(found, "one axis", tmp_path)
    (said,) = content.answer
    assert "All 8 runs have" in said
    value, low, high = map(float, re.search(r"(?:alpha|beta) = (\S+) \((\S+) to (\S+)\)", said).groups())
    assert low <= value <= high
    assert value == pytest.approx(exponent, rel=0.02)
    for form in ("html", "md"):
        assert said.split(":")[0] in html.unescape(report.write(content, tmp_path / f"report.{form}").read_text())

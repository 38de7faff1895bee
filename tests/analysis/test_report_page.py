"""The report in a real browser: what is drawn, what the reader's choices change, and that it stands alone."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import Truth, fabricate_sweep, set_status

from analysis import chinchilla, curves, forecasting, report, results
from analysis.allocation import compute_optimal
from analysis.report.drawing import by_convention
from analysis.study import Study, study

MARKS = ".points path, path.js-line, .contourfill path, .js-fill"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Study]:
    """A sweep with a forecast, a diverged run and a report."""
    sweep = fabricate_sweep(tmp_path_factory.mktemp("page") / "made-up", Truth())
    set_status(sweep / f"{1:012x}", "diverged", 20, 40, "loss is not finite at step 20")
    points = curves.final_points(curves.read(sweep))
    fit = chinchilla.fit_parametric(points, draws=200)
    results.write_forecast(forecasting.forecast(fit, points[points["role"] == "holdout"]), sweep)
    found = study(curves.read(sweep), fit, results.read_forecast(sweep))
    return report.write(report.gather(found, "made-up", sweep), sweep / "report.html"), found


@pytest.fixture
def opened(made, visit):
    """The page, drawn."""

    def go(width: int = 1600):
        opened = visit(made[0].as_uri(), width)
        opened.page.wait_for_selector("html[data-drawn]", timeout=60_000)
        return opened

    return go


def plotted(page, name: str) -> list[dict]:
    """What Plotly holds for a figure."""
    wanted = "t => ({x: Array.from(t.x ?? []), y: Array.from(t.y ?? []), name: t.name, ids: t.customdata ?? []})"
    return page.evaluate(f"document.querySelector('#figure-{name} .plot').data.map({wanted})")


def test_every_figure_has_marks_and_nothing_leaves_the_machine(opened, made) -> None:
    visit = opened()
    figures = visit.page.locator("figure").all()
    assert len(figures) == 9  # all but isoFLOPs: a grid of sizes and tokens has budgets of too few runs
    assert "approach 2" in made[1].refused
    for figure in figures:
        assert figure.locator(MARKS).count() > 0, figure.get_attribute("id")
    visit.assert_clean()
    assert made[0].stat().st_size < 5e6


def test_no_button_offers_to_send_a_figure_anywhere(opened) -> None:
    titles = opened().page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(button => button.dataset.title)")
    assert "Download plot" in titles
    assert not [title for title in titles if "share" in title.lower() or "cloud" in title.lower()]


def test_a_run_says_what_it_is_and_opens_its_record(opened) -> None:
    visit = opened()
    point = visit.page.locator("#figure-law .points path").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    visit.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    label = visit.page.locator("#figure-law .hovertext")
    label.wait_for()
    text = label.text_content()
    run = plotted(visit.page, "law")[-1]["ids"][0]
    assert run in text
    assert "loss" in text
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    dialog = visit.page.locator("#record")
    dialog.wait_for(state="visible")
    assert run in dialog.text_content()
    assert dialog.locator("a").first.get_attribute("href") == f"{run}/run.json"
    visit.page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    visit.assert_clean()


def test_the_convention_of_parameters_changes_law_and_residuals(opened, made) -> None:
    visit = opened()
    fits, _ = by_convention(made[1])
    assert len(fits) == 3
    for name, fit in fits.items():
        visit.page.select_option("#choices select[name=n]", name)
        visit.page.wait_for_timeout(100)
        (residuals,) = plotted(visit.page, "residuals")
        points = made[1].points.set_index("run").loc[residuals["ids"]]
        expected = 100 * (points["loss"] / fit.loss(points[name].to_numpy(), points["tokens"].to_numpy()) - 1)
        np.testing.assert_allclose(residuals["y"], expected, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(residuals["x"], 6 * points[name] * points["tokens"], rtol=1e-4)
    visit.page.select_option("#choices select[name=c]", "flops")
    visit.page.wait_for_timeout(100)
    (residuals,) = plotted(visit.page, "residuals")
    np.testing.assert_allclose(residuals["x"], made[1].points.set_index("run").loc[residuals["ids"]]["flops"], rtol=1e-4)
    visit.assert_clean()


def test_a_rung_is_isolated_and_axes_become_linear(opened) -> None:
    visit = opened()
    every = plotted(visit.page, "curves")
    rung = visit.page.locator("#choices select[name=rung] option").nth(1).text_content()
    visit.page.select_option("#choices select[name=rung]", rung)
    visit.page.uncheck("#choices input[name=log]")
    visit.page.wait_for_timeout(200)
    alone = plotted(visit.page, "curves")
    assert 0 < len(alone) < len(every)
    assert {trace["name"] for trace in alone} == {rung}
    assert visit.page.evaluate("document.querySelector('#figure-curves .plot').layout.xaxis.type") == "linear"
    visit.assert_clean()


def test_a_brushed_range_is_fitted_and_judged_by_the_runs_beyond(opened, made) -> None:
    """The same fit by `fit_parametric` on the runs of the range."""
    visit = opened()
    visit.page.locator("#figure-windows").scroll_into_view_if_needed()
    before = visit.page.locator("#figure-windows .said").text_content()
    area = visit.page.locator("#figure-windows .nsewdrag").first.bounding_box()
    middle = area["y"] + area["height"] / 2
    visit.page.mouse.move(area["x"] + 5, middle)
    visit.page.mouse.down()
    visit.page.mouse.move(area["x"] + 0.55 * area["width"], middle, steps=8)
    visit.page.mouse.up()
    visit.page.wait_for_timeout(300)
    said = visit.page.locator("#figure-windows .said").text_content()
    assert said != before
    fitted, larger, smaller = plotted(visit.page, "windows")
    assert len(smaller["x"]) == 0
    assert said.startswith(f"{len(fitted['x'])} runs: ")
    assert f"The {len(larger['x'])} larger runs" in said
    points = made[1].points.set_index("run", drop=False)
    alone = chinchilla.fit_parametric(points.loc[fitted["ids"]], draws=20)
    beyond = points.loc[larger["ids"]]
    column = alone.parameters_column
    errors = 100 * (beyond["loss"] / alone.loss(beyond[column].to_numpy(), beyond["tokens"].to_numpy()) - 1)
    np.testing.assert_allclose(larger["y"], errors, rtol=1e-2, atol=2e-3)

    end = visit.page.locator("#figure-windows input[name=high]")
    end.focus()
    visit.page.keyboard.press("End")
    visit.page.wait_for_timeout(200)
    assert plotted(visit.page, "windows")[1]["x"] == []
    visit.assert_clean()


def test_the_table_sorts_filters_and_says_why_a_run_does_not_count(opened, made) -> None:
    visit = opened()
    head = visit.page.locator("#table thead th", has_text="loss").locator("button")
    rows = visit.page.locator("#table tbody tr:visible")
    for order in ("ascending", "descending"):
        head.click()
        losses = [float(text) for text in rows.locator("td:nth-child(7)").all_text_contents()]
        assert losses == sorted(losses, reverse=order == "descending")
    assert visit.page.locator("#table thead th", has_text="loss").get_attribute("aria-sort") == "descending"
    visit.page.select_option("#filter select[name=which]", "excluded")
    assert rows.count() == 1
    assert "diverged: loss is not finite at step 20" in rows.first.text_content()
    visit.page.select_option("#filter select[name=which]", "")
    visit.page.fill("#filter input[name=text]", f"{3:012x}")
    assert rows.count() == 1
    assert visit.page.locator("#filter output").text_content() == f"1 of {len(made[1].points)} runs"


def test_another_budget_is_read_as_the_law_has_it(opened, made) -> None:
    visit = opened()
    budget = 3.3 * made[1].fit.largest
    best = compute_optimal(made[1].fit, [budget]).iloc[0]
    visit.page.fill("#budget input", f"{budget:.6g}")
    visit.page.keyboard.press("Enter")
    row = visit.page.locator("#optimum tbody tr").last
    loss = row.locator("td").last
    value, low, high = (float(part) for part in loss.inner_text().replace("–", "\n").split())
    np.testing.assert_allclose([value, low, high], [best["loss"], best["loss_low"], best["loss_high"]], rtol=1e-3)
    visit.page.fill("#budget input", "1")
    visit.page.keyboard.press("Enter")
    assert "from" in visit.page.locator("#budget output").text_content()


def test_the_data_can_be_downloaded(opened, made) -> None:
    visit = opened()

    def saved(selector: str) -> str:
        with visit.page.expect_download() as download:
            visit.page.click(selector)
        return Path(download.value.path()).read_text()

    points = pd.read_csv(io.StringIO(saved("#points")))
    assert list(points["run"]) == list(made[1].points["run"])
    np.testing.assert_allclose(points["loss"], made[1].points["loss"])
    rows = list(csv.DictReader(io.StringIO(saved("#download-curves"))))
    evaluated = made[1].curves["loss"].notna().sum()
    assert len(rows) == evaluated
    np.testing.assert_allclose(sum(float(row["loss"]) for row in rows), made[1].curves["loss"].sum(), rtol=1e-5)
    assert len(json.loads(saved("#download-all"))["runs"]) == len(points)


@pytest.mark.parametrize("width", [400, 1600])
def test_it_is_readable_and_accessible_at_any_width(opened, width) -> None:
    visit = opened(width)
    visit.assert_fits()
    visit.assert_accessible()
    visit.assert_clean()


def test_the_keyboard_reaches_everything(opened) -> None:
    visit = opened()
    assert visit.controls() <= visit.tab_through()


def test_without_scripts_the_answer_is_there(made, browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(made[0].as_uri())
    text = page.locator("main").inner_text()
    context.close()
    assert made[1].fit.form.formula in text
    assert "The figures need JavaScript" in text
    assert "Final points (CSV)" in text

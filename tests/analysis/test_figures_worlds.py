"""Figures of networks beside n-gram models, and of what networks know of brackets."""

import numpy as np
import pandas as pd
import pytest

from analysis import curves, figures
from analysis.errors import AnalysisError
from analysis.study import study


def table() -> pd.DataFrame:
    """Two sizes of a network at three token counts, and a 2-gram model after each of three."""
    rows = [
        {"run": f"{n:g} {d:g}", "parameters": n, "tokens": d, "loss": 1 + 30 / n**0.3 + 60 / d**0.3, "entropy": 1.25, "row": 1}
        for n in (1e5, 4e5)
        for d in (1e6, 2e6, 4e6)
    ]
    counted = [
        {"run": "counted", "baseline": "2-gram", "tokens": d, "loss": 2.6 + 40 / d**0.3, "step": step, "entropy": 1.25}
        for step, d in enumerate((1e6, 2e6, 4e6), start=1)
    ]
    return curves.read(pd.DataFrame([*rows, *counted]))


def test_baselines_are_drawn_along_their_tokens_and_kept_out_of_the_fit() -> None:
    read = table()
    points = curves.final_points(read)
    assert points.set_index("run")["excluded"]["counted"] == "baseline"
    assert (points["excluded"] == "").sum() == 6
    ax = figures.baselines(read, points, "parameters")
    dashed = [line for line in ax.lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    (baseline,) = dashed
    np.testing.assert_array_equal(baseline.get_xdata(), [1e6, 2e6, 4e6])
    np.testing.assert_allclose(baseline.get_ydata(), read.loc[read["baseline"] != "", "loss"])
    solid = [line for line in ax.lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 3]
    assert len(solid) == 2
    np.testing.assert_allclose(solid[0].get_ydata(), read.loc[read["parameters"] == 1e5, "loss"])
    assert [text.get_text() for text in ax.texts] == ["2-gram"]


def test_a_study_draws_them_where_there_are_any() -> None:
    drawn = figures.collect(study(table(), None))
    assert "baselines" in drawn
    without = table()
    without = without[without["baseline"] == ""]
    assert "baselines" not in figures.collect(study(without, None))
    with pytest.raises(AnalysisError, match="no baseline"):
        figures.baselines(without, curves.final_points(without), "parameters")


def test_brackets_show_each_run_by_depth_and_by_openings() -> None:
    runs = [{"run": str(blocks), "blocks": blocks, "width": 32, "examples": 1000} for blocks in (1, 2)]
    depths = pd.DataFrame(
        [{**run, "depth": d, "accuracy": 1 - d / 10 / run["blocks"], "illegal": d / 50} for run in runs for d in (1, 2, 3)]
    )
    completions = pd.DataFrame(
        [{**run, "openings": n, "temperature": t, "right": 1 / n + t / 10} for run in runs for n in (1, 2) for t in (0.0, 0.8)]
    )
    accuracy, illegal, completed = figures.brackets(depths, completions).axes
    assert [line.get_label() for line in accuracy.lines] == [
        "1 block, width 32, 1k examples",
        "2 blocks, width 32, 1k examples",
    ]
    np.testing.assert_allclose(accuracy.lines[1].get_ydata(), [0.95, 0.9, 0.85])
    np.testing.assert_allclose(illegal.lines[0].get_ydata(), [0.02, 0.04, 0.06])
    np.testing.assert_allclose(completed.lines[0].get_ydata(), [1, 0.5])  # at temperature 0


@pytest.mark.parametrize("span", [1.5, 1.03, 1.004])
def test_ticks_say_where_they_are_however_close_the_losses(span: float) -> None:
    """Three digits would write 2.985 as 2.98, and two ticks as the same number."""
    ax = figures.axes.new_axes()
    ax.plot([1, 2], [2.98, 2.98 * span])
    figures.axes.log_axis(ax, "y")
    low, high = ax.get_ylim()
    shown = [(tick, label) for tick, label in zip(ax.get_yticks(), ax.yaxis.get_ticklabels(), strict=True) if low < tick < high]
    assert len(shown) >= 2
    for tick, label in shown:
        assert float(label.get_text()) == pytest.approx(tick, abs=(high - low) / 50)

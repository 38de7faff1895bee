"""A fit of runs whose data have a known entropy, held against it: in words, in the report and on the figures."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
from made_up import Truth as Law

from analysis import chinchilla, curves, figures, report
from analysis.study import Study, study
from analysis.truth import find_truth


def studied(sweep: Path, entropy: float | None) -> Study:
    """The made-up sweep, its runs' record stating an entropy."""
    for path in sweep.glob("*/run.json"):
        record = json.loads(path.read_text())
        record["facts"]["entropy"] = entropy
        path.write_text(json.dumps(record))
    table = curves.read(sweep)
    return study(table, chinchilla.fit_parametric(curves.final_points(table), draws=200))


def test_the_irreducible_loss_is_held_against_the_entropy(sweep: Path, truth: Law) -> None:
    """The runs follow a law of E = 1.5 with noise: its own interval holds that, and not three fifths of it."""
    found = studied(sweep, truth.E)
    assert found.truth is not None
    assert found.truth.entropy == truth.E
    assert found.truth.inside
    wrong = studied(sweep, 0.6 * truth.E)
    assert wrong.truth is not None
    assert not wrong.truth.inside
    assert wrong.truth.error_percent == pytest.approx(100 * (wrong.truth.fitted.value / 0.9 - 1))
    for form in report.FORMATS:
        page = html.unescape(report.write(report.gather(wrong, "made-up", sweep), sweep / f"report.{form}").read_text())
        assert str(wrong.truth) in page
        assert "true entropy 0.9000 nats per token" in page
        assert "outside the interval" in page


def test_the_figures_mark_it(sweep: Path, truth: Law) -> None:
    found = studied(sweep, truth.E)
    assert found.fit is not None
    for ax in (figures.loss_curves(found.curves), figures.fitted_losses(found.fit, found.points)):
        (line,) = (line for line in ax.lines if str(line.get_label()).startswith("true entropy"))
        np.testing.assert_array_equal(line.get_ydata(), truth.E)
        assert ax.get_ylim()[0] <= truth.E


def test_a_text_has_no_truth_and_two_sources_have_no_common_one(sweep: Path) -> None:
    assert studied(sweep, None).truth is None
    found = studied(sweep, 1.5)
    assert found.fit is not None
    two = found.points.assign(entropy=np.where(np.arange(len(found.points)) % 2, 1.5, 1.4))
    assert find_truth(found.fit, two) is None

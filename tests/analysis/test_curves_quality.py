"""Every way in which curves may be odd is shown with its run, row and reason, and nothing is dropped unseen."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import set_status
from rich.console import Console

from analysis import curves
from analysis.errors import AnalysisError
from analysis.tables import quality_table

CLEAN = {"parameters": 1e8, "tokens": 2e9, "loss": 3.0}


def _flags(rows: list[dict[str, Any]], **how: Any) -> list[tuple[str, int, str, str]]:
    found = curves.flags(curves.read(rows, **how))
    return [(flag.run, flag.row, flag.kind, flag.severity) for flag in found.itertuples()]


def _points(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    """Runs a factor of two apart in size, with some values changed."""
    return [
        {"run": chr(97 + n), "parameters": 1e8 * 2**n, "tokens": 2e9, "loss": 3.0 - n / 10} | each
        for n, each in enumerate(changes)
    ]


def _reason(rows: list[dict[str, Any]], kind: str) -> str:
    found = curves.flags(curves.read(rows))
    return found.loc[found["kind"] == kind, "reason"].iloc[0]


def test_clean_points_have_no_flag() -> None:
    budgets = [{"flops": 6 * 1e8 * 2**n * 2e9 * 1.04} for n in range(4)]
    assert _flags(_points(*budgets)) == []


def test_a_fabricated_sweep_is_clean(sweep: Path) -> None:
    assert curves.flags(curves.read(sweep)).empty


@pytest.mark.parametrize(("loss", "kind"), [(-0.5, "bad loss"), (0.0, "bad loss"), (np.inf, "bad loss"), (np.nan, "no loss")])
def test_a_loss_that_is_none(loss: float, kind: str) -> None:
    rows = _points({}, {"loss": loss}, {})
    assert ("b", 2, kind, "excluded") in _flags(rows)
    points = curves.final_points(curves.read(rows)).set_index("run")
    assert points["excluded"].to_dict() | {"b": ""} == {"a": "", "b": "", "c": ""}
    assert points["excluded"]["b"] == (
        "no held-out loss" if np.isnan(loss) else f"loss is {loss:g}; a cross entropy is above 0"
    )


def _curve(losses: list[float | None], **more: Any) -> list[dict[str, Any]]:
    return [{"run": "a", "step": 10 * (n + 1), "tokens": 1e7 * (n + 1), "loss": loss, **more} for n, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "excluded"),
    [
        ([4, 3.5, 3], ""),
        ([4, 3.5, np.inf], "loss is inf, at row 3"),
        ([4, np.inf, 3], ""),  # it came back: the row is flagged, the run counts
        ([4, 3.5, None, None], "no loss, after one in every row before, at row 3"),
        ([4, None, None], ""),
        ([4, None, 3.5, None], ""),  # evaluates now and then
    ],
)
def test_a_curve_that_breaks_off(losses: list[float | None], excluded: str) -> None:
    table = curves.read(_curve(losses))
    assert curves.final_points(table)["excluded"].item() == excluded
    assert ("bad loss" in set(curves.flags(table)["kind"])) == (excluded != "" or np.inf in losses)


@pytest.mark.parametrize(
    ("horizon", "excluded"), [(3e7, ""), (3.002e7, ""), (3.1e7, "unfinished (done): last evaluated at 3e+07 of 3.1e+07 tokens")]
)
def test_a_horizon_that_was_rounded(horizon: float, excluded: str) -> None:
    assert curves.final_points(curves.read(_curve([4, 3.5, 3], horizon=horizon)))["excluded"].item() == excluded


def test_rows_without_evaluation_are_no_fault_where_the_training_loss_goes_on() -> None:
    table = curves.read(_curve([4, 3.5, None, None], train_loss=3.0))
    assert curves.final_points(table)["excluded"].item() == ""


def test_what_ends_a_run_is_flagged_as_in_its_final_point(sweep: Path) -> None:
    set_status(sweep / f"{1:012x}", "diverged", 20, 40, "loss is not finite at step 20")
    set_status(sweep / f"{2:012x}", "running", 20, 40)
    table = curves.read(sweep)
    found = curves.flags(table)
    assert list(found["kind"]) == ["diverged", "unfinished"]
    reasons = curves.final_points(table).set_index("run")["excluded"]
    assert list(found["reason"]) == list(reasons[found["run"]])
    assert "holdout" not in set(found["kind"])  # a role, not a fault


def test_an_exact_duplicate_is_excluded_and_a_seed_is_none() -> None:
    same = {"parameters": 1e8, "loss": 3.0}
    rows = _points({"index": 0}, same | {"index": 1}, same | {"index": 2, "seed": 1})
    points = curves.final_points(curves.read(rows))
    assert list(points["excluded"]) == ["", "duplicate of a", ""]
    assert ("b", 2, "duplicate", "excluded") in _flags(rows)


def test_runs_that_differ_in_an_unknown_column_are_no_duplicates() -> None:
    same = {"parameters": 1e8, "loss": 3.0}
    rows = _points({"optimizer": "adamw"}, same | {"optimizer": "muon"}, {"optimizer": "muon"})
    assert list(curves.final_points(curves.read(rows))["excluded"]) == ["", "", ""]


def test_near_duplicates_are_noted() -> None:
    near = {"parameters": 1e8 * 1.004, "tokens": 2e9 * 0.997, "loss": 3.0 * 1.0009}
    assert _flags(_points({}, near)) == [("b", 2, "near-duplicate", "note")]
    assert _flags(_points({}, near | {"loss": 3.0 * 1.002})) == []
    assert _flags(_points({"peak_learning_rate": 1e-3}, near | {"peak_learning_rate": 2e-3})) == []


def test_an_axis_of_a_sweep_may_hold_sections() -> None:
    same = {"parameters": 1e8, "loss": 3.0}
    rows = _points(*[same | {"label.rung": {"width": width}} for width in (64, 64, 128)])
    assert list(curves.final_points(curves.read(rows))["excluded"]) == ["", "duplicate of a", ""]
    near = [each | {"loss": 3.0 + n / 1e6} for n, each in enumerate(rows)]
    assert [flag[:3] for flag in _flags(near)] == [("b", 2, "near-duplicate")]


def test_rows_that_repeat_themselves() -> None:
    rows = [*_curve([4.0, 3.5]), *_curve([4.0, 3.6])]
    assert ("a", 3, "duplicate", "excluded") in _flags(rows)  # row 3 is row 1 again
    assert ("a", 4, "duplicate", "note") in _flags(rows)  # row 4 disagrees with row 2


def test_rows_inside_a_decay() -> None:
    table = curves.read(
        [
            {"run": run, "tokens": tokens, "loss": 5 - tokens, "horizon": 4, "decay_tokens": decay}
            for run, decay in (("constant", 0), ("wsd", 1.5), ("cosine", 4))
            for tokens in (1, 2, 3, 4)
        ]
    )
    expected = {"constant": [False] * 4, "wsd": [False, False, True, False], "cosine": [True, True, True, False]}
    assert {run: each.tolist() for run, each in curves.decaying(table).groupby(table["run"], sort=False)} == expected
    found = curves.flags(table)
    rows = found[found["kind"] == "mid-decay"]
    assert list(rows["run"]) == ["wsd", "cosine"]
    assert list(rows["row"]) == [7, 9]
    assert rows["reason"].iloc[1].startswith("rows 9, 10, 11: inside the decay")


def test_a_falling_learning_rate_says_decay_where_nothing_else_does() -> None:
    rates = [1.0, 2.0, 2.0, 1.0, 0.1]  # warmup, peak, decay
    table = curves.read([{"run": "a", "step": n, "loss": 3.0, "learning_rate": rate} for n, rate in enumerate(rates)])
    assert curves.decaying(table).tolist() == [False, False, False, True, False]
    shuffled = table.sample(frac=1, random_state=0)
    assert curves.decaying(shuffled).sort_index().tolist() == [False, False, False, True, False]


def test_compute_further_than_three_times_6nd() -> None:
    spent = [{"flops": factor * 6 * 1e8 * 2**n * 2e9} for n, factor in enumerate((2.9, 3.1, 1 / 2.9, 1 / 3.1, 1.1e9))]
    found = curves.flags(curves.read(_points(*spent)))
    found = found[found["kind"] == "compute"].set_index("run")["reason"]
    assert found.to_dict() == {
        "b": "flops are 3.1 x 6ND",
        "d": "flops are 0.323 x 6ND",
        "e": "flops are 1.1e+09 x 6ND: a unit of 1e9?",
    }


def test_compute_may_match_any_convention() -> None:
    spent = {"flops": 6 * 1e7 * 2e9}
    assert ("a", 1, "compute", "note") in _flags(_points(spent))
    assert _flags(_points(spent | {"non_embedding_parameters": 1e7})) == []
    assert _flags(_points(spent | {"active_parameters": 1e7})) == []


def test_budgets_snapped_to_a_grid() -> None:
    """One digit of FLOPs puts 1.5e19 and 2.4e19 into one bucket."""
    n = 1e9
    rows = [{"parameters": n, "tokens": c / (6 * n), "flops": 2e19, "loss": c / 1e19} for c in (1.5e19, 2.4e19)]
    assert [flag[2] for flag in _flags(rows)] == ["snapped budget"] * 2
    assert "whose 6ND differ by a factor 1.6" in _reason(rows, "snapped budget")
    rows[1]["flops"] = 2.35e19
    assert [flag[1:3] for flag in _flags(rows)] == [(1, "snapped budget")]
    assert _reason(rows, "snapped budget") == "2e+19 FLOPs have two digits, and 6ND is -25 % from it"
    rows[0]["flops"] = 1.5e19
    assert _flags(rows) == []
    same_as_counted = [{**row, "flops": 1.234e19, "tokens": 1.2e19 / (6 * n) * (1 + k / 10)} for k, row in enumerate(rows)]
    assert _flags([rows[0], {**rows[0], "loss": 2.0}, *same_as_counted]) == []


def test_rounded_flops_that_tokens_come_from() -> None:
    rows = [{"parameters": n, "flops": 3e18, "loss": 1e9 / n} for n in (1e8, 2e8)]
    found = curves.flags(curves.read(rows, derive=["tokens"]))
    assert list(found["kind"]) == ["derived", "snapped budget"]
    assert found["reason"].tolist() == [
        "tokens = flops / (6 x parameters) (2 rows)",
        "flops of 2 runs have at most two digits, and tokens of their own do not tell more",
    ]


def test_a_warmup_longer_than_a_tenth() -> None:
    rows = _points(
        {"warmup_tokens": 1e8}, {"warmup_tokens": 3e8}, {"warmup_tokens": 3e8, "horizon": 2e9}, {"warmup_tokens": 2.004e8}
    )
    assert [(flag[0], flag[2]) for flag in _flags(rows)] == [("b", "warmup"), ("c", "warmup")]
    assert _reason(rows, "warmup") == "the warmup is 15 % of the run"


def test_units_that_look_like_millions() -> None:
    rows = [{"parameters": n, "tokens": d, "loss": 9 / n} for n, d in ((44, 1.1), (117, 2.6), (10_000, 300))]
    assert [flag[2] for flag in _flags(rows)] == ["units", "units"]
    assert _reason(rows, "units") == "parameters from 44 to 1e+04: thousands, millions or billions? give the unit"
    columns = {"parameters": ("parameters", "millions"), "tokens": ("tokens", "billions")}
    assert _flags(rows, columns=columns) == []


def test_one_value_in_other_units_than_the_rest() -> None:
    rows = _points({}, {"parameters": 400}, {})
    assert _flags(rows) == [("b", 2, "units", "note")]
    assert _reason(rows, "units") == "parameters is 400 where others are 4e+08"


def test_skipped_updates_and_rises() -> None:
    rows = [{**row, "skipped_updates": n} for n, row in enumerate(_curve([4.0, 3.0, 3.5]))]
    found = {flag[2]: flag[1] for flag in _flags(rows)}
    assert found["skipped updates"] == 2
    assert "2 at most" in _reason(rows, "skipped updates")
    assert found["rise"] == 2
    assert _reason(rows, "rise") == "ends 17 % above its lowest loss: diverged or overfitted"  # 3.5 / 3


def test_several_evaluation_sets_are_not_mixed() -> None:
    table = curves.read([CLEAN | {"run": "a", "evaluation": name} for name in ("c4", "pile")])
    with pytest.raises(
        AnalysisError, match=r"on 2 evaluation sets \(c4, pile\); keep one: curves\[curves\['evaluation'\] == 'c4'\]"
    ):
        curves.final_points(table)
    assert len(curves.final_points(table[table["evaluation"] == "pile"])) == 1


def test_the_last_row_is_the_farthest_not_the_lowest_in_the_file() -> None:
    rows = _curve([4.0, 3.5, 3.0])
    for kept in (("step", "tokens"), ("tokens",), ("step",)):
        shuffled = [{name: rows[n][name] for name in ("run", "loss", *kept)} for n in (2, 0, 1)]
        assert curves.final_points(curves.read(shuffled))["loss"].item() == 3.0


def test_the_table_for_the_terminal_fits_80_columns() -> None:
    rows = _points(*[{"loss": -1.0, "run": f"a-very-long-name-of-a-run-{n}"} for n in range(7)], {"tokens": 2.0})
    console = Console(width=80, file=StringIO())
    console.print(quality_table(curves.flags(curves.read(rows))))
    text = console.file.getvalue()
    assert text.startswith("7 excluded, ")
    assert "and 4 more" in text
    assert "…ong-name-of-a-run-0" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "loss is -1" in text


CELLS = [
    *(1e6, 2e6, 3.0, 20.0, 1e18) * 3,
    None,
    np.nan,
    np.inf,
    0,
    -1,
    "",
    "2B",
    "nan",
    "many",
    True,
    {"a": 1},
    [1],
    pd.NaT,
    10**30,
]
NAMES = [*curves.COLUMNS, "unknown", "label.width", "_step", "_runtime"]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), st.sampled_from(CELLS), max_size=8), max_size=6))
def test_whatever_the_table_holds_an_error_is_one_line(rows: list[dict[str, Any]]) -> None:
    try:
        table = curves.read([{"loss": 3.0, **row} for row in rows])
        points, found = curves.final_points(table), curves.flags(table)
    except AnalysisError as error:
        message = str(error)
        assert "\n" not in message
    else:
        assert set(points["run"]) == set(table["run"])
        assert set(found["run"]) <= {"", *table["run"]}


def test_flags_are_machine_readable(sweep: Path) -> None:
    set_status(sweep / f"{1:012x}", "diverged", 20, 40)
    found = curves.flags(curves.read(sweep))
    assert list(found) == ["run", "row", "kind", "severity", "reason"]
    assert json.loads(json.dumps(found.to_dict("records")))[0]["row"] == 21
    assert pd.api.types.is_integer_dtype(found["row"])

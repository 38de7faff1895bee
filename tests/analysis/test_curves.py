"""Reading anyone's curves: the run record, its damages, and CSV."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_up import SIZES, TOKENS, Truth, set_status

from analysis import curves
from analysis.errors import AnalysisError

FIRST = f"{0:012x}"


def test_every_run_and_row_of_a_sweep(sweep: Path, truth: Truth) -> None:
    table = curves.read(sweep)
    assert list(table)[: len(curves.COLUMNS)] == list(curves.COLUMNS)
    assert table["run"].nunique() == len(SIZES) * len(TOKENS) + 1
    first = table[table["run"] == FIRST]
    assert list(first["step"]) == list(range(0, 41, 2))
    assert first["flops_6nd"].iloc[-1] == 6 * SIZES[0] * TOKENS[0]
    assert first["horizon"].unique() == [TOKENS[0]]
    assert first["label.training.tokens"].unique() == [TOKENS[0]]
    assert list(table["role"].unique()) == ["fit", "holdout"]
    numeric = [name for name in curves.COLUMNS if name not in curves.TEXT]
    numeric.remove("row")
    assert (table[numeric].dtypes == "float64").all()


def test_a_single_run_directory(sweep: Path) -> None:
    assert list(curves.read(sweep / FIRST)["run"].unique()) == [FIRST]


def test_a_torn_last_line_is_skipped(sweep: Path) -> None:
    path = sweep / FIRST / "curve.jsonl"
    rows = path.read_text()
    path.write_text(rows[:-30])
    assert curves.read(sweep / FIRST)["step"].max() == 38


def test_a_damaged_line_inside_is_an_error_that_names_it(sweep: Path) -> None:
    path = sweep / FIRST / "curve.jsonl"
    lines = path.read_text().split("\n")
    lines[3] = lines[3][:10]
    path.write_text("\n".join(lines))
    with pytest.raises(AnalysisError, match=r"curve\.jsonl, line 4"):
        curves.read(sweep)


def test_a_planned_run_has_one_row_without_a_step(sweep: Path) -> None:
    (sweep / FIRST / "curve.jsonl").unlink()
    (sweep / FIRST / "status.json").unlink()
    table = curves.read(sweep)
    row = table[table["run"] == FIRST]
    assert len(row) == 1
    assert np.isnan(row["step"].item())
    assert row["horizon"].item() == TOKENS[0]
    assert curves.final_points(table).set_index("run").loc[FIRST, "excluded"] == "unfinished: not begun"


def test_final_points_say_why_a_run_does_not_count(sweep: Path, truth: Truth) -> None:
    set_status(sweep / f"{1:012x}", "diverged", 20, 40, "loss is not finite at step 20")
    set_status(sweep / f"{2:012x}", "failed", 20, 40, "out of disk")
    cut = sweep / f"{3:012x}/curve.jsonl"
    cut.write_text("\n".join(cut.read_text().split("\n")[:11]) + "\n")
    points = curves.final_points(curves.read(sweep))
    assert points["excluded"].tolist()[:5] == [
        "",
        "diverged: loss is not finite at step 20",
        "failed: out of disk",
        "unfinished (done): last evaluated at step 20 of 40",
        "",
    ]
    assert points["excluded"].iloc[-1] == "holdout"
    assert points["loss"].iloc[0] == pytest.approx(truth.loss(SIZES[0], TOKENS[0]), rel=0.01)


def test_the_last_evaluated_row_counts_not_the_last_row(sweep: Path) -> None:
    path = sweep / FIRST / "curve.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[-1]["loss"] = None
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    point = curves.final_points(curves.read(sweep)).iloc[0]
    assert point["step"] == 36
    assert point["excluded"].startswith("unfinished")


def test_csv_needs_only_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    pd.DataFrame({"parameters": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [4.0, 3.5]}).to_csv(path, index=False)
    points = curves.final_points(curves.read(path))
    assert list(points["run"]) == ["row 1", "row 2"]
    assert list(points["excluded"]) == ["", ""]
    assert list(points["loss"]) == [4.0, 3.5]


def test_csv_without_a_needed_column(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("parameters,tokens,los\n1,2,3\n")
    with pytest.raises(AnalysisError, match="no column 'loss'"):
        curves.read(path)


def test_words_where_numbers_belong(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("parameters,tokens,loss\n1e6,1e8,low\n")
    with pytest.raises(AnalysisError, match="column 'loss' should hold numbers"):
        curves.read(path)


def test_an_empty_directory(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="no runs here"):
        curves.read(tmp_path)


def test_the_documentation_lists_every_column_and_flag() -> None:
    page = (Path(__file__).parents[2] / "docs/curves.md").read_text(encoding="utf-8")
    kinds = {str: "text", int: "integer", float: "number"}
    for name, column in curves.COLUMNS.items():
        assert f"| `{name}` | {kinds[column.kind]} | {column.unit} | {column.meaning} |\n" in page
    source = "".join(path.read_text() for path in Path(curves.__file__).parent.glob("*.py"))
    listed = page.partition("## Flags")[2].split("\n| ")[3:]
    for kind in (kind for line in listed for kind in line.split(" |")[0].split(", ")):
        assert f'"{kind}"' in source

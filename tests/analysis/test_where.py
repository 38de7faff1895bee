"""Parts of a table of curves by the values of its columns."""

import json
from pathlib import Path

import pandas as pd
import pytest

from analysis import curves
from analysis.errors import AnalysisError

TABLE = curves.read(
    pd.DataFrame(
        {
            "run": ["a", "b", "c"],
            "tokens": [1e6, 2e6, 2e6],
            "loss": [3.0, 2.5, 2.4],
            "label.objective": ["causal", "causal", "masked"],
        }
    )
)


def test_words_are_compared_as_words_and_numbers_as_numbers() -> None:
    assert list(curves.where(TABLE, ["label.objective=causal"])["run"]) == ["a", "b"]
    assert list(curves.where(TABLE, ["tokens=2e6"])["run"]) == ["b", "c"]
    assert list(curves.where(TABLE, ["tokens=2e6", "label.objective=masked"])["run"]) == ["c"]
    assert len(curves.where(TABLE, [])) == 3


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("label.objective", "write NAME=VALUE"),
        ("label.objectiv=causal", "the nearest present is 'label.objective'"),
        ("label.objective=prefix", "label.objective is causal, masked"),
        ("tokens=3e6", "no row has tokens=3e6"),
    ],
)
def test_what_is_not_there_is_named(condition: str, message: str) -> None:
    with pytest.raises(AnalysisError, match=message):
        curves.where(TABLE, [condition])


def test_losses_of_two_objectives_are_not_mixed(sweep: Path) -> None:
    """Runs that hide tokens measure a loss of another kind: a fit takes one kind, which the condition keeps."""
    masked = sweep / f"{3:012x}" / "run.json"
    record = json.loads(masked.read_text())
    record["identity"]["training"] = {"objective": "masked"}
    masked.write_text(json.dumps(record))
    table = curves.read(sweep)
    with pytest.raises(AnalysisError, match="on 2 evaluation sets"):
        curves.final_points(table)
    assert len(curves.final_points(curves.where(table, ["evaluation=validation"]))) == 16

"""A part of the curves, by the values of their columns: one objective, one corpus, one axis value of a sweep."""

from collections.abc import Iterable

import pandas as pd

from analysis.curves.columns import filled, missing, some
from analysis.errors import AnalysisError


def where(curves: pd.DataFrame, conditions: Iterable[str]) -> pd.DataFrame:
    """The rows in which each `NAME=VALUE` holds, numbers compared as numbers.

    Raises:
        AnalysisError: a condition that is none, a column that is not there, or a value that it never has.
    """
    for condition in conditions:
        name, equals, value = condition.partition("=")
        if not equals or not name:
            raise AnalysisError(f"cannot read the condition {condition!r}: write NAME=VALUE")
        if name not in curves:
            raise AnalysisError(missing(name, filled(curves)))
        column = curves[name]
        number = pd.to_numeric(value, errors="coerce")
        kept = column.map(str) == value
        if pd.api.types.is_numeric_dtype(column) and pd.notna(number):
            kept = column == number
        if not kept.any():
            raise AnalysisError(f"no row has {condition}; {name} is {some(sorted(column.map(str).unique()))}")
        curves = curves[kept]
    return curves.reset_index(drop=True)

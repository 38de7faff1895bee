"""The column map: foreign names and units into ours."""

import math
from collections.abc import Mapping
from difflib import get_close_matches

import pandas as pd

from analysis.curves.columns import COLUMNS, TEXT, nearest, numbers, some, words
from analysis.errors import AnalysisError

UNITS = {
    "thousands": 1e3,
    "millions": 1e6,
    "billions": 1e9,
    "trillions": 1e12,
    "bits": math.log(2),
    "pf-days": 86_400e15,
}
"""Units by name: the factor that makes a count, nats or FLOPs of a value in them."""

Source = str | tuple[str, float | str]
ColumnMap = Mapping[str, Source]
"""Our column -> the source's column, or (the source's column, the factor or unit of its values)."""


def parse_columns(options: list[str]) -> dict[str, Source]:
    """The column map that command-line options give: `tokens=D_billion:1e9`, `loss=eval/loss:bits`, `run=Task+Model`.

    What follows the last colon is the unit where it is a number or one of `UNITS`, and part of the name elsewhere.

    Raises:
        AnalysisError: an option of another form, a column given twice.
    """
    columns: dict[str, Source] = {}
    for option in options:
        target, equals, source = (part.strip() for part in option.partition("="))
        if not (target and equals and source):
            raise AnalysisError(
                f"--column {option!r}: give it as name=source or name=source:unit, such as tokens=D_billion:1e9"
            )
        if target in columns:
            raise AnalysisError(f"--column {option!r}: {target!r} is already mapped to {columns[target]!r}")
        name, colon, unit = source.rpartition(":")
        columns[target] = (name or target, unit) if colon and _is_unit(unit) else source
    check(columns)
    return columns


def check(columns: ColumnMap) -> None:
    """Raise an `AnalysisError` where a map names a column that looks like a misspelt one of ours, or a unit is none."""
    for target, source in columns.items():
        near = get_close_matches(target, COLUMNS, n=1, cutoff=0.8)
        if target not in COLUMNS and near:
            raise AnalysisError(f"column map: the table has no column {target!r}; did you mean {near[0]!r}?")
        if isinstance(source, str):
            continue
        if not (isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], str)):
            raise AnalysisError(f"column map: {target!r} should be a name or (name, unit), not {source!r}")
        _factor(target, source[1])


def map_columns(table: pd.DataFrame, columns: ColumnMap, source: str) -> pd.DataFrame:
    """The table with our columns beside those they are made from, in our units.

    A text column may join several with `+`: `run` from `Task+Model`.
    """
    present = [str(name) for name in table if name != "row"]
    made = {}
    for target, given in columns.items():
        name, unit = (given, 1.0) if isinstance(given, str) else given
        parts = [name] if name in table else [part.strip() for part in name.split("+")]
        for part in parts:
            if part not in table:
                raise AnalysisError(f"{source}: {_unmapped(target, part, present)}")
        if target in TEXT:
            made[target] = words(table[parts[0]]).str.cat([words(table[part]) for part in parts[1:]], sep=" / ")
        elif len(parts) > 1:
            raise AnalysisError(f"column map: {target!r} is made from one column, not from {name!r}")
        elif target in COLUMNS:
            made[target] = numbers(table[name], name, source, table["row"]) * _factor(target, unit)
        else:
            factor = _factor(target, unit)
            made[target] = table[name] if factor == 1 else numbers(table[name], name, source, table["row"]) * factor
    return table.assign(**made)


def _unmapped(target: str, name: str, present: list[str]) -> str:
    near = nearest(name, present)
    found = f"the nearest present is {near!r}" if near else f"it has {some(present, 12)}"
    return f"no column {name!r} to make {target!r} from; {found}"


def _is_unit(unit: str) -> bool:
    try:
        return unit.lower() in UNITS or float(unit) > 0
    except ValueError:
        return False


def _factor(target: str, unit: float | str) -> float:
    known = UNITS.get(str(unit).lower())
    try:
        factor = float(unit) if known is None else known
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise AnalysisError(
            f"column map: the unit of {target!r} is {unit!r}; give a positive number or one of {', '.join(UNITS)}"
        )
    return factor

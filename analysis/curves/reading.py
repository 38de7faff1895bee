"""`read`: whatever holds curves, as one tidy table."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.curves import mapping, record, tensorboard
from analysis.curves.columns import filled, missing, some, tidy, words
from analysis.curves.derive import derive as derive_columns
from analysis.curves.files import frame, read_directory, read_file, stem, table_files
from analysis.curves.paths import absent, as_path
from analysis.curves.points import usable
from analysis.errors import AnalysisError


def read(
    source: Any,
    *,
    columns: mapping.ColumnMap | None = None,
    facts: Any = None,
    derive: Sequence[str] = (),
) -> pd.DataFrame:
    """Read loss curves, or final losses, into one table with the columns of `COLUMNS`: a row per run and logged step.

    Args:
        source: a path (local, `gs://` or `s3://`) of a sweep directory or a run directory of ours (`runs/README.md`); of a
            directory of TensorBoard event directories, or of tables, a file per run; of a CSV, Parquet, JSON-lines or JSON
            table, which `.gz`, `.zst` or `.bz2` may follow, or an event file. Or a frame of pandas, polars or any library
            that speaks Arrow, a list of dicts, a dict of columns. Charts and histories exported from Weights & Biases are
            recognised by their columns.
        columns: our columns from those of the source, with units: `{"parameters": "Model Size", "loss": ("bpt", "bits"),
            "tokens": ("Tokens (B)", 1e9), "run": "Task+Model"}`, see `mapping`. Columns not named keep their names.
        facts: a table with a row per run (any `source`) whose columns are added to the rows of its run, where those have no
            value: what a curve does not hold, such as `parameters` and `horizon`. `columns` may name its columns too.
        derive: columns to compute where they are missing: `("tokens",)`, see `derive.RULES`. The column `derived` says how.

    Without a column `run`, a table whose `step` only rises is one run, and every row of another table is a run of its own.

    Raises:
        AnalysisError: nothing there to read, a damaged file (which, and which line), a column that is not there (and the
            nearest that is), or one that should hold numbers and does not (which rows).
    """
    columns = columns or {}
    mapping.check(columns)
    table, name = _load(source)
    tables = [table] if facts is None else [table, _load(facts)[0]]
    for target, given in columns.items():
        if not any(_holds(each, given) for each in tables):
            mapping.map_columns(tables[0], {target: given}, name)  # says what is missing
    mapped = [
        mapping.map_columns(each, {target: given for target, given in columns.items() if _holds(each, given)}, name)
        for each in tables
    ]
    table = _with_runs(mapped[0], name)
    if facts is not None:
        table = _join(table, mapped[1])
    tidied = tidy(table, name)
    _check_losses(tidied, name, present="loss" in table)
    return derive_columns(tidied, derive, name)


def _check_losses(table: pd.DataFrame, name: str, present: bool) -> None:
    if table.empty:
        raise AnalysisError(f"{name}: no rows")
    begun = table[table["row"] > 0]
    if begun.empty or usable(begun["loss"]).any() or begun["train_loss"].notna().any():
        return
    if present and begun["loss"].isna().all():
        raise AnalysisError(f"{name}: the column 'loss' is empty in all {len(begun)} rows")
    if begun["loss"].isna().all():
        raise AnalysisError(f"{name}: {missing('loss', filled(table))}")
    raise AnalysisError(f"{name}: no loss is above 0; rows {some(begun['row'].tolist())} hold {some(begun['loss'].tolist())}")


def _load(source: Any) -> tuple[pd.DataFrame, str]:
    """The table as the source has it, and what to call the source in an error."""
    if not isinstance(source, str) and not hasattr(source, "__fspath__"):
        return frame(source), "the table"
    path = as_path(source)
    if path.is_file():
        if tensorboard.MARK in path.name:
            return tensorboard.read_events(path.parent, [path]), str(path)
        table = read_file(path)
        table.attrs["curve"] = stem(path)
        return table, str(path)
    if not path.is_dir():
        raise absent(path)
    if record.is_record(path):
        return record.read_record(path), str(path)
    if events := tensorboard.event_files(path):
        return tensorboard.read_events(path, events), str(path)
    if files := table_files(path):
        return read_directory(path, files), str(path)
    raise AnalysisError(
        f"{path}: no runs here; give a sweep directory, a run directory, a directory of event files or of tables, or a table"
    )


def _holds(table: pd.DataFrame, given: mapping.Source) -> bool:
    name = given if isinstance(given, str) else given[0]
    return name in table or all(part.strip() in table for part in name.split("+"))


def _with_runs(table: pd.DataFrame, name: str) -> pd.DataFrame:
    if "run" in table:
        return table
    step = pd.to_numeric(table["step"], errors="coerce") if "step" in table else pd.Series(dtype=float)
    one = len(step) > 1 and bool((step.diff().dropna() > 0).all()) and step.notna().all()
    if not one:
        return table.assign(run=[f"row {number}" for number in table["row"]])
    run = table.attrs.get("curve", "curve")
    said = f"run = {run!r}: one run, as its step only rises and there is no column 'run'"
    before = words(table["derived"]) + "; " if "derived" in table else ""
    return table.assign(run=run, derived=before + said)


def _join(table: pd.DataFrame, facts: pd.DataFrame) -> pd.DataFrame:
    if "run" not in facts:
        raise AnalysisError(f"facts: {missing('run', list(facts))}")
    facts = facts.drop(columns="row").assign(run=facts["run"].astype(str))
    twice = facts["run"][facts["run"].duplicated()]
    if len(twice):
        raise AnalysisError(f"facts: the run {twice.iloc[0]!r} has more than one row")
    runs = table["run"].astype(str)
    if not runs.isin(facts["run"]).any():
        raise AnalysisError(f"facts: none of its runs is in the curves: {facts['run'].iloc[0]!r} there, {runs.iloc[0]!r} here")
    facts = facts.set_index("run")
    added = {name: runs.map(facts[name]) for name in facts}
    return table.assign(**{name: table[name].combine_first(value) if name in table else value for name, value in added.items()})

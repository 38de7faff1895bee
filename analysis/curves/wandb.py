"""The two layouts in which Weights & Biases hands out curves, turned into a row per run and step.

A chart's CSV has the x axis first and, per run, `<run> - <metric>` with `__MIN` and `__MAX` of what was averaged into each
value (wandb/wandb issues 5349 and 6474). A run's history (`run.history()`, `scan_history()`, the history artifact's
Parquet) has a row per call of `log`, counted by `_step`, with `_runtime` and `_timestamp`.
"""

import pandas as pd

EXTREMES = ("__MIN", "__MAX")
COUNTED = "step = W&B's count of log calls; map the trainer's own step over it where the two differ"


def unfold(table: pd.DataFrame) -> pd.DataFrame:
    """The table itself, or a chart or a history in the layout of every other table."""
    columns = [str(name) for name in table]
    if any(name.endswith("__MIN") and " - " in name and name.removesuffix("__MIN") in columns for name in columns):
        return _chart(table)
    if "_step" in columns and {"_runtime", "_timestamp"} & set(columns):
        return _history(table)
    return table


def _chart(table: pd.DataFrame) -> pd.DataFrame:
    x = str(next(iter(table)))
    by_run: dict[str, dict[str, pd.Series]] = {}
    for name in map(str, table):
        run, dash, metric = name.rpartition(" - ")
        if dash and not metric.endswith(EXTREMES):
            by_run.setdefault(run, {})[metric] = table[name]
            for ending in EXTREMES:
                extreme = table.get(f"{name}{ending}")
                if extreme is not None and not extreme.equals(table[name]):
                    by_run[run][f"{metric}{ending}"] = extreme
    curves = []
    for run, metrics in by_run.items():
        curve = pd.DataFrame({"run": run, "row": table["row"], x: table[x], **metrics})
        curves.append(curve.dropna(subset=list(metrics), how="all"))
    return _with_step(pd.concat(curves, ignore_index=True), x if x.lower() == "step" else "_step")


def _history(table: pd.DataFrame) -> pd.DataFrame:
    return _with_step(table, "_step")


def _with_step(table: pd.DataFrame, counter: str) -> pd.DataFrame:
    if "step" in table or counter not in table:
        return table
    return table.assign(step=table[counter], derived=COUNTED)

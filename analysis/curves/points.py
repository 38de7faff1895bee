"""From curves to one point per run, each with the reason why it does not count, where it does not."""

import numpy as np
import pandas as pd

from analysis.curves.columns import COLUMNS, some
from analysis.errors import AnalysisError

UNMEASURED = ("run", "row", "role", "state", "reason", "derived", "seconds")
"""Columns in which two rows may differ and still be the same measurement."""

WHOLE = 0.999
"""The part of its horizon at which a run has ended: others round the horizon, or count whole updates."""


def final_points(curves: pd.DataFrame) -> pd.DataFrame:
    """One row per run: its last evaluated step, or its last row where the held-out loss was never evaluated.

    The column `excluded` says why a run does not count in a fit, and is empty where it does: it diverged or failed, is not
    finished, has no loss, one that is not above zero, or a bad one after this point, repeats another run, is held out, or is a
    baseline.

    Raises:
        AnalysisError: losses on several evaluation sets.
    """
    curves = curves.reset_index(drop=True)
    points = last_points(curves)
    why = exclusions(curves, points)
    points["excluded"] = why["reason"].to_numpy()
    for reason, kept_out in (("baseline", points["baseline"] != ""), ("holdout", points["role"] == "holdout")):
        points.loc[kept_out & (points["excluded"] == ""), "excluded"] = reason
    return points


def last_points(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run with a usable loss, or its last row where there is none; runs in order of appearance."""
    sets = [name for name in curves["evaluation"].unique() if name]
    if len(sets) > 1:
        raise AnalysisError(
            f"the curves hold losses on {len(sets)} evaluation sets ({some(sets)}); keep one: "
            f"curves[curves['evaluation'] == {sets[0]!r}], or --where 'evaluation={sets[0]}'"
        )
    number, names = pd.factorize(curves["run"])
    order = in_order(curves, number, usable(curves["loss"]))
    last = np.searchsorted(number[order], np.arange(len(names)), side="right") - 1
    return curves.iloc[order[last]].reset_index(drop=True)


def in_order(curves: pd.DataFrame, number: np.ndarray, first: np.ndarray | None = None) -> np.ndarray:
    """Positions of the rows by run `number`, then `first`, then how far they are; a row that does not say is early."""
    keys = [np.nan_to_num(curves[name].to_numpy(), nan=-np.inf) for name in ("tokens", "step")]
    return np.lexsort((*keys, *(() if first is None else (first,)), number))


def usable(loss: pd.Series) -> np.ndarray:
    """Where a loss can be fitted: it is there, finite and above zero."""
    values = loss.to_numpy(float)
    return np.isfinite(values) & (values > 0)


def exclusions(curves: pd.DataFrame, points: pd.DataFrame) -> pd.DataFrame:
    """`kind` and `reason` for each of `last_points`, both empty where it counts."""
    rank = pd.Series(np.empty(len(curves), int), index=curves.index)
    rank.iloc[in_order(curves, pd.factorize(curves["run"])[0])] = np.arange(len(curves))
    bad = bad_losses(curves).assign(rank=rank).sort_values("rank").drop_duplicates("run", keep="last").set_index("run")
    reached = rank[usable(curves["loss"])].groupby(curves["run"]).max()
    bad = bad[bad["rank"] > reached.reindex(bad.index).fillna(-1)]
    found = [_ending(point, bad) for point in points.to_dict("records")]
    why = pd.DataFrame(found, columns=["kind", "reason"], index=points.index)
    original = repeats(points[why["kind"] == ""])
    why.loc[original.index, "kind"] = "duplicate"
    why.loc[original.index, "reason"] = "duplicate of " + original
    return why


def bad_losses(curves: pd.DataFrame) -> pd.DataFrame:
    """Rows with an impossible held-out loss, and where a run's losses stop: (run, row, words), indexed as the curves.

    A missing loss is no fault in a run that evaluates now and then. It is one after a run that evaluated every row.
    """
    number, _ = pd.factorize(curves["run"])
    order = in_order(curves, number)
    rows, number = curves.iloc[order], number[order]
    there = rows["loss"].notna()
    of_run = there.groupby(number)
    evaluated = of_run.transform("sum")
    trained = rows["train_loss"].notna().groupby(number).transform("any")
    every_row_before = (of_run.cumcount() == evaluated) & (of_run.cumsum() == evaluated)
    stops = ~there & every_row_before & (evaluated >= 2) & ~trained
    bad = rows[stops | (there & ~usable(rows["loss"]))]
    words = [f"loss is {loss:g}" if loss == loss else "no loss, after one in every row before" for loss in bad["loss"]]
    return bad[["run", "row"]].assign(words=words)


def repeats(points: pd.DataFrame) -> pd.Series:
    """The run that each exact duplicate repeats, by position: equal in all that was measured or set.

    Columns of the source that are different in every row, such as an index, do not count.
    """
    compared = [name for name in points if name not in (*UNMEASURED, "excluded")]
    compared = [name for name in compared if name in COLUMNS or points[name].map(str).duplicated().any()]
    same = alike(points, compared)
    first = points["run"].groupby(same, sort=False).transform("first")
    return first[pd.Series(same, index=points.index).duplicated()]


def alike(points: pd.DataFrame, names: list[str]) -> np.ndarray:
    """Numbers of the groups of rows that are equal in all these columns, whatever they hold: a label may be a dict."""
    codes = [pd.factorize(points[name].map(str))[0] for name in names]
    return np.unique(np.stack(codes), axis=1, return_inverse=True)[1]


def _ending(point: dict, bad: pd.DataFrame) -> tuple[str, str]:
    reason = f": {point['reason']}" if point["reason"] else ""
    state, run = point["state"], point["run"]
    if state in ("diverged", "failed"):
        return state, state + reason
    if state == "planned":
        return "unfinished", "unfinished: not begun"
    if state != "done" or point["step"] < point["steps"] or point["tokens"] < WHOLE * point["horizon"]:
        return "unfinished", f"unfinished ({state}): last evaluated at {_progress(point)}" + reason
    if np.isnan(point["loss"]):
        return "no loss", "no held-out loss"
    if not usable(pd.Series([point["loss"]]))[0]:
        return "bad loss", f"loss is {point['loss']:g}; a cross entropy is above 0"
    if run in bad.index:
        return "bad loss", f"{bad['words'][run]}, at row {bad['row'][run]}"
    return "", ""


def _progress(point: dict) -> str:
    if not np.isnan(point["steps"]):
        return f"step {point['step']:.0f} of {point['steps']:.0f}"
    return (
        f"{point['tokens']:.4g} of {point['horizon']:.4g} tokens" if not np.isnan(point["horizon"]) else f"row {point['row']}"
    )

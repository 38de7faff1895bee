"""What is odd about curves: every flag with its run, row and reason; shown, never acted on unseen.

A flag of severity `excluded` says why a run (`final_points`) or a repeated row does not count; a `note` leaves it in.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from analysis.curves.columns import PARAMETERS, some
from analysis.curves.derive import COUNTED
from analysis.curves.points import WHOLE, alike, bad_losses, exclusions, in_order, last_points

MISMATCH = 3.0
"""Compute further than this factor from 6ND in every convention of N is flagged."""
WARMUP = 0.1
"""A warmup longer than this part of the run leaves small runs undertrained (Porian et al. 2024, arXiv 2406.19146)."""
RISE = 1.1
"""A run that ends this much above its lowest loss diverged, or overfitted its repeated data."""
NEAR = {"parameters": 0.005, "tokens": 0.005, "loss": 0.001}
"""Runs that differ by less than these parts in all three are near-duplicates."""
SNAPPED = 0.05
"""Equal stated budgets whose 6ND differ by more than this part were snapped to a grid."""
LEAST = {**dict.fromkeys(COUNTED, 1e5), "tokens": 1e5, "horizon": 1e5, "unique_tokens": 1e4, "flops": 1e9}
"""The largest value of a column below these is in millions, billions or the like: no language model was that small."""
SETTINGS = ("role", "evaluation", "schedule", "seed", "horizon", "unique_tokens", "batch_tokens", "peak_learning_rate")
"""Runs that differ in one of these, or in a sweep's axis, are meant to be near each other."""


class Flag(NamedTuple):
    """One finding. `run` is "" where it is about the whole table, `row` that of the source (0: none in particular).

    `severity` is `excluded` or `note`.
    """

    run: str
    row: int
    kind: str
    severity: str
    reason: str


def flags(curves: pd.DataFrame) -> pd.DataFrame:
    """All flags of a table from `read`, what is excluded first: the fields of `Flag` as columns.

    Raises:
        AnalysisError: losses on several evaluation sets.
    """
    curves = curves.reset_index(drop=True)
    points = last_points(curves)
    excluded = list(_excluded(curves, points))
    ended = {flag.run for flag in excluded if flag.kind in ("bad loss", "no loss")}
    found = [*excluded, *(flag for flag in _bad_rows(curves) if flag.run not in ended)]
    found += [flag for check in OF_CURVES for flag in check(curves)]
    found += [flag for check in OF_POINTS for flag in check(points)]
    found.sort(key=lambda flag: flag.severity != "excluded")
    return pd.DataFrame(found, columns=Flag._fields)


def decaying(curves: pd.DataFrame) -> pd.Series:
    """Whether each row lies inside the decay of its learning rate, before the end of it.

    Such a loss belongs to no horizon: neither to the run's own nor, as on a constant rate, to that of a shorter run. Where
    `decay_tokens` is not known, a learning rate below the run's highest, after it, says so.
    """
    number, _ = pd.factorize(curves["run"])
    order = in_order(curves, number)
    rows, number = curves.iloc[order].reset_index(drop=True), number[order]
    known = rows["decay_tokens"].notna() & rows["horizon"].notna()
    inside = (rows["tokens"] > rows["horizon"] - rows["decay_tokens"]) & (rows["tokens"] < WHOLE * rows["horizon"])
    falling = rows["learning_rate"] < 0.999 * rows["learning_rate"].groupby(number).cummax()
    before_the_end = pd.Series(number).duplicated(keep="last")
    found = np.empty(len(rows), bool)
    found[order] = inside.where(known, falling & before_the_end)
    return pd.Series(found, index=curves.index)


def _excluded(curves: pd.DataFrame, points: pd.DataFrame) -> Iterator[Flag]:
    why = exclusions(curves, points)
    for run, row, kind, reason in zip(points["run"], points["row"], why["kind"], why["reason"], strict=True):
        if kind:
            yield Flag(run, row, kind, "excluded", reason)


def _bad_rows(curves: pd.DataFrame) -> Iterator[Flag]:
    bad = bad_losses(curves)
    for words, rows in bad.groupby("words", sort=False):
        yield from _of_rows(rows, "bad loss", "excluded", str(words))


def _repeated_rows(curves: pd.DataFrame) -> Iterator[Flag]:
    """Rows of one run at the same place: the same loss is a copy, another loss is two curves under one name."""
    place = ["run", "step", "tokens", "evaluation"]
    evaluated = curves[curves["loss"].notna() & (curves["step"].notna() | curves["tokens"].notna())]
    again = evaluated[evaluated.duplicated(place)]
    copies = evaluated.duplicated([*place, "loss"]).reindex(again.index)
    yield from _of_rows(again[copies], "duplicate", "excluded", "repeats an earlier row of its run")
    words = "another loss than an earlier row at the same step and tokens: two runs of one name?"
    yield from _of_rows(again[~copies], "duplicate", "note", words)


def _decay(curves: pd.DataFrame) -> Iterator[Flag]:
    words = "inside the decay of the learning rate: not comparable to the end of a run"
    yield from _of_rows(curves[decaying(curves) & curves["loss"].notna()], "mid-decay", "note", words)


def _of_rows(rows: pd.DataFrame, kind: str, severity: str, words: str) -> Iterator[Flag]:
    """One flag per run for all its rows that have the same fault; `row` is the first of them."""
    for run, group in rows.groupby("run", sort=False):
        listed = f"rows {some(group['row'].tolist())}: " if len(group) > 1 else ""
        yield Flag(str(run), int(group["row"].iloc[0]), kind, severity, listed + words)


def _rises(curves: pd.DataFrame) -> Iterator[Flag]:
    evaluated = curves[curves["loss"] > 0]
    lowest = evaluated.loc[evaluated.groupby("run", sort=False)["loss"].idxmin(), ["run", "row", "loss"]].set_index("run")
    last = last_points(curves).set_index("run")["loss"].reindex(lowest.index)
    for run, (row, loss) in lowest[last > RISE * lowest["loss"]][["row", "loss"]].iterrows():
        reason = f"ends {100 * (last[run] / loss - 1):.0f} % above its lowest loss: diverged or overfitted"
        yield Flag(str(run), int(row), "rise", "note", reason)


def _skipped(curves: pd.DataFrame) -> Iterator[Flag]:
    skipped = curves[curves["skipped_updates"] > 0]
    for run, group in skipped.groupby("run", sort=False):
        reason = f"the trainer left out updates: {group['skipped_updates'].max():.0f} at most in a row of the curve"
        yield Flag(str(run), int(group["row"].iloc[0]), "skipped updates", "note", reason)


def _derived(curves: pd.DataFrame) -> Iterator[Flag]:
    for said, group in curves[curves["derived"] != ""].groupby("derived", sort=False):
        yield Flag("", 0, "derived", "note", f"{said} ({len(group)} rows)")


def _no_horizon(curves: pd.DataFrame) -> Iterator[Flag]:
    if curves["run"].duplicated().any() and curves["horizon"].isna().all() and curves["steps"].isna().all():
        yield Flag(
            "", 0, "no horizon", "note", "neither horizon nor steps is known: the last row of a run is taken for its end"
        )


def _compute(points: pd.DataFrame) -> Iterator[Flag]:
    ratio = _over_6nd(points)
    for run, row, each in zip(points["run"], points["row"], ratio, strict=True):
        if np.isfinite(each) and not 1 / MISMATCH <= each <= MISMATCH:
            power = round(np.log10(each) / 3) * 3
            unit = f": a unit of 1e{abs(power)}?" if power and 1 / MISMATCH <= each / 10**power <= MISMATCH else ""
            yield Flag(run, row, "compute", "note", f"flops are {each:.3g} x 6ND{unit}")


def _over_6nd(points: pd.DataFrame) -> np.ndarray:
    """Stated FLOPs over 6ND, in the convention of N in which they are nearest (1, where there is none)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.stack([(points["flops"] / (6 * points[name] * points["tokens"])).to_numpy() for name in COUNTED])
        distance = np.abs(np.log(ratios))
    distance[~np.isfinite(distance)] = np.inf
    nearest = distance.argmin(0)
    return np.where(np.isfinite(distance).any(0), ratios[nearest, np.arange(len(points))], np.nan)


def _snapped(points: pd.DataFrame) -> Iterator[Flag]:
    """Stated budgets of one or two digits: those that 6ND does not give, and equal ones of runs that spent different ones.

    A table most of whose budgets have more digits is no such table: some products of round numbers are round.
    """
    points = points[points["flops"] > 0]
    rounded = points["flops"].map(lambda flops: float(f"{flops:.1e}") == flops)
    if rounded.sum() < len(points) / 2:
        return
    ratio = pd.Series(_over_6nd(points), index=points.index)
    ratio = ratio.where(~points["derived"].str.contains("flops"))
    spread = ratio.groupby(points["flops"]).transform("max") / ratio.groupby(points["flops"]).transform("min")
    collapsed = rounded & (spread > 1 + SNAPPED)
    off = rounded & ((ratio - 1).abs() > SNAPPED) & ratio.between(1 / MISMATCH, MISMATCH)
    for index in points.index[collapsed | off]:
        flops = f"{points['flops'][index]:.3g} FLOPs"
        if collapsed[index]:
            reason = f"a budget of {flops} is stated for runs whose 6ND differ by a factor {spread[index]:.3g}"
        else:
            reason = f"{flops} have two digits, and 6ND is {100 * (1 / ratio[index] - 1):+.0f} % from it"
        yield Flag(points["run"][index], points["row"][index], "snapped budget", "note", reason)
    if alone := int((rounded & ratio.isna()).sum()):
        reason = f"flops of {alone} runs have at most two digits, and tokens of their own do not tell more"
        yield Flag("", 0, "snapped budget", "note", reason)


def _warmup(points: pd.DataFrame) -> Iterator[Flag]:
    percent = (100 * points["warmup_tokens"] / points["horizon"].fillna(points["tokens"])).round()  # of whole updates
    for index in points.index[percent > 100 * WARMUP]:
        yield Flag(
            points["run"][index], points["row"][index], "warmup", "note", f"the warmup is {percent[index]:.0f} % of the run"
        )


def _units(points: pd.DataFrame) -> Iterator[Flag]:
    for name, least in LEAST.items():
        values = points[name][points[name] > 0]
        if values.empty:
            continue
        if values.max() < least:
            reason = f"{name} from {values.min():.3g} to {values.max():.3g}: thousands, millions or billions? give the unit"
            yield Flag("", 0, "units", "note", reason)
        elif name in PARAMETERS:
            ordered = np.sort(values)
            gaps = ordered[1:] / ordered[:-1]
            if len(gaps) and gaps.max() > 1e4 and ordered[gaps.argmax()] < least:
                cut = ordered[gaps.argmax()]
                for run, row, value in points.loc[values[values <= cut].index, ["run", "row", name]].itertuples(index=False):
                    yield Flag(run, row, "units", "note", f"{name} is {value:.3g} where others are {ordered[-1]:.3g}")


def _near_duplicates(points: pd.DataFrame) -> Iterator[Flag]:
    counted = next((name for name in PARAMETERS if points[name].notna().any()), "parameters")
    place = points[[counted, "tokens", "loss"]].to_numpy(float)
    good = (np.isfinite(place) & (place > 0)).all(1)
    points, place = points[good], np.log(place[good]) / list(NEAR.values())
    settings = [name for name in points if name in SETTINGS or str(name).startswith("label.")]
    group = alike(points, settings)
    for members in (np.flatnonzero(group == each) for each in np.unique(group)):
        for one, other in sorted(cKDTree(place[members]).query_pairs(1.0, p=np.inf)):
            first, second = points.iloc[members[one]], points.iloc[members[other]]
            if not (place[members[one]] == place[members[other]]).all():
                reason = (
                    f"within {100 * NEAR['tokens']:g} % of run {first['run']!r} in N and D, {100 * NEAR['loss']:g} % in loss"
                )
                yield Flag(second["run"], second["row"], "near-duplicate", "note", reason)


Check = Callable[[pd.DataFrame], Iterator[Flag]]
OF_CURVES: tuple[Check, ...] = (_repeated_rows, _decay, _rises, _skipped, _derived, _no_horizon)
OF_POINTS: tuple[Check, ...] = (_compute, _snapped, _warmup, _units, _near_duplicates)

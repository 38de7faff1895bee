"""Checks of the points alone: what was measured, whether it is comparable, and how far it reaches."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis.checks.finding import Finding, PointsCheck, counted
from analysis.curves.quality import NEAR, SNAPPED, WARMUP

HORIZON = 0.01  # relative distance of the tokens seen from those that the schedule was made for
BUDGET = 0.05  # runs within this part of each other's 6ND share a budget
SIZES_PER_BUDGET = 3
MISMATCH = 1.3  # factor between stated FLOPs and 6ND from which the two conventions tell different stories
CONVENTIONS = ("parameters", "non_embedding_parameters", "non_embedding_and_head_parameters", "active_parameters")


def left_out(points: pd.DataFrame) -> Iterator[Finding]:
    """Runs that do not count: never unseen."""
    if "excluded" not in points:
        return
    lost = int((~points["excluded"].fillna("").isin(["", "holdout", "baseline"])).sum())
    if lost:
        text = f"{lost} of {len(points)} runs are not in the fit; the table of runs says why."
        yield Finding("left_out", "note", text, lost, "Make sure that what is left out was not chosen by its loss.")


def horizons(points: pd.DataFrame) -> Iterator[Finding]:
    """Points whose tokens are not the horizon their learning rate was scheduled for (Hoffmann et al. 2022, section 2)."""
    rows = counted(points)
    if not {"horizon", "tokens"} <= set(rows):
        return
    off = rows["horizon"].notna() & ((rows["tokens"] / rows["horizon"] - 1).abs() > HORIZON)
    if off.any():
        share = float(off.mean())
        text = f"{int(off.sum())} of {len(rows)} fitted points are not at the horizon their schedule was made for."
        advice = "Fit the ends of runs, or run each token count with a schedule of its own."
        yield Finding("horizons", "serious", text, share, advice, "loss_curves")


def mid_run(points: pd.DataFrame) -> Iterator[Finding]:
    """Several points of one run: not independent, and not comparable where its learning rate decays."""
    rows = counted(points)
    if "run" not in rows or not rows["run"].duplicated().any():
        return
    several = rows[rows["run"].duplicated(keep=False)]
    decays = False
    if "learning_rate" in rows:
        rates = several.groupby("run")["learning_rate"]
        decays = bool((rates.min() < 0.99 * rates.max()).any())
    if "schedule" in rows:
        decays |= bool((~several["schedule"].isin(["", "constant"])).any())
    runs = several["run"].nunique()
    text = f"{len(several)} fitted points are {runs} runs seen at several steps" + (
        ", under a learning rate that decays: mid-run losses belong to no horizon." if decays else "."
    )
    advice = "Fit one point per run, or resample whole runs for the intervals: points along a run share their noise."
    yield Finding("mid_run", "serious" if decays else "warning", text, len(several) / len(rows), advice, "loss_curves")


def warmup(points: pd.DataFrame) -> Iterator[Finding]:
    """Runs that spend more than a tenth of their tokens warming up."""
    rows = counted(points)
    if not {"warmup_tokens", "tokens"} <= set(rows):
        return
    horizon = rows["horizon"].fillna(rows["tokens"]) if "horizon" in rows else rows["tokens"]
    share = (rows["warmup_tokens"] / horizon).round(2)  # of whole updates
    if (share > WARMUP).any():
        text = f"{int((share > WARMUP).sum())} runs warm up for more than a tenth of their tokens, up to {share.max():.0%}."
        advice = "Scale the warmup with the run: long ones handicap the small runs and bend the exponents."
        yield Finding("warmup", "warning", text, float(share.max()), advice)


def duplicates(points: pd.DataFrame) -> Iterator[Finding]:
    """Near-copies of a point under another name, which digitised figures and merged tables hold."""
    rows = counted(points)
    columns = [name for name in NEAR if name in rows]
    if len(columns) < 2 or "loss" not in columns or len(rows) < 2:
        return
    settings = [name for name in ("seed", "unique_tokens") if name in rows and rows[name].notna().any()]
    scaled = np.log(rows[columns].to_numpy(float)) / [NEAR[name] for name in columns]
    near = (np.abs(scaled[:, None] - scaled[None]) < 1).all(-1)
    for name in settings:  # runs that differ in these are meant to be near each other
        near &= rows[name].to_numpy()[:, None] == rows[name].to_numpy()[None]
    copies = int(np.tril(near, -1).any(1).sum())
    if copies:
        text = f"{copies} of {len(rows)} fitted points are within a rounding of another: counted twice, they narrow intervals."
        yield Finding("duplicates", "warning", text, copies / len(rows), "Leave the copies out, or give them their seeds.")


def snapped_budgets(points: pd.DataFrame) -> Iterator[Finding]:
    """One stated budget for runs that spent different compute."""
    rows = counted(points)
    if not {"flops", "parameters", "tokens"} <= set(rows):
        return
    spent = rows["parameters"] * rows["tokens"]
    groups = spent[rows["flops"] > 0].groupby(rows["flops"])
    spread = float((groups.max() / groups.min()).max()) if len(groups) else 1.0
    if spread > 1 + SNAPPED:
        text = f"Runs of the same stated FLOPs differ by up to a factor {spread:.3g} in parameters x tokens."
        yield Finding("snapped_budgets", "warning", text, spread, "Group by 6ND, or read compute exactly.")


def compute_convention(points: pd.DataFrame) -> Iterator[Finding]:
    """Stated FLOPs that no convention of N turns into 6ND at one ratio: exponents in C then depend on who counts."""
    rows = counted(points)
    present = [name for name in CONVENTIONS if name in rows and rows[name].notna().all()]
    if not {"flops", "tokens"} <= set(rows) or not present or not (rows["flops"] > 0).all() or len(rows) < 2:
        return
    ratios = {name: rows["flops"] / (6 * rows[name] * rows["tokens"]) for name in present}
    spread = {name: float(ratio.max() / ratio.min()) for name, ratio in ratios.items()}
    name = min(spread, key=lambda each: spread[each])
    if spread[name] > MISMATCH:
        text = (
            f"Stated FLOPs over 6ND vary by a factor {spread[name]:.3g} over the runs, with N as {name}, which varies least: "
            "exponents of compute depend on the convention."
        )
        yield Finding("compute_convention", "warning", text, spread[name], "Name the convention with every exponent.")


def budget_edges(points: pd.DataFrame) -> Iterator[Finding]:
    """IsoFLOP budgets whose lowest loss is at their smallest or largest model: no minimum was seen."""
    rows = counted(points)
    if not {"parameters", "tokens", "loss"} <= set(rows) or rows[["parameters", "tokens", "loss"]].isna().any(axis=None):
        return
    rows = rows.assign(_log=np.log(6 * rows["parameters"] * rows["tokens"])).sort_values("_log")
    budget = (rows["_log"].diff() > np.log1p(BUDGET)).cumsum()
    edges, seen = [], 0
    for _, group in rows.groupby(budget):
        losses = group.groupby("parameters")["loss"].min().to_numpy()
        if len(losses) < SIZES_PER_BUDGET or np.ptp(group["_log"]) > 2 * BUDGET:
            continue
        seen += 1
        if losses.argmin() in (0, len(losses) - 1):
            edges.append(f"{np.exp(group['_log'].mean()):.2g}")
    if edges:
        listed = ", ".join(edges[:4]) + (f" and {len(edges) - 4} more" if len(edges) > 4 else "")
        text = f"{len(edges)} of {seen} budgets ({listed} FLOPs) have their lowest loss at their smallest or largest model."
        advice = "Add model sizes beyond that edge; leave such a budget out of the isoFLOP method."
        yield Finding("budget_edges", "warning", text, len(edges) / seen, advice, "fitted_losses")


CHECKS: tuple[PointsCheck, ...] = (
    left_out,
    horizons,
    mid_run,
    warmup,
    duplicates,
    snapped_budgets,
    compute_convention,
    budget_edges,
)

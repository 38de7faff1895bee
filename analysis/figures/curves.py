"""Figures of loss curves."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.conventions import SIMPLE, Convention
from analysis.errors import AnalysisError
from analysis.figures.axes import HOLDOUT, MEASURED, MUTED, SIZES, log_axis, new_axes, size_bar, size_norm, source_line, styled
from analysis.frontier import Frontier
from analysis.results import Fit


@styled()
def loss_curves(
    curves: pd.DataFrame, convention: Convention | None = None, envelope: Frontier | None = None, ax: Axes | None = None
) -> Axes:
    """Held-out loss against compute, a line per run, coloured by model size; held-out runs dashed.

    Args:
        curves: from `curves.read`.
        convention: of N and C.
        envelope: approach 1 in the same convention, see `envelope.fit_envelope`; drawn where it counts.
        ax: where to draw.
    """
    convention = convention or Convention()
    ax = ax or new_axes()
    simple = convention.flops == SIMPLE
    compute = 6 * curves[convention.parameters] * curves["tokens"] if simple else curves[convention.flops]
    rows = curves.assign(c=compute)
    rows = rows[(rows["loss"] > 0) & np.isfinite(rows["loss"]) & (rows["c"] > 0)]
    norm = size_norm(rows[convention.parameters])
    single = not rows["run"].duplicated().any()
    for _, run in rows.groupby("run", sort=False):
        held_out = run["role"].iloc[0] == "holdout"
        colour = HOLDOUT if held_out else SIZES(norm(run[convention.parameters].iloc[0]))
        ax.plot(run["c"], run["loss"], "--" if held_out else "-", color=colour, lw=1.2)
        ax.plot(run["c"].iloc[-1:], run["loss"].iloc[-1:], "o", color=colour, ms=4)
    if (rows["role"] == "holdout").any():
        ax.plot([], [], "--o", color=HOLDOUT, ms=4, label="held-out run")
    if envelope is not None:
        line: dict[str, Any] = {"color": MEASURED, "lw": 2.2, "alpha": 0.75, "zorder": 4}
        ax.plot(envelope.optima["budget"], envelope.optima["loss"], label="envelope (approach 1)", **line)
    source_line(ax, rows)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right")
    if rows["c"].max() < 1.01 * rows["c"].min():  # one budget
        ax.set_xlim(rows["c"].min() / 2, rows["c"].max() * 2)
    counted = "6 N D" if simple else convention.flops
    ax.set(xlabel=f"training compute, {counted} (FLOPs)", ylabel="held-out loss (nats per token)")
    ax.set_title("Final losses" if single else "Loss curves")
    log_axis(ax, "x")
    log_axis(ax, "y")
    size_bar(ax, norm, convention.parameters)
    return ax


@styled()
def collapsed_curves(fit: Fit, curves: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Reducible loss against tokens, each over its value at the end of the run.

    The loss above the fitted E over its final value, against tokens over the run's horizon: curves of compute-optimal
    runs of one recipe fall onto one line (Qiu et al. 2025, arXiv 2507.02119); one that leaves the others was trained
    differently, or was ill.

    Raises:
        AnalysisError: a law without an irreducible loss, or no run with more than its final loss.
    """
    if "E" not in fit.estimates:
        raise AnalysisError(f"the {fit.law} law has no irreducible loss E to measure curves from")
    ax = ax or new_axes()
    ends = curves[curves["run"].isin(fit.origin.runs) & curves["loss"].notna()].sort_values(["run", "step"])
    ends = ends[ends.groupby("run")["loss"].transform("size") > 1]
    if ends.empty:
        raise AnalysisError("learning curves can only be collapsed where runs have losses before their last one")
    norm = size_norm(ends[fit.parameters_column])
    for _, run in ends.groupby("run", sort=False):
        reducible = run["loss"] - fit.estimates["E"].value
        colour = SIZES(norm(run[fit.parameters_column].iloc[0]))
        ax.plot(run["tokens"] / run["tokens"].iloc[-1], reducible / reducible.iloc[-1], "-o", color=colour, lw=1.2, ms=3)
    ax.axhline(1, color=MUTED, lw=0.8)
    ax.set(xlabel="share of the run's tokens", ylabel="reducible loss over its final value", title="Collapsed learning curves")
    size_bar(ax, norm, fit.parameters_column)
    return ax

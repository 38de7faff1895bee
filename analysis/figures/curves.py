"""Figures of loss curves."""

import pandas as pd
from matplotlib.axes import Axes

from analysis.errors import AnalysisError
from analysis.figures.axes import HOLDOUT, MEASURED, MUTED, SIZES, log_axis, new_axes, size_bar, size_norm, styled
from analysis.results import Fit


@styled()
def loss_curves(
    curves: pd.DataFrame, parameters: str = "parameters", envelope: pd.DataFrame | None = None, ax: Axes | None = None
) -> Axes:
    """Held-out loss against FLOPs, a line per run, coloured by model size; held-out runs dashed.

    `envelope` has the columns `budget` and `loss`: the lowest loss that any run reached with so much compute.
    """
    ax = ax or new_axes()
    rows = curves[curves["loss"].notna() & (curves["flops"] > 0)]
    norm = size_norm(rows[parameters])
    for _, run in rows.groupby("run", sort=False):
        held_out = run["role"].iloc[0] == "holdout"
        colour = HOLDOUT if held_out else SIZES(norm(run[parameters].iloc[0]))
        ax.plot(run["flops"], run["loss"], "--" if held_out else "-", color=colour, lw=1.2)
        ax.plot(run["flops"].iloc[-1:], run["loss"].iloc[-1:], "o", color=colour, ms=4)
    if (rows["role"] == "holdout").any():
        ax.plot([], [], "--o", color=HOLDOUT, ms=4, label="held-out run")
    if envelope is not None:
        ax.plot(envelope["budget"], envelope["loss"], color=MEASURED, lw=2, alpha=0.7, label="envelope")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="upper right")
    ax.set(xlabel="training compute (FLOPs)", ylabel="held-out loss (nats per token)", title="Loss curves")
    log_axis(ax, "x")
    log_axis(ax, "y")
    size_bar(ax, norm, parameters)
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

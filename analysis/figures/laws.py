"""Figures of a fitted law beside its data."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from analysis.allocation import compute_optimal
from analysis.figures.axes import (
    LOSSES,
    MUTED,
    PARAMETERS,
    SIZES,
    log_axis,
    new_axes,
    size_bar,
    size_norm,
    source_line,
    styled,
)
from analysis.results import Fit


@styled()
def fitted_losses(fit: Fit, points: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Final losses against training tokens, a fitted line per model size (at most 8 of them, evenly spaced)."""
    ax = ax or new_axes()
    used = points[points["run"].isin(fit.origin.runs)]
    held_out = points[points["excluded"] == "holdout"]
    norm = size_norm(pd.concat([used, held_out])[fit.parameters_column])
    sizes = np.sort(pd.concat([used, held_out])[fit.parameters_column].unique())
    shown = sizes[np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), 8)).round().astype(int))]
    tokens = np.geomspace(points["tokens"].min() / 1.2, points["tokens"].max() * 1.2, 100)
    for size in shown:
        ax.plot(tokens, fit.loss(np.full_like(tokens, size), tokens), color=SIZES(norm(size)), lw=1.3)
    for table, marker, label in ((used, "o", "measured, fitted"), (held_out, "*", "measured, held out")):
        if len(table):
            colours = SIZES(norm(table[fit.parameters_column]))
            ax.scatter(table["tokens"], table["loss"], c=colours, marker=marker, s=30 if marker == "o" else 130, zorder=3)
            ax.scatter([], [], c=MUTED, marker=marker, s=30 if marker == "o" else 130, label=label)
    ax.plot([], [], color=MUTED, label="fitted law")
    source_line(ax, used)
    ax.legend(loc="upper right")
    ax.set(xlabel="training tokens", ylabel="final held-out loss (nats per token)", title="The fitted law and its data")
    log_axis(ax, "x")
    log_axis(ax, "y")
    size_bar(ax, norm, fit.parameters_column)
    return ax


@styled()
def surface(fit: Fit, points: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The law's loss over parameters and tokens, the runs filled with their measured loss, the compute-optimal line."""
    ax = ax or new_axes()
    column = fit.parameters_column
    used = points[points["run"].isin(fit.origin.runs)]
    held_out = points[points["excluded"] == "holdout"]
    both = pd.concat([used, held_out])
    span = {name: (both[name].min() / 1.5, both[name].max() * 1.5) for name in (column, "tokens")}
    grid_n, grid_d = np.meshgrid(np.geomspace(*span[column], 120), np.geomspace(*span["tokens"], 120))
    loss = fit.loss(grid_n, grid_d)
    levels = MaxNLocator(14).tick_values(loss.min(), loss.max())
    norm = Normalize(levels[0], levels[-1])
    filled = ax.contourf(grid_n, grid_d, loss, levels=levels, norm=norm, cmap=LOSSES)
    best = compute_optimal(fit, 6 * np.geomspace(span[column][0] * span["tokens"][0], span[column][1] * span["tokens"][1]))
    ax.plot(best["parameters"], best["tokens"], "--", color="white")
    look: dict[str, Any] = {"edgecolors": "white", "zorder": 3}
    for table, marker, size, label in ((used, "o", 45, "fitted run"), (held_out, "*", 170, "held-out run")):
        if len(table):
            ax.scatter(table[column], table["tokens"], s=size, marker=marker, c=table["loss"], cmap=LOSSES, norm=norm, **look)
            ax.scatter([], [], s=size, marker=marker, c=MUTED, label=label)
    ax.plot([], [], "--", color=MUTED, label="compute-optimal")
    ax.set(xlim=span[column], ylim=span["tokens"], xlabel=PARAMETERS.get(column, column), ylabel="training tokens")
    ax.set_title("Fitted and measured loss")
    log_axis(ax, "x")
    log_axis(ax, "y")
    ax.grid(visible=False)
    bar = ax.figure.colorbar(filled, ax=ax, label="loss (nats per token)", pad=0.02)
    bar.outline.set_visible(False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3, handletextpad=0.4)
    return ax


@styled()
def residuals(fit: Fit, points: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Relative residuals of the fitted runs against their compute, with the fitted noise as a band."""
    ax = ax or new_axes()
    used = points[points["run"].isin(fit.origin.runs)]
    size, tokens = used[fit.parameters_column].to_numpy(), used["tokens"].to_numpy()
    norm = size_norm(used[fit.parameters_column])
    percent = 100 * (np.log(used["loss"].to_numpy()) - np.log(fit.loss(size, tokens)))
    noise = 100 * fit.noise.value
    ax.axhspan(-noise, noise, color="#eeeeee", lw=0, label=f"±1 standard deviation ({noise:.2g} %)")
    ax.axhline(0, color=MUTED, lw=1)
    ax.scatter(6 * size * tokens, percent, c=SIZES(norm(size)), s=30, zorder=3)
    highest = 1.35 * max(np.abs(percent).max(), noise)
    ax.set(xlabel="6 N D (FLOPs)", ylabel="measured over fitted loss (%)", title="Residuals", ylim=(-highest, highest))
    ax.legend(loc="upper right")
    log_axis(ax, "x")
    size_bar(ax, norm, fit.parameters_column)
    return ax

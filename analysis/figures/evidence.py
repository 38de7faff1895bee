"""Figures of how sure a fit is."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.axes import HOLDOUT, MUTED, PREDICTED, new_axes, short, styled
from analysis.results import Fit


@styled()
def forecasts(comparison: pd.DataFrame, level: float, ax: Axes | None = None) -> Axes:
    """Forecast losses with their intervals and the measured ones, from `results.compare_forecast`."""
    ax = ax or new_axes(height=1.7 + 0.45 * len(comparison))
    rows = np.arange(len(comparison))[::-1]
    ax.hlines(rows, comparison["low"], comparison["high"], color=PREDICTED, lw=7, alpha=0.3, label=f"{level:.0%} interval")
    ax.plot(comparison["loss"], rows, "|", color=PREDICTED, ms=14, mew=2.5, label="forecast")
    ax.plot(comparison["measured"], rows, "D", color=HOLDOUT, ms=6, label="measured")
    names = [f"{short(n)} parameters\n{short(d)} tokens" for n, d in comparison[["parameters", "tokens"]].to_numpy(float)]
    ax.set_yticks(rows, names)
    ax.set_ylim(-0.7, len(comparison) - 0.3)
    ax.margins(x=0.15)
    ax.grid(visible=False, axis="y")
    ax.set(xlabel="held-out loss (nats per token)", title="Forecast and measurement")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


@styled()
def parameter_pairs(fit: Fit) -> np.ndarray:
    """The draws of every pair of the law's coordinates, and of each alone with its interval; returns the Axes (P, P).

    A coefficient stands as its logarithm. A narrow diagonal means that the data determine a combination of the two and
    neither of them alone.
    """
    law, size = fit.form, len(fit.theta)
    figure = Figure(figsize=(1.5 * size + 1, 1.5 * size), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(size, size, squeeze=False)
    names = [f"log {each.name}" if each.kind in ("coefficient", "scale") else each.name for each in law.parameters]
    low, high = np.quantile(fit.draws, [(1 - fit.level) / 2, (1 + fit.level) / 2], axis=0)
    for row in range(size):
        for column in range(size):
            ax = grid[row, column]
            if column > row:
                ax.set_axis_off()
                continue
            if column == row:
                ax.hist(fit.draws[:, row], bins=40, color=PREDICTED, alpha=0.35)
                ax.axvspan(low[row], high[row], color=PREDICTED, alpha=0.12, lw=0)
                ax.axvline(fit.theta[row], color=HOLDOUT, lw=1.2)
                ax.set_yticks([])
            else:
                ax.plot(fit.draws[:, column], fit.draws[:, row], ".", color=PREDICTED, ms=2, alpha=0.25, rasterized=True)
                ax.plot(fit.theta[column], fit.theta[row], "+", color=HOLDOUT, ms=9, mew=1.6)
                ax.yaxis.set_major_locator(MaxNLocator(3))
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.grid(visible=False)
            ax.tick_params(labelsize=8, labelbottom=row == size - 1, labelleft=column == 0 and row > 0)
            if row == size - 1:
                ax.set_xlabel(names[column])
            if column == 0 and row > 0:
                ax.set_ylabel(names[row])
    figure.suptitle(f"Draws of the {law.name} law's coordinates, {fit.level:.0%} intervals shaded", x=0.01, ha="left")
    return grid


@styled()
def coverage(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How often intervals held the truth in simulations, against what they promise; a mark per method and size.

    Args:
        table: columns `method`, `points`, `nominal`, `coverage` (both shares) and `simulations`.
        ax: where to draw.
    """
    ax = ax or new_axes()
    sizes, methods = sorted(table["points"].unique()), list(dict.fromkeys(table["method"]))
    places = {size: place for place, size in enumerate(sizes)}
    nominals = sorted(table["nominal"].unique())
    for nominal in nominals:
        error = 1.64 * np.sqrt(nominal * (1 - nominal) / table["simulations"].min())
        ax.axhspan(100 * (nominal - error), 100 * (nominal + error), color="#eeeeee", lw=0)
        ax.axhline(100 * nominal, color=MUTED, lw=1)
    for number, (method, of_method) in enumerate(table.groupby("method", sort=False)):
        offset = 0.7 * ((number + 0.5) / len(methods) - 0.5)
        for nominal, rows in of_method.groupby("nominal"):
            at = [places[size] + offset for size in rows["points"]]
            fill = f"C{number}" if nominal == nominals[0] else "white"
            marker = "os^Dv*Pp"[number % 8]
            ax.plot(at, 100 * rows["coverage"], marker, color=f"C{number}", mfc=fill, ms=5.5, mew=1.4)
        ax.plot([], [], marker, color=f"C{number}", label=method)
    for nominal, fill in zip(nominals, (MUTED, "white"), strict=False):
        ax.plot([], [], "o", color=MUTED, mfc=fill, label=f"nominal {nominal:.0%}")
    ax.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    ax.grid(visible=False, axis="x")
    ax.set(xlabel="points fitted", ylabel="intervals that hold the truth (%)", title="Coverage (grey: what chance explains)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax

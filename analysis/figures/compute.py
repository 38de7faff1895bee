"""Figures of the compute-optimal frontier: isoFLOP valleys, and where the procedures see N* and D*."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure

from analysis.allocation import compute_optimal
from analysis.conventions import SIMPLE
from analysis.figures.axes import MEASURED, MUTED, PARAMETERS, SIZES, log_axis, new_axes, styled
from analysis.frontier import Frontier
from analysis.isoflop import DEGREES, Curve, group_budgets
from analysis.results import Fit

REASONS = 4  # of refused budgets that are spelt out
GREY = "#b5b5b5"
WORDS = {"parameters": "N*", "tokens": "D*"}


@styled()
def isoflops(frontier: Frontier, points: pd.DataFrame, curve: Curve = "cubic", ax: Axes | None = None) -> Axes:
    """Loss against parameters at each budget of approach 2, with the minimum and its interval; refused budgets in grey.

    Args:
        frontier: of `isoflop.fit_isoflop`.
        points: the final points that it was made of.
        curve: what it fitted, and is drawn; `akima` joins the points.
        ax: where to draw.
    """
    ax = ax or new_axes(height=4.6)
    read = frontier.convention.read(points)
    groups = [group for _, group in read.groupby(group_budgets(read["c"].to_numpy()))]
    norm = LogNorm(read["c"].min() * 0.999, read["c"].max() * 1.001)
    used = frontier.optima["budget"].to_numpy()
    for group in groups:
        budget = float(np.exp(np.log(group["c"]).mean()))
        kept = bool(np.isclose(used, budget, rtol=1e-6).any())
        colour, above = (SIZES(norm(budget)), 3) if kept else (GREY, 2)
        cells = np.log(group.assign(log=group["loss"])[["n", "log"]]).groupby("n", as_index=False)["log"].mean()
        ax.plot(group["n"], group["loss"], "o", color=colour, ms=4, zorder=above)
        if kept and curve in DEGREES:
            middle = cells["n"].mean()
            places = np.linspace(cells["n"].min(), cells["n"].max(), 100)
            heights = np.polyval(np.polyfit(cells["n"] - middle, cells["log"], DEGREES[curve]), places - middle)
            ax.plot(np.exp(places), np.exp(heights), color=colour, lw=1.3, zorder=above)
        elif len(cells) > 2:
            ax.plot(np.exp(cells["n"]), np.exp(cells["log"]), color=colour, lw=0.8, zorder=above)
    best = frontier.optima
    ends = [best["parameters"] - best["parameters_low"], best["parameters_high"] - best["parameters"]]
    label = f"minimum, {frontier.level:.0%} interval"
    look: dict[str, Any] = {"color": MEASURED, "ms": 5, "zorder": 5, "capsize": 2, "lw": 1.2}
    ax.errorbar(best["parameters"], best["loss"], xerr=ends, fmt="D", label=label, **look)
    if frontier.excluded:
        ax.plot([], [], "o-", color=GREY, ms=4, lw=0.8, label="refused budget")
        reasons: dict[str, Any] = {"transform": ax.transAxes, "fontsize": 8, "va": "top", "color": MUTED}
        ax.text(0, -0.28, _refusals(frontier.excluded), **reasons)
    column = frontier.convention.parameters
    ax.set(xlabel=PARAMETERS.get(column, column), ylabel="final loss (nats per token)", title="IsoFLOP curves")
    log_axis(ax, "x")
    log_axis(ax, "y")
    _budget_bar(ax, norm, frontier)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return ax


def _refusals(excluded: Mapping[float, str]) -> str:
    """The reasons of refused budgets, alike ones together."""
    reasons: dict[str, list[str]] = {}
    for budget, reason in excluded.items():
        reasons.setdefault(reason, []).append(f"{budget:.2g}")
    lines = [f"{', '.join(budgets[:4])}{' …' * (len(budgets) > 4)} FLOPs: {reason}" for reason, budgets in reasons.items()]
    more = [f"and {len(lines) - REASONS} more reasons"] if len(lines) > REASONS else []
    return "\n".join(fill(line, 92) for line in ["Refused:", *lines[:REASONS], *more])


def _budget_bar(ax: Axes, norm: LogNorm, frontier: Frontier) -> None:
    """A colour bar of budgets."""
    counted = frontier.convention.flops
    bar = ax.figure.colorbar(ScalarMappable(norm, SIZES), ax=ax, label=f"budget C = {counted} (FLOPs)", pad=0.02)
    bar.outline.set_visible(False)


@styled()
def frontiers(found: Mapping[str, Frontier | Fit], beyond: float = 10.0) -> np.ndarray:
    """N* and D* against compute by several procedures, with their bands; returns the Axes (2,).

    Args:
        found: results by name, all in one convention of N: fits of a law of parameters and tokens, or frontiers, whose optima
            are drawn as points.
        beyond: how many times the largest budget to draw to; what lies beyond it is shaded.
    """
    figure = Figure(figsize=(9.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, 2)
    ranges = [_range(each) for each in found.values()]
    low, high = min(each[0] for each in ranges), max(each[1] for each in ranges)
    budgets = np.geomspace(low, beyond * high, 60)
    for number, (name, each) in enumerate(found.items()):
        best = each.predict(budgets) if isinstance(each, Frontier) else compute_optimal(each, budgets)
        colour = to_hex(f"C{number}")  # of the style now: as "C0" it would be of whoever saves the figure
        for ax, quantity in zip(grid, WORDS, strict=True):
            ax.plot(budgets, best[quantity], color=colour, label=labelled(name, each), ls=("-", "--", "-.", ":")[number % 4])
            ax.fill_between(budgets, best[f"{quantity}_low"], best[f"{quantity}_high"], color=colour, alpha=0.18, lw=0)
            if isinstance(each, Frontier):
                ax.plot(each.optima["budget"], each.optima[quantity], "o", color=colour, ms=3, alpha=0.6, mew=0)
    column, level = _convention(next(iter(found.values())))
    names = (PARAMETERS.get(column, column), "training tokens")
    for ax, symbol, words in zip(grid, WORDS.values(), names, strict=True):
        shaded = ax.axvspan(high, beyond * high, facecolor="#f3f3f3", edgecolor="#cccccc", lw=0.5, zorder=0)
        ax.set(xlabel="compute C (FLOPs)", ylabel=f"{symbol}: {words}", xlim=(low, beyond * high))
        log_axis(ax, "x")
        log_axis(ax, "y")
    grid[0].set_title(f"Compute-optimal sizes, {level:.0%} bands")
    grid[0].legend(loc="upper left")
    grid[1].legend([shaded], ["beyond the data"], loc="upper left")
    return grid


def _range(found: Frontier | Fit) -> tuple[float, float]:
    if isinstance(found, Frontier):
        return float(found.optima["budget"].min()), float(found.optima["budget"].max())
    return found.origin.ranges["flops"]


def labelled(name: str, found: Frontier | Fit) -> str:
    """The name, with what C is where that is not 6ND."""
    if isinstance(found, Frontier) and found.convention.flops != SIMPLE:
        return f"{name}, C = {found.convention.flops}"
    return name


def _convention(found: Frontier | Fit) -> tuple[str, float]:
    return (found.convention.parameters if isinstance(found, Frontier) else found.parameters_column), found.level

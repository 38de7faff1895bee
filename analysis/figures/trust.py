"""Figures that test a fit: the likelihood of each parameter, and predictions of points it had not seen."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from scipy import special

from analysis.figures.axes import HOLDOUT, MUTED, PREDICTED, log_axis, new_axes, short, styled
from analysis.results import Fit

COLUMNS = 3
BANDS = 8


@styled()
def profiles(fit: Fit, table: pd.DataFrame) -> np.ndarray:
    """The profile likelihood of each parameter: the level of confidence at which a value is refused; returns the Axes.

    The likelihood is Gaussian. Where the fit, with a penalty that counts outliers for less, is far from its lowest point,
    outliers decide.

    A valley that is not symmetric means that a standard error misleads; one that never closes on a side, that the data set no
    bound there.

    Args:
        fit: of the law.
        table: of `study.profile_table`.
    """
    names = list(dict.fromkeys(table["parameter"]))
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(9.0, 2.5 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for ax, name in zip(grid, names, strict=False):
        if name in fit.solver.at_bound:
            ax.text(0.5, 0.5, f"{name} ended at the\nbound of the search", transform=ax.transAxes, ha="center", color=MUTED)
            ax.set_axis_off()
            continue
        of_name = table[table["parameter"] == name].sort_values("level")
        values = [*of_name["low"][::-1], *of_name["high"]]
        levels = [*of_name["level"][::-1], *of_name["level"]]
        drawn = np.isfinite(values)
        ax.plot(np.array(values)[drawn], 100 * np.array(levels)[drawn], "-o", color=PREDICTED, ms=3)
        ax.plot([fit.estimates[name].value], [0], "D", color=HOLDOUT, ms=5, clip_on=False, zorder=4)
        for end, place, where in (("low", 0.03, "left"), ("high", 0.97, "right")):
            if not np.isfinite(of_name[end]).any():
                ax.text(place, 0.5, "no bound", transform=ax.transAxes, ha=where, color=MUTED, fontsize=9)
        ax.axhline(100 * fit.level, color=MUTED, lw=0.8, ls="--")
        unit = fit.form.parameters[fit.form.names.index(name)].unit
        ax.set(xlabel=f"{name} ({unit})" if len(unit) < 24 else name, ylim=(0, 101))
        ax.xaxis.set_major_locator(MaxNLocator(4))
        if max(abs(end) for end in ax.get_xlim()) >= 1e4:
            ax.xaxis.set_major_formatter(FuncFormatter(short))
    for ax in grid[len(names) :]:
        ax.set_axis_off()
    for ax in grid[: len(names) : COLUMNS]:
        ax.set_ylabel("refused at (%)")
    figure.suptitle(f"Profile likelihoods, Gaussian ({fit.level:.0%} dashed; diamond: the fit)", x=0.01, ha="left")
    return grid[: len(names)]


@styled()
def rollouts(fit: Fit, table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Errors of predictions beyond each cut-off, against the distance beyond it, with the interval they were given.

    Args:
        fit: whose law error and level make the interval.
        table: of `selection.roll_out`, with draws.
        ax: where to draw.
    """
    ax = ax or new_axes()
    table = table.sort_values("distance")
    law_error = special.ndtri((1 + fit.level) / 2) * fit.extrapolation.law_error * table["distance"]
    allowed = np.hypot((table["high"] - table["low"]) / 2, law_error)
    inside = table["error"].abs() <= allowed
    times = np.exp(table["distance"])
    parts = [part for part in np.array_split(np.arange(len(table)), min(BANDS, len(table))) if len(part)]
    middle = [float(np.exp(table["distance"].iloc[part].mean())) for part in parts]
    width = np.array([100 * float(allowed.iloc[part].mean()) for part in parts])
    ax.fill_between(middle, -width, width, color=PREDICTED, alpha=0.15, lw=0, label=f"{fit.level:.0%} interval, mean width")
    ax.axhline(0, color=MUTED, lw=1)
    for which, colour, marker, words in (
        (inside, PREDICTED, "o", "inside its own"),
        (~inside, HOLDOUT, "^", "outside its own"),
    ):
        share = f"{words} ({which.mean():.0%})"
        ax.plot(times[which], 100 * table["error"][which], marker, color=colour, ms=4, alpha=0.75, mew=0, label=share)
    size = fit.form.size[0]
    ax.set(xlabel=f"{size} over the cut-off", ylabel="measured over predicted loss (%)", title="Predictions beyond cut-offs")
    log_axis(ax, "x")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, columnspacing=1.2)
    return ax

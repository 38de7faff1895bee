"""Figure of equal losses: what the parametric surface asks in parameters and tokens for the same result."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.allocation import compute_optimal
from analysis.errors import AnalysisError
from analysis.figures.axes import LOSSES, MUTED, PARAMETERS, log_axis, new_axes, styled
from analysis.results import Fit
from analysis.trade_offs import iso_loss

CONTOURS = 5
PLACES = 60


@styled()
def iso_losses(fit: Fit, points: pd.DataFrame, losses: list[float] | None = None, ax: Axes | None = None) -> Axes:
    """Tokens against parameters along contours of the fitted loss, with the interval of each, the runs and the optimum.

    Args:
        fit: of a law of parameters and tokens.
        points: final points, for the runs.
        losses: of the contours, nats per token; evenly spaced along the compute-optimal line where absent.
        ax: where to draw.
    """
    ax = ax or new_axes(height=4.6)
    column = fit.parameters_column
    used = points[points["run"].isin(fit.origin.runs)]
    low, high = (used[column].min() / 2, used[column].max() * 2), (used["tokens"].min() / 2, used["tokens"].max() * 2)
    best = compute_optimal(fit, 6 * np.geomspace(low[0] * high[0], low[1] * high[1], 60))
    if losses is None:
        inside = best["parameters"].between(*low) & best["tokens"].between(*high)
        ends = best["loss"][inside] if inside.any() else best["loss"]
        losses = np.geomspace(ends.iloc[0], ends.iloc[-1], CONTOURS + 2)[1:-1].tolist()
    colours = mpl.colormaps[LOSSES](np.linspace(0.25, 1.0, len(losses)))
    for loss, colour in zip(losses, colours, strict=True):
        try:
            line = iso_loss(fit, loss, np.geomspace(*low, PLACES))
        except AnalysisError:
            continue  # no size within the picture reaches it
        ax.fill_between(
            line["parameters"], line["tokens_low"], np.minimum(line["tokens_high"], 1e60), color=colour, alpha=0.2, lw=0
        )
        ax.plot(line["parameters"], line["tokens"], color=colour)
        shown = line[line["tokens"].between(*high)]
        if len(shown):
            end = shown.iloc[-1]
            look: dict[str, Any] = {"textcoords": "offset points", "fontsize": 8, "va": "center", "annotation_clip": False}
            rise = 0 if shown.index[-1] == line.index[-1] else 8  # a line that leaves at the bottom has its name above the axis
            ax.annotate(f"{loss:.3g}", (end["parameters"], end["tokens"]), (4, rise), **look)
    ax.plot(best["parameters"], best["tokens"], "--", color=MUTED, label="compute-optimal")
    ax.plot(used[column], used["tokens"], ".", color=MUTED, ms=4, mew=0, alpha=0.7, label="fitted run")
    ax.set(xlim=low, ylim=high, xlabel=PARAMETERS.get(column, column), ylabel="training tokens")
    ax.set_title(f"Equal losses (nats per token), {fit.level:.0%} bands")
    log_axis(ax, "x")
    log_axis(ax, "y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=2)
    return ax

"""Trained networks beside baselines on the same data."""

import pandas as pd
from matplotlib.axes import Axes

from analysis.errors import AnalysisError
from analysis.figures.axes import MUTED, SIZES, log_axis, new_axes, size_bar, size_norm, source_line, styled


@styled()
def baselines(curves: pd.DataFrame, points: pd.DataFrame, parameters: str, ax: Axes | None = None) -> Axes:
    """Held-out loss against training tokens: a line through the final losses of each model size, one along each baseline.

    Args:
        curves: from `curves.read`; every row of a baseline with a loss is a model of its own.
        points: their `curves.final_points`.
        parameters: the column that sizes are read from.
        ax: where to draw.

    Raises:
        AnalysisError: the curves hold no baseline.
    """
    counted = curves[(curves["baseline"] != "") & curves["loss"].notna()]
    if counted.empty:
        raise AnalysisError("the curves hold no baseline, such as an n-gram model")
    ax = ax or new_axes()
    for name, rows in sorted(counted.groupby("baseline"), key=lambda each: -each[1]["loss"].min()):
        rows = rows.sort_values("tokens").drop_duplicates("tokens")
        ax.plot(rows["tokens"], rows["loss"], "--s", color=MUTED, lw=1, ms=3)
        ax.annotate(
            str(name), (rows["tokens"].iloc[-1], rows["loss"].iloc[-1]), xytext=(5, 0), textcoords="offset points", va="center"
        )
    networks = points[points["excluded"].isin(["", "holdout"])]
    if len(networks):
        norm = size_norm(networks[parameters])
        for size, rows in networks.sort_values("tokens").groupby(parameters):
            ax.plot(rows["tokens"], rows["loss"], "-o", color=SIZES(norm(size)), ms=4)
        size_bar(ax, norm, parameters)
    source_line(ax, curves)
    for style, label in (("--s", "n-gram models"), ("-o", "networks, at the end of a run")):
        ax.plot([], [], style, color=MUTED, ms=4, label=label)
    ax.legend(loc="lower left")
    ax.margins(x=0.12)
    ax.set(xlabel="training tokens", ylabel="held-out loss (nats per token)", title="Networks beside baselines")
    log_axis(ax, "x")
    log_axis(ax, "y")
    return ax

"""Figures of where compute is best spent."""

import numpy as np
from matplotlib.axes import Axes

from analysis.allocation import compute_optimal
from analysis.figures.axes import HOLDOUT, PARAMETERS, PREDICTED, log_axis, new_axes, styled
from analysis.results import Fit


@styled()
def allocation(fit: Fit, ax: Axes | None = None) -> Axes:
    """Compute-optimal parameters and tokens against the budget, from the fitted range to 100 times beyond it."""
    ax = ax or new_axes()
    low, high = fit.origin.ranges["flops"]
    best = compute_optimal(fit, np.geomspace(low, 100 * high, 80))
    for name, colour, label in (("parameters", PREDICTED, "N*"), ("tokens", HOLDOUT, "D*")):
        words = PARAMETERS.get(fit.parameters_column, fit.parameters_column) if name == "parameters" else "training tokens"
        ax.plot(best["budget"], best[name], color=colour, label=f"{label}: {words}")
        ax.fill_between(best["budget"], best[f"{name}_low"], best[f"{name}_high"], color=colour, alpha=0.2, lw=0)
    ax.axvspan(high, 100 * high, color="#f3f3f3", lw=0, zorder=0, label="beyond the data")
    ax.set(xlabel="budget C = 6 N D (FLOPs)", ylabel="count", xlim=(low, 100 * high))
    ax.set_title(f"Compute-optimal allocation, {fit.level:.0%} intervals")
    log_axis(ax, "x")
    log_axis(ax, "y")
    ax.legend(loc="upper left")
    return ax

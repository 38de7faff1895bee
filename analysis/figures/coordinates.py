"""The figure of a coordinate check."""

import matplotlib as mpl
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.axes import MUTED, log_axis, styled


@styled()
def coordinates(sizes: pd.DataFrame) -> Figure:
    """Sizes of what training changed (lines) and of initial activations (dashes) against width and depth.

    Args:
        sizes: `parametrization`, `axis` (what grows: a row of panels each), `at`, `layer`, `quantity` (initial or change)
            and `value`; a column of panels for each parametrization.
    """
    columns, rows = sizes["parametrization"].unique(), sizes["axis"].unique()
    figure = Figure(figsize=(3.0 * len(columns) + 1.4, 2.7 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), len(columns), sharey="row", sharex="row", squeeze=False)
    layers = list(sizes["layer"].unique())
    colours = dict(zip(layers, mpl.colormaps["viridis"](range(0, 256, 256 // len(layers))), strict=False))
    for (axis, parametrization), panel in sizes.groupby(["axis", "parametrization"], sort=False):
        ax = panels[list(rows).index(axis), list(columns).index(parametrization)]
        for (layer, quantity), line in panel.groupby(["layer", "quantity"], sort=False):
            changed = quantity == "change"
            label = layer if changed else None
            ax.plot(line["at"], line["value"], "o-" if changed else "--", color=colours[layer], ms=4, lw=1.2, label=label)
        ax.set_title(parametrization)
        ax.set_xlabel(axis)
        for which in "xy":
            log_axis(ax, which)
        ax.set_xticks(sorted(panel["at"].unique()))
    for row in panels:
        row[0].set_ylabel("root mean square")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    (dashes,) = panels[0, 0].plot([], [], "--", color=MUTED)
    figure.legend([*handles, dashes], [*(f"change, {each}" for each in labels), "initial"], loc="outside right upper")
    return figure

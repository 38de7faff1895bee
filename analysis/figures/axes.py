"""Axes in the house's look (`publication.mplstyle`), and what every figure shares: colours, scales, short numbers, files.

Figures belong to nobody's global state: a function draws into the Axes it is given, or into new ones.
"""

import math
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap, LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogFormatterSciNotation, LogLocator, NullFormatter

from analysis.truth import sources

MEASURED, PREDICTED, HOLDOUT, MUTED = "#000000", "#0072B2", "#D55E00", "#777777"
SIZES: Colormap = LinearSegmentedColormap.from_list("sizes", mpl.colormaps["viridis"](np.linspace(0.0, 0.88, 256)))
LOSSES = "cividis_r"
PARAMETERS = {
    "parameters": "parameters (all)",
    "non_embedding_parameters": "non-embedding parameters",
    "non_embedding_and_head_parameters": "non-embedding and head parameters",
}

FORMATS = ("png", "svg", "pdf")
UNDATED: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}

styled = partial(mpl.rc_context, fname=Path(__file__).with_name("publication.mplstyle"))


def new_axes(height: float = 4.0) -> Axes:
    """Axes of a new figure that belongs to nobody else."""
    figure = Figure(figsize=(6.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.add_subplot()


def short(value: float, _: Any = None, digits: int = 3) -> str:
    """A number in few significant digits: 12_300_000 -> 12.3M. The second argument is matplotlib's tick position."""
    for factor, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= factor * 0.9995:
            return f"{value / factor:.{digits}g}{suffix}"
    return f"{value:.{digits}g}"


def size_norm(sizes: pd.Series) -> LogNorm:
    """The scale on which model sizes become colours."""
    low, high = sizes.min(), sizes.max()
    return LogNorm(low, high) if high > low else LogNorm(low / 2, high * 2)


def size_bar(ax: Axes, norm: LogNorm, column: str) -> None:
    """A colour bar of model sizes; `column` says how they were counted."""
    bar = ax.figure.colorbar(mpl.cm.ScalarMappable(norm, SIZES), ax=ax, label=PARAMETERS.get(column, column), pad=0.02)
    bar.ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    bar.ax.yaxis.set_major_formatter(FuncFormatter(short))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)


def source_line(ax: Axes, table: pd.DataFrame) -> None:
    """A line at the loss that each source of the data has on the held-out tokens, where it is known: no model goes below it."""
    for entropy, loss in sources(table).itertuples(index=False):
        ax.axhline(loss, color=HOLDOUT, lw=1.2, ls=":", label=f"the source itself, {loss:.4g} (its entropy: {entropy:.4g})")


def log_axis(ax: Axes, which: str) -> None:
    """A logarithmic axis whose ticks stay readable where it spans less than two decades; above 1e9 as powers of ten."""
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if which == "x" else ax.yaxis
    low, high = ax.get_xlim() if which == "x" else ax.get_ylim()
    if high / low < 100:
        steps = (1, 2, 3, 5) if high / low > 10 else (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9)
        axis.set_major_locator(LogLocator(10, subs=steps))
        digits = max(3, 2 - math.floor(math.log10(high / low - 1)))  # that tell ticks a fiftieth of the span apart
        axis.set_major_formatter(LogFormatterSciNotation(10) if low > 1e9 else FuncFormatter(partial(short, digits=digits)))
    axis.set_minor_formatter(NullFormatter())


@styled()
def save(fig: Figure, directory: str | Path, name: str) -> list[Path]:
    """Write the figure as PNG, SVG and PDF into the directory, which is made where it is missing."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = [directory / f"{name}.{suffix}" for suffix in FORMATS]
    for path in paths:
        fig.savefig(path, metadata=UNDATED.get(path.suffix))
    return paths

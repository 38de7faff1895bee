"""What networks of brackets know of their grammar."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from analysis.figures.axes import short, styled

BLOCKS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")
"""Colours of one block, two, three, and more."""


@styled()
def brackets(depths: pd.DataFrame, completions: pd.DataFrame) -> Figure:
    """Accuracy of closing against depth, illegal probability against depth, and right completions at temperature 0.

    Args:
        depths: a row per run and depth, with `run`, `blocks`, `width`, `examples`, `depth`, `accuracy` and `illegal`.
        completions: a row per run, `openings` and `temperature`, with the same facts of the run and `right`.
    """
    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    accuracy, illegal, completed = figure.subplots(1, 3)
    greedy = completions[completions["temperature"] == 0]
    panels: tuple[tuple[Axes, pd.DataFrame, str, str], ...] = (
        (accuracy, depths, "depth", "accuracy"),
        (illegal, depths, "depth", "illegal"),
        (completed, greedy, "openings", "right"),
    )
    most = depths["examples"].max()
    for ax, table, x, y in panels:
        for (blocks, width, examples), rows in table.groupby(["blocks", "width", "examples"]):
            colour = BLOCKS[min(blocks, len(BLOCKS)) - 1]
            label = f"{blocks} block{'s' * (blocks > 1)}, width {width}, {short(examples)} examples"
            strength = 0.35 + 0.65 * examples / most
            ax.plot(rows[x], rows[y], "-o", color=colour, lw=0.6 + width / 64, ms=3, alpha=strength, label=label)
    accuracy.set(xlabel="open brackets", ylabel="closings of the right kind", ylim=(None, 1.02), title="Closing")
    illegal.set(xlabel="open brackets", ylabel="probability of illegal tokens", ylim=(0, None), title="Illegal continuations")
    completed.set(
        xlabel="opening brackets given", ylabel="right completions", ylim=(-0.03, 1.03), title="Completion, temperature 0"
    )
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=8)
    return figure

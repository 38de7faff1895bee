"""The live view in a terminal.        (no jax)"""

import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from scaling.sweeps.status import failures, most_telling, status_table, warnings
from scaling.watch.progress import Progress, read_progress


def watch(
    sweep: Path, console: Console, price: float | None = None, also: Callable[[], None] = lambda: None, seconds: float = 2.0
) -> None:
    """Show a sweep until it has ended; where there is no terminal, once.

    Args:
        sweep: its directory.
        console: where to show it.
        price: of one device for an hour.
        also: what is done at each look, such as sending to a tracker.
        seconds: between two looks.
    """
    progress = read_progress(sweep, price)
    also()
    if not console.is_terminal:
        console.print(render(progress, len(progress.cells)))
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not progress.ended:
            live.update(render(progress, console.height - 8), refresh=True)
            time.sleep(seconds)
            progress = read_progress(sweep, price)
            also()
    console.print(render(progress, len(progress.cells)))


def render(progress: Progress, rows: int) -> RenderableType:
    """Totals, then as many runs as there are rows for, those that went wrong first, then the reasons."""
    cells = most_telling(progress.cells, max(1, rows))
    left_out = len(progress.cells) - len(cells)
    parts: list[RenderableType] = [Text("\n".join(progress.lines()), style="bold"), status_table(cells)]
    if left_out:
        ended = sum(each.has_ended for each in progress.cells if each not in cells)
        parts.append(Text(f"and {left_out} more, {ended} of them ended", style="dim"))
    parts += [Text(line, style="red") for line in failures(progress.sweep, progress.cells)]
    parts += [Text(line, style="yellow") for line in warnings(progress.cells)]
    return Group(*parts)

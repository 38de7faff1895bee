"""The live view of a running sweep in the terminal.        (no jax)"""

import time
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from scaling.sweeps.local import Launcher
from scaling.sweeps.status import CellStatus, flops_share, format_seconds, read_status, status_table, summary


def watch(launcher: Launcher, sweep: Path, role: str, console: Console) -> None:
    """Show the runs of `role` until the launcher has finished: what runs, what is left, loss, tokens/s, estimated end.

    In a terminal a table that redraws itself; elsewhere a line when a run ends.
    """
    view = _View(sweep, role, console)
    if not console.is_terminal:
        launcher.wait(view.print_ended)
        return
    with Live(view.render(), console=console, auto_refresh=False, transient=True) as live:
        launcher.wait(lambda: live.update(view.render(), refresh=True))
    view.print_ended()


class _View:
    def __init__(self, sweep: Path, role: str, console: Console):
        self.sweep, self.role, self.console = sweep, role, console
        self.begun = time.monotonic()
        self.share_before = flops_share(self.cells())
        self.printed = {each.cell["run_id"] for each in self.cells() if each.has_ended}

    def cells(self) -> list[CellStatus]:
        return [each for each in read_status(self.sweep) if each.cell["role"] == self.role]

    def render(self) -> RenderableType:
        cells = self.cells()
        ended = [each for each in cells if each.has_ended]
        running = [each for each in cells if each.state == "running"]
        shown = [*ended[-max(0, self.console.height - len(running) - 6) :], *running]
        return Group(status_table(shown), Text(f"\n{summary(cells)}\n{self._estimate(cells)}", style="bold"))

    def print_ended(self) -> None:
        cells = self.cells()
        for each in cells:
            if each.has_ended and each.cell["run_id"] not in self.printed:
                self.printed.add(each.cell["run_id"])
                loss = each.status.get("loss")
                number = "" if loss is None else f" loss {loss:.4f}"
                line = f"{each.cell['run_id']} {each.name}: {each.state}{number}  ({summary(cells)})"
                self.console.print(line, highlight=False, soft_wrap=True)

    def _estimate(self, cells: list[CellStatus]) -> str:
        elapsed, share = time.monotonic() - self.begun, flops_share(cells)
        if share - self.share_before < 0.01:
            return "estimating the time left"
        left = elapsed * (1 - share) / (share - self.share_before)
        return f"about {format_seconds(left)} left, {format_seconds(elapsed)} so far"

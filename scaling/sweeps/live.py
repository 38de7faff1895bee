"""The live view of a running sweep in the terminal.        (no jax)"""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from scaling.record import TERMINAL
from scaling.sweeps.status import CellStatus, flops_share, format_seconds, read_cell, read_status, status_table, summary
from scaling.sweeps.submission import Submission


def watch(submission: Submission, sweep: Path, role: str, console: Console) -> None:
    """Show the runs of `role` until all have ended: what waits and for what, what runs, what is left, loss, tokens/s.

    In a terminal a table that redraws itself; elsewhere a line when a run ends.
    """
    view = View(submission, sweep, role, console)
    if not console.is_terminal:
        submission.wait(view.print_ended)
        return
    with Live(view.render(), console=console, auto_refresh=False, transient=True) as live:
        submission.wait(lambda: live.update(view.render(), refresh=True))
    view.print_ended()


class View:
    """What `watch` shows; a run that has ended is read once."""

    def __init__(self, submission: Submission, sweep: Path, role: str, console: Console):
        self.submission, self.sweep, self.console = submission, sweep, console
        self._cells = {each.cell["run_id"]: each for each in read_status(sweep) if each.cell["role"] == role}
        self._begun = time.monotonic()
        self._share_before = flops_share(list(self._cells.values()))
        self._printed = {run_id for run_id, each in self._cells.items() if each.state in TERMINAL}

    def print_ended(self) -> None:
        """A line for each run that ended since the last call."""
        cells = self._read()
        so_far = summary(cells)
        for each in cells:
            run_id = each.cell["run_id"]
            if each.state in TERMINAL and run_id not in self._printed:
                self._printed.add(run_id)
                loss = each.status.get("loss")
                number = "" if loss is None else f" loss {loss:.4f}"
                line = f"{run_id} {each.name}: {each.state}{number}  ({so_far})"
                self.console.print(line, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The runs that run, above them as many of the last ended as there is room for, and the totals."""
        cells = self._read()
        ended = [each for each in cells if each.state in TERMINAL]
        running = [each for each in cells if each.state == "running"]
        shown = [*ended[-max(0, self.console.height - len(running) - 6) :], *running]
        lines = [summary(cells), self._estimate(cells)]
        reasons = Counter(report.reason for report in self.submission.reports.values() if report.phase == "queued")
        if reasons:
            lines.append(
                "queued: " + ", ".join(f"{count} {reason or 'for a place'}" for reason, count in reasons.most_common())
            )
        return Group(status_table(shown), Text("\n" + "\n".join(lines), style="bold"))

    def _read(self) -> list[CellStatus]:
        for run_id, each in self._cells.items():
            if each.state not in TERMINAL:
                self._cells[run_id] = read_cell(self.sweep, each.cell)
        return list(self._cells.values())

    def _estimate(self, cells: list[CellStatus]) -> str:
        elapsed, share = time.monotonic() - self._begun, flops_share(cells)
        if share - self._share_before < 0.01:
            return "estimating the time left"
        left = elapsed * (1 - share) / (share - self._share_before)
        return f"about {format_seconds(left)} left, {format_seconds(elapsed)} so far"

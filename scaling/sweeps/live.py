"""The live view of a running sweep in the terminal.        (no jax)"""

import time
from collections import Counter

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from scaling.sweeps.status import CellStatus, flops_share, format_seconds, status_table, summary
from scaling.sweeps.submission import Submission


def watch(submission: Submission, console: Console) -> None:
    """Show the runs of a submission until all have ended: what waits and for what, what runs, what is left, loss, tokens/s.

    In a terminal a table that redraws itself; elsewhere a line when a run ends.
    """
    view = View(submission, console)
    if not console.is_terminal:
        submission.wait(view.print_ended)
        return
    with Live(view.render(), console=console, auto_refresh=False, transient=True) as live:
        submission.wait(lambda: live.update(view.render(), refresh=True))
    view.print_ended()


class View:
    """What `watch` shows."""

    def __init__(self, submission: Submission, console: Console):
        self.submission, self.console = submission, console
        self._begun = time.monotonic()
        before = submission.cells
        self._share_before = flops_share(before)
        self._printed = {each.cell["run_id"] for each in before if each.has_ended}

    def print_ended(self) -> None:
        """A line for each run that ended since the last call."""
        cells = self.submission.cells
        so_far = summary(cells)
        for each in cells:
            run_id = each.cell["run_id"]
            if each.has_ended and run_id not in self._printed:
                self._printed.add(run_id)
                loss = each.status.get("loss")
                number = "" if loss is None else f" loss {loss:.4f}"
                line = f"{run_id} {each.name}: {each.state}{number}  ({so_far})"
                self.console.print(line, highlight=False, soft_wrap=True)

    def render(self) -> RenderableType:
        """The runs that run, above them as many of the last ended as there is room for, and the totals."""
        cells = self.submission.cells
        ended = [each for each in cells if each.has_ended]
        running = [each for each in cells if each.state == "running"]
        shown = [*ended[-max(0, self.console.height - len(running) - 6) :], *running]
        lines = [summary(cells), self._estimate(cells)]
        reasons = Counter(report.reason for report in self.submission.reports.values() if report.phase == "queued")
        if reasons:
            lines.append(
                "queued: " + ", ".join(f"{count} {reason or 'for a place'}" for reason, count in reasons.most_common())
            )
        return Group(status_table(shown), Text("\n" + "\n".join(lines), style="bold"))

    def _estimate(self, cells: list[CellStatus]) -> str:
        elapsed, share = time.monotonic() - self._begun, flops_share(cells)
        if share - self._share_before < 0.01:
            return "estimating the time left"
        left = elapsed * (1 - share) / (share - self._share_before)
        return f"about {format_seconds(left)} left, {format_seconds(elapsed)} so far"

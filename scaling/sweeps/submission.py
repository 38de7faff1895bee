"""The process that submits a sweep: hands to an engine what is missing, follows it, and has nothing to lose when it dies.

Everything is derived from the run directories and the engine's own queue: the same command again goes on.        (no jax)
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from scaling.errors import ScalingError
from scaling.lease import Lease, claim
from scaling.policy import Ending, restart_after
from scaling.sweeps.chains import record_divergence
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report
from scaling.sweeps.requests import give_up, retry
from scaling.sweeps.status import CellStatus, SweepStatus, read_cell

SUBMIT_PATIENCE_SECONDS = 120.0


class Submission:
    """Some runs of a sweep on their way through an engine. `poll` until `finished`.

    Args:
        launcher: of the engine.
        sweep: the sweep's directory.
        cells: of `plan.json`; those that have not ended are handed over. A failed one is tried again.
        clock: seconds, as `time.monotonic`.

    Raises:
        ScalingError: as `Launcher.submit`.
    """

    def __init__(self, launcher: Launcher, sweep: Path, cells: Iterable[Cell], clock: Callable[[], float] = time.monotonic):
        self.launcher, self.sweep = launcher, sweep
        self.reports: dict[str, Report] = {}
        self._clock, self._status = clock, SweepStatus(sweep, cells)
        self.cells: list[CellStatus] = []
        """The runs, ended or not, as they stood at the last poll."""
        self._left: dict[str, Cell] = {}
        self._seen: set[str] = set()
        self._due: dict[str, float] = {}
        self._restarts: dict[str, int] = {}
        self._look()
        for run_id, each in self._status.alone.items():
            if each.state == "failed":
                retry(sweep / run_id)
            if each.state == "failed" or not each.has_ended:
                self._left[run_id] = each.cell
        self.poll()

    @property
    def finished(self) -> bool:
        """Whether every run has ended."""
        return not self._left

    def poll(self) -> None:
        """Ask the engine once, and hand over what is due: what it never had, and what ended only to be run again."""
        if self.finished:
            return
        self.reports = dict(self.launcher.poll())
        self._look()
        for run_id, cell in list(self._left.items()):
            report, each = self.reports.get(run_id), self._status.alone[run_id]
            if report is not None and report.phase != "ended":
                self._seen.add(run_id)
                self._due.pop(run_id, None)
            elif each.has_ended or self._ends_with_its_trunk(cell):
                del self._left[run_id]
                self._due.pop(run_id, None)
            elif run_id not in self._due:
                self._decide(each, report)
        if self._changed:
            self._look()
        due = [run_id for run_id, at in self._due.items() if at <= self._clock()]
        self._submit([self._left[run_id] for run_id in due if run_id in self._left and self._may_start(self._left[run_id])])

    def wait(self, watch: Callable[[], None]) -> None:
        """Poll until finished, calling `watch` each time; on Ctrl-C or SIGTERM runs that cannot go on alone are saved first."""
        try:
            watch()
            while not self.finished:
                time.sleep(self.launcher.poll_seconds)
                self.poll()
                watch()
        except KeyboardInterrupt:
            if not self.launcher.detached:
                self.launcher.cancel(self._left)
            raise

    def _decide(self, each: CellStatus, report: Report | None) -> None:
        """What becomes of a run that the engine does not have, or no longer has."""
        run_id = each.cell["run_id"]
        if run_id not in self._seen or self._status.waits[run_id]:  # one that waits was never started
            self._due[run_id] = self._clock()
        elif each.state == "queued":  # a worker has had it, and `scaling.policy` says that it is tried again
            self._due[run_id] = self._clock() + max(0.0, each.not_before - time.time())
        elif each.state == "planned":
            delay = restart_after(report.code if report else None, self._restarts.get(run_id, 0))
            if delay is None:
                self._give_up(run_id, _how_it_ended(self.launcher, report, run_id))
                return
            self._restarts[run_id] = self._restarts.get(run_id, 0) + 1
            self._due[run_id] = self._clock() + delay

    def _ends_with_its_trunk(self, cell: Cell) -> bool:
        """Whether the run that was to leave the state which that of a cell begins with ended without it."""
        if not self._status.waits[cell["run_id"]] or cell["trunk"] in self._left:
            return False
        trunk = read_cell(self.sweep, {"run_id": cell["trunk"]})
        if trunk.state == "diverged":
            record_divergence(self.sweep, cell)
            self._changed = True
        return trunk.has_ended

    def _may_start(self, cell: Cell) -> bool:
        """Whether a run need not be held back for its trunk; workers of this machine see to that themselves."""
        if not self.launcher.detached or not self._status.waits[cell["run_id"]]:
            return True
        return self.launcher.takes_trunks and cell["trunk"] in self._left

    def _submit(self, cells: list[Cell]) -> None:
        if not cells:
            return
        if not self.launcher.detached:
            self.launcher.submit(cells)
        else:
            lease = self._only_submitter()
            try:  # another submitter may have been faster
                alive = {run_id for run_id, report in self.launcher.poll().items() if report.phase != "ended"}
                cells = [cell for cell in cells if cell["run_id"] not in alive]
                self.launcher.submit(cells)
            finally:
                lease.release(Ending.DONE)
        for cell in cells:
            self._seen.add(cell["run_id"])
            del self._due[cell["run_id"]]

    def _only_submitter(self) -> Lease:
        """Two submitters take turns, so that neither hands over what the other just did."""
        deadline = self._clock() + SUBMIT_PATIENCE_SECONDS
        while (lease := claim(self.sweep / ".submission")) is None:
            if self._clock() > deadline:
                raise ScalingError(
                    f"another process has been submitting {self.sweep} for {SUBMIT_PATIENCE_SECONDS:.0f} seconds"
                )
            time.sleep(0.2)
        return lease

    def _give_up(self, run_id: str, reason: str) -> None:
        """Fail a run that its engine could not start."""
        if give_up(self.sweep / run_id, Ending.MISTAKEN, reason):
            del self._left[run_id]
            self._changed = True

    def _look(self) -> None:
        self.cells, self._changed = self._status.read(), False


def _how_it_ended(launcher: Launcher, report: Report | None, run_id: str) -> str:
    if report is None:
        return f"{launcher.name} no longer has it"
    if report.reason:
        return report.reason
    if report.code is None:
        return f"{launcher.name} ended it"
    return (
        f"its worker was killed by signal {-report.code}"
        if report.code < 0
        else f"its worker ended with exit code {report.code}"
    )

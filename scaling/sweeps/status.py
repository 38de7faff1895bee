"""How far a sweep is, read from its run directories alone.        (no jax)"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from scaling.errors import Exit
from scaling.lease import is_cancelled, is_free, newest_lease
from scaling.policy import judge
from scaling.quantities import format_quantity
from scaling.record import RunDirectory
from scaling.stores import REQUESTS, at_once, is_bucket
from scaling.sweeps.chains import awaited
from scaling.sweeps.stored import read_plan

STYLES = {"done": "green", "running": "cyan", "diverged": "magenta", "failed": "red", "cancelled": "red", "waiting": "yellow"}

ENDED = ("done", "diverged", "failed", "cancelled")
FREE = ("planned", "queued")

FRESH_SECONDS = 5.0
"""For so long what was read of them ahead is taken for how they stand; a claim is what decides."""


@dataclass(frozen=True)
class CellStatus:
    """A cell of the plan and where its run stands."""

    cell: dict[str, Any]
    state: str
    """`done`, `diverged`, `failed` for good, `cancelled`, `running` in a living worker's hands, `waiting` for its trunk; what
    any free worker may train is `planned` where none ever had it, and else `queued`."""
    status: dict[str, Any]
    """The content of `status.json`."""
    reason: str = ""
    """One line: why it failed, what it waits for, how its last attempt ended."""
    not_before: float = 0.0
    """Unix time before which a worker leaves a queued run alone."""

    @property
    def fraction(self) -> float:
        """Share of the steps done."""
        return self.status.get("step", 0) / self.status["steps"] if self.status.get("steps") else 0.0

    @property
    def labels(self) -> dict[str, str]:
        """The values of the axes, short, by the last part of their path."""
        return {path.rpartition(".")[2]: _short(value) for path, value in self.cell["labels"].items()}

    @property
    def name(self) -> str:
        """All labels in one line."""
        return ", ".join(f"{axis} {value}" for axis, value in self.labels.items())

    @property
    def has_begun(self) -> bool:
        """Whether any worker has ever trained it."""
        return self.status["state"] != "planned"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ENDED

    @property
    def is_ready(self) -> bool:
        """Whether a worker may try it now."""
        return self.state in FREE and self.not_before <= time.time()

    def document(self) -> dict[str, Any]:
        """The cell for machines: what it is, where it stands, and the numbers of its status."""
        facts = {name: self.cell.get(name) for name in ("run_id", "role", "labels", "parameters", "tokens", "flops", "trunk")}
        names = ("step", "steps", "loss", "train_loss", "tokens_per_second", "attempt", "checkpoint", "warning", "updated")
        numbers = {name: self.status.get(name) for name in names}
        return {**facts, "state": self.state, "reason": self.reason, **numbers, "seconds_left": self.seconds_left}

    @property
    def seconds_left(self) -> float | None:
        """At the present rate; None where there is none."""
        rate = self.status.get("tokens_per_second")
        return self.cell["tokens"] * (1 - self.fraction) / rate if rate and self.state == "running" else None


class SweepStatus:
    """The states of a sweep's runs, read from their directories; what is done for good is read once.

    Args:
        sweep: its directory.
        cells: of its plan, those to look at; None for all in `plan.json`.

    Raises:
        ScalingError: there is no plan.
    """

    def __init__(self, sweep: Path, cells: Iterable[dict[str, Any]] | None = None):
        cells = read_plan(sweep)["cells"] if cells is None else cells
        self.sweep, self.cells = sweep, {cell["run_id"]: cell for cell in cells}
        self.alone: dict[str, CellStatus] = {}
        """The runs by their own directories, whatever their trunks may be, as they were last read."""
        self.waits: dict[str, bool] = {}
        """Whether each could only begin when the one before it had left its state."""
        self._final: dict[str, CellStatus] = {}
        self._runs = list(self.cells)
        self._places = {run: place for place, run in enumerate(self._runs)}
        self._ahead: dict[str, CellStatus] = {}
        self._ahead_at = 0.0

    def read(self, role: str | None = None) -> list[CellStatus]:
        """The status of each cell, of one role or of all, in the order of the plan."""
        return self._read([run for run, cell in self.cells.items() if role in (None, cell["role"])])

    def read_one(self, run_id: str) -> CellStatus:
        """The status of one cell, for who asks of one after another in the order of the plan.

        In a bucket those after it are read at the same time, and each of them answers one question soon after.
        """
        if not is_bucket(self.sweep):
            return self._read([run_id])[0]
        if run_id not in self._ahead or time.monotonic() - self._ahead_at > FRESH_SECONDS:
            here = self._places[run_id]
            following = [run for run in self._runs[here : here + REQUESTS] if run == run_id or run not in self._final]
            self._ahead = dict(zip(following, self._read(following), strict=True))
            self._ahead_at = time.monotonic()
        return self._ahead.pop(run_id)

    def _read(self, runs: list[str]) -> list[CellStatus]:
        needed = dict.fromkeys(each for run in runs for each in self._chain(run))
        alone = dict(zip(needed, at_once(self.sweep, self._alone, needed), strict=True))
        found: dict[str, CellStatus] = {}
        for run in runs:
            for each in reversed(list(self._chain(run))):
                found[each] = found.get(each) or _in_chain(*alone[each], found.get(self.cells[each]["trunk"] or ""))
        self.alone |= {run: each for run, (each, _) in alone.items()}
        self.waits |= {run: waits for run, (_, waits) in alone.items()}
        return [found[run] for run in runs]

    def _chain(self, run: str) -> Iterator[str]:
        """A run, the one whose state it begins with, and so on."""
        while run in self.cells:
            yield run
            run = self.cells[run]["trunk"] or ""

    def _alone(self, run: str) -> tuple[CellStatus, bool]:
        """The status of a run by its own directory, and whether it can only begin when the one before it has left its state."""
        if run in self._final:
            return self._final[run], False
        found = read_cell(self.sweep, self.cells[run])
        if found.state in ("done", "diverged"):
            self._final[run] = found
        return found, found.state in FREE and awaited(self.sweep, found.cell) is not None


def _in_chain(each: CellStatus, waits: bool, before: CellStatus | None) -> CellStatus:
    """A run that nobody trains waits for the state that it begins with, and ends with the run that was to leave it."""
    if before is None or not waits:
        return each
    run = f"its trunk, run {before.cell['run_id']}"
    if before.has_ended:
        reason = f"{run}, {before.state}" + (f": {before.reason}" if before.reason else "")
        return replace(each, state=before.state, reason=reason)
    return replace(each, state="waiting", reason=f"for {run}, {before.state}")


def read_status(sweep: Path) -> list[CellStatus]:
    """The status of each cell of the plan in `sweep`; a `ScalingError` where there is none."""
    return SweepStatus(sweep).read()


def read_cell(sweep: Path, cell: dict[str, Any]) -> CellStatus:
    """The status of one cell, as in `plan.json`, of the sweep in `sweep`, whatever its trunk may be."""
    path = sweep / cell["run_id"]
    status = RunDirectory(path).status
    if status["state"] in ("done", "diverged"):
        return CellStatus(cell, status["state"], status, status.get("reason") or "")
    cancelled = is_cancelled(path)
    _, lease = newest_lease(path)
    if lease is not None and not is_free(lease):
        return CellStatus(cell, "running", status, "is being cancelled" if cancelled else "")
    if cancelled:
        return CellStatus(cell, "cancelled", status, status.get("reason") or "")
    verdict = judge(lease)
    free = "planned" if status["state"] == "planned" else "queued"
    return CellStatus(cell, free if verdict.again else "failed", status, verdict.reason, verdict.not_before)


def most_telling(cells: list[CellStatus], count: int) -> list[CellStatus]:
    """At most `count` cells, in their order: first what failed or was cancelled, then what runs or waits, then the rest."""
    if len(cells) <= count:
        return cells
    order = ("failed", "diverged", "cancelled", "running", "waiting", "queued", "planned", "done")
    places = sorted(range(len(cells)), key=lambda place: order.index(cells[place].state))
    return [cells[place] for place in sorted(places[:count])]


def status_table(cells: list[CellStatus]) -> Table:
    """One line a run: what it is, its state, progress, loss and speed."""
    numbers = {
        "step": lambda each: f"{each.status['step']}/{each.status['steps']}" if each.status.get("steps") else "",
        "loss": lambda each: _number(each.status.get("loss") or each.status.get("train_loss"), ".4f"),
        "tok/s": lambda each: _number(each.status.get("tokens_per_second"), ",.0f"),
        "left": lambda each: "" if each.seconds_left is None else format_seconds(each.seconds_left),
    }
    return cell_table(cells, numbers)


def cell_table(
    cells: list[CellStatus],
    numbers: Mapping[str, Callable[[CellStatus], str]],
    title: str | None = None,
    hidden: Collection[str] = (),
) -> Table:
    """A line a run: its id, the value of each axis that is not `hidden`, the `numbers`, and its state."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, collapse_padding=True, header_style="bold")
    axes = [axis for axis in dict.fromkeys(axis for each in cells for axis in each.labels) if axis not in hidden]
    for name in ("run", *axes):
        table.add_column(name, no_wrap=name == "run", overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for each in cells:
        labels = [each.labels.get(axis, "") for axis in axes]
        table.add_row(each.cell["run_id"], *labels, *(number(each) for number in numbers.values()), state_text(each))
    return table


def state_text(each: CellStatus) -> str:
    """The state in its colour, as Rich markup; held-out runs are marked, and are nothing else until they begin."""
    if each.cell["role"] == "holdout" and each.state in ("planned", "waiting"):
        return "[dim]held out[/]"
    held_out = " held out" if each.cell["role"] == "holdout" else ""
    return f"[{STYLES.get(each.state, 'dim')}]{each.state}{held_out}[/]"


def summary(cells: list[CellStatus]) -> str:
    """`12 runs: 10 done, 1 running, 1 planned; 83 % of the FLOPs`."""
    states = Counter(each.state for each in cells)
    parts = ", ".join(f"{count} {state}" for state, count in states.most_common())
    return f"{len(cells)} runs: {parts}; {flops_share(cells):.0%} of the FLOPs"


def flops_share(cells: list[CellStatus]) -> float:
    """Share of the cells' FLOPs that is spent."""
    total = sum(each.cell["flops"] for each in cells)
    return sum(each.cell["flops"] * each.fraction for each in cells) / total if total else 0.0


def failures(sweep: Path, cells: list[CellStatus]) -> list[str]:
    """A line for each run that did not end well: what it is, why, and where its log is."""
    return [
        f"{each.cell['run_id']} ({each.name}) {each.state}: {each.reason}; log {sweep / each.cell['run_id'] / 'log.txt'}"
        for each in cells
        if each.state in ("failed", "diverged")
    ]


def notes(cells: list[CellStatus]) -> list[str]:
    """A line for each run that waits for something or goes on after something."""
    quiet = ("done", "diverged", "failed")
    return [
        f"{each.cell['run_id']} ({each.name}) {each.state}: {each.reason}"
        for each in cells
        if each.reason and each.state not in quiet
    ]


def exit_code(cells: list[CellStatus]) -> Exit:
    """What a command that was to train these cells ends with: done, something diverged, something failed, or more to train."""
    states = {each.state for each in cells}
    if states & {"failed", "cancelled"}:
        return Exit.FAILED
    if states <= {"done", "diverged"}:
        return Exit.DIVERGED if "diverged" in states else Exit.DONE
    return Exit.SAVED


def warnings(cells: list[CellStatus]) -> list[str]:
    """A line for each run that met something its user should know of, though it goes on."""
    return [f"{each.cell['run_id']} ({each.name}): {each.status['warning']}" for each in cells if each.status.get("warning")]


def format_seconds(seconds: float) -> str:
    """`45s`, `3m20s`, `2h05m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    return f"{whole // 60}m{whole % 60:02d}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("model", value)
        return "x".join(str(value[key]) for key in ("width", "layers") if key in value) or ", ".join(map(str, value.values()))
    return format_quantity(value) if isinstance(value, (int, float)) and abs(value) >= 1000 else str(value)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)

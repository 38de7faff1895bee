"""How far a sweep is, read from its run directories alone.        (no jax)"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from scaling.lease import is_held
from scaling.quantities import format_quantity
from scaling.record import RunDirectory
from scaling.sweeps.chains import waits
from scaling.sweeps.stored import read_plan

STYLES = {"done": "green", "running": "cyan", "diverged": "magenta", "failed": "red", "saved": "yellow", "lost": "red"}


@dataclass(frozen=True)
class CellStatus:
    """A cell of the plan and where its run stands."""

    cell: dict[str, Any]
    state: str
    """The state of `status.json`; `lost` for a run that says `running` while no living worker holds it, `waiting` for one that
    has not begun because its trunk is being trained."""
    status: dict[str, Any]

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
    def seconds_left(self) -> float | None:
        """At the present rate; None where there is none."""
        rate = self.status.get("tokens_per_second")
        return self.cell["tokens"] * (1 - self.fraction) / rate if rate and self.state == "running" else None


def read_status(sweep: Path) -> list[CellStatus]:
    """The status of each cell of the plan in `sweep`; a `ScalingError` where there is none."""
    return [read_cell(sweep, cell) for cell in read_plan(sweep)["cells"]]


def read_cell(sweep: Path, cell: dict[str, Any]) -> CellStatus:
    """The status of one cell, as in `plan.json`, of the sweep in `sweep`."""
    directory = RunDirectory(sweep / cell["run_id"])
    status = directory.status
    state = status["state"]
    if state == "running" and not is_held(directory.path):
        state = "lost"
    if state == "planned" and waits(sweep, cell):
        state = "waiting"
    return CellStatus(cell, state, status)


def status_table(cells: list[CellStatus]) -> Table:
    """One line a run: what it is, its state, progress, loss and speed."""
    numbers = {
        "done": lambda each: f"{each.fraction:.0%}",
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
    """The state in its colour, as Rich markup; held-out runs are marked."""
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
        f"{each.cell['run_id']} ({each.name}) {each.state}: {each.status.get('reason') or 'its worker died'}"
        f"; log {sweep / each.cell['run_id'] / 'log.txt'}"
        for each in cells
        if each.state in ("failed", "diverged", "lost")
    ]


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

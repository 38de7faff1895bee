"""What a preflight found, for people and for machines.        (no jax)"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from scaling.errors import Exit
from scaling.preflight.hardware import Target
from scaling.preflight.jobs import Compilation, Failure
from scaling.preflight.packing import Packing, Spread, largest_cohort, spread
from scaling.preflight.padding import padding_waste
from scaling.preflight.programs import PlannedProgram
from scaling.preflight.roofline import Expectation, Times, expect, step_times
from scaling.preflight.search import REMATS, Fitting
from scaling.quantities import format_quantity

GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """A program on a target."""

    program: PlannedProgram
    target: Target
    compilation: Compilation
    best: Fitting | None = None
    """The lightest rematerialisation and largest micro-batch that fit on its mesh."""
    instead: Fitting | None = None
    """The nearest change that fits, where the program itself does not."""
    packing: Packing | None = None
    """Where its runs are several, and whole on one device: how many of a cohort fit on each."""

    @property
    def failure(self) -> Failure | None:
        """Of the step of one run, else of that of its cohort."""
        if self.compilation.failure is not None or self.packing is None:
            return self.compilation.failure
        members = self.spread.members
        if members <= self.packing.members:
            return None
        planned = f"execution.cohort={self.program.cohort} puts {members} runs side by side on a device"
        return Failure(kind="memory", reason=f"{planned}: {self.packing.members} fit")

    @property
    def cohort(self) -> int | None:
        """The largest `execution.cohort` that fits; None where that is not known."""
        if self.packing is None:
            return None
        return largest_cohort(self.program.together, self.packing.members, self.target.devices)

    @property
    def spread(self) -> Spread:
        """Of the cohorts that are planned; of a run by itself over the devices of its mesh."""
        if self.program.cohort == 1:
            return Spread(self.program.shape.program.mesh.devices, 1)
        return spread(self.program.together, self.program.cohort, self.target.devices)

    @property
    def fits(self) -> bool | None:
        """None where that is not known: it was lowered alone."""
        if self.failure is not None:
            return False
        return None if self.compilation.effort == "lower" else True

    @property
    def padding(self) -> tuple[float, list[str]]:
        """Share of FLOPs added, and the dimensions."""
        return padding_waste(self.program.shape, self.target.tile)

    @property
    def devices(self) -> int:
        """Of its mesh."""
        return self.program.shape.program.mesh.devices

    @property
    def times(self) -> Times:
        """The roofline of a step."""
        return step_times(self.compilation, self.target, self.padding[0], self.devices)

    @property
    def least(self) -> float:
        """Seconds that a step takes at least."""
        return self.times.least(self.compilation.optimised)

    @property
    def model_flops(self) -> float:
        """Of a step, as runs record them."""
        return float(self.program.cells[0].specification.facts["flops_per_token"] * self.program.shape.tokens)

    @property
    def expectation(self) -> Expectation | None:
        """None where nothing was traced."""
        if not self.compilation.flops:
            return None
        parameters = self.program.cells[0].specification.facts["parameters"]
        return expect(self.least, self.target, self.devices, self.model_flops, parameters)

    def costs(self, flops: float) -> dict[str, float | None]:
        """Hours and USD of a run of so many model FLOPs, at both ends of what is expected."""
        if self.expectation is None:
            return dict.fromkeys(("hours_low", "hours_high", "dollars_low", "dollars_high"))
        low, high = self.expectation.hours(flops, self.target, self.spread.devices * self.spread.filled)
        price = self.target.hourly_price
        dollars = (None, None) if price is None else (low * price, high * price)
        return {"hours_low": low, "hours_high": high, "dollars_low": dollars[0], "dollars_high": dollars[1]}


def warnings(finding: Finding) -> list[str]:
    """What is worth a look before it is paid for."""
    compilation, shape = finding.compilation, finding.program.shape
    kinds = {each.kind: each for each in compilation.collectives}
    found = list(compilation.notes)
    if compilation.failure is None and compilation.effort != "lower":
        seen, memory = sum(each.bytes for each in kinds.values()), compilation.memory
        if shape.program.mesh.fsdp > 1 and memory is not None and seen < memory.parameters:
            found.append(
                "fewer bytes are seen to be sent than fsdp gathers: what this compiler sends is not read, its time not known"
            )
        elif shape.program.mesh.fsdp > 1 and not {"all-gather", "collective-permute"} & set(kinds):
            found.append(
                f"fsdp {shape.program.mesh.fsdp} and no all-gather: weights are gathered by all-reduce, twice as much sent"
            )
        if compilation.effort == "full" and kinds and not any(each.asynchronous for each in kinds.values()):
            found.append("no collective is asynchronous: none of it happens behind computation")
        if finding.target.platform == "cuda" and finding.target.devices > 8:
            found.append("the network between hosts is not known: all sending is counted at the speed of NVLink")
    waste, names = finding.padding
    if waste > 0.01:
        found.append(f"padding to {finding.target.tile} adds {waste:.0%} to the FLOPs: {'; '.join(names)}")
    if shape.model.dtype == "float32":
        found.append("model.dtype is float32, and the peaks are of bfloat16")
    return found


def describe(finding: Finding) -> Table:
    """What there is to say of one program, for the terminal."""
    table = Table.grid("what", "says", padding=(0, 2))
    for what, says in (
        *_verdict(finding),
        *_cohort(finding),
        *_speed(finding),
        *(("warning", each) for each in warnings(finding)),
    ):
        table.add_row(what, escape(says))
    table.title, table.title_justify, table.title_style = _title(finding), "left", "bold"
    return table


def _title(finding: Finding) -> str:
    shape, runs = finding.program.shape, len(finding.program.cells)
    others = f" and {runs - 1} more run{'s' * (runs > 2)}" if runs > 1 else ""
    parameters = format_quantity(finding.program.cells[0].specification.facts["parameters"])
    return f"{finding.program.run}{others}: {parameters} parameters, {shape.model.layers} layers of width {shape.model.width}"


def _verdict(finding: Finding) -> Iterator[tuple[str, str]]:
    shape, compilation, target = finding.program.shape, finding.compilation, finding.target
    kernel = f", {compilation.attention} attention" if compilation.attention else ""
    rows = f"{shape.micro_batch} of {shape.batch_size} sequences at once"
    yield "as", f"{shape.program.mesh}, remat {shape.program.remat}, {rows}{kernel}"
    failure, memory = finding.failure, compilation.memory
    if failure is not None:
        yield {"memory": "does not fit", "refused": "refused", "compiler": "failed"}[failure.kind], failure.reason
        if finding.instead is not None:
            yield "this fits", finding.instead.overrides(shape)
        elif finding.cohort is not None:
            yield "this fits", f"execution.cohort={finding.cohort}"
        elif compilation.effort != "lower" and failure.kind != "compiler":
            yield (
                "nothing fits",
                f"on any mesh of {target.devices} devices, with remat {REMATS[-1]} and the smallest micro-batch",
            )
    if memory is not None:
        kinds = {"parameters": memory.parameters, "optimizer": memory.optimizer, "activations": memory.activations}
        parts = ", ".join(f"{name} {_gib(size)}" for name, size in kinds.items())
        if memory.peak is None:
            yield "memory", f"of {_gib(target.memory)} GiB on each device {parts}; what else a step needs a compiler would know"
        else:
            whole = f"{_gib(memory.peak)} of {_gib(target.memory)} GiB on each device"
            yield "memory", f"{whole}: {parts}, temporaries {_gib(memory.temporaries or 0.0)}"
    if finding.best is not None:
        yield (
            "lightest",
            finding.best.overrides(shape) or "it is: nothing is recomputed that need not be, no larger micro-batch fits",
        )


def _cohort(finding: Finding) -> Iterator[tuple[str, str]]:
    if finding.packing is None or finding.cohort is None:
        return
    runs = finding.program.together
    memory = finding.packing.compilation.memory
    need = "" if memory is None or memory.peak is None else f", {_gib(memory.peak)} GiB"
    where = spread(runs, finding.cohort, finding.target.devices)
    on = f"each of {where.devices} devices" if where.devices > 1 else "one device"
    side = f"{where.members} side by side on {on}"
    yield "cohort", f"execution.cohort={finding.cohort} trains up to {finding.cohort} of {runs} runs at once, {side}{need}"


def _speed(finding: Finding) -> Iterator[tuple[str, str]]:
    compilation, times, expectation = finding.compilation, finding.times, finding.expectation
    if expectation is None:
        return
    parts = {name: f"{name} {1e3 * value:.3g}" for name, value in times._asdict().items() if value}
    cost = f"{compilation.flops:.3g} FLOPs, {compilation.flops / finding.model_flops:.2f} of the model's"
    counted = parts if compilation.optimised else {"compute": parts.pop("compute")}
    yield "step", f"{cost}: at least {1e3 * finding.least:.3g} ms ({', '.join(counted.values())})"
    if parts and not compilation.optimised:
        yield "level 0", f"{', '.join(parts.values())} ms, of a program that no run will use: --full compiles the one it will"
    for each in compilation.collectives:
        hidden = f", {each.asynchronous} of them asynchronous" if each.asynchronous else ""
        yield "sends", f"{each.count} {each.kind} of {_gib(each.bytes)} GiB in all{hidden}"
    expected = f"{expectation.low:.0%} to {expectation.high:.0%}, after {expectation.source}"
    yield "utilization", f"at most {expectation.ceiling:.0%}; expected {expected}"


def _gib(size: float) -> str:
    return f"{size / GIB:.3g}"


def rows(findings: Sequence[Finding], unnamed: Collection[str] = ()) -> list[dict[str, Any]]:
    """Everything, a row for each run, for machines: bytes, seconds and USD. Runs that are `unnamed` have no id yet."""
    found = []
    for finding in findings:
        compilation, expectation = finding.compilation, finding.expectation
        waste, padded = finding.padding
        packed = finding.packing and finding.packing.compilation.memory
        common = {
            "on": finding.target.name,
            "fits": finding.fits,
            "reason": finding.failure and finding.failure.reason,
            "instead": finding.instead and finding.instead.overrides(finding.program.shape),
            "lightest": finding.best and finding.best.overrides(finding.program.shape),
            "cohort": finding.packing
            and {
                "largest": finding.cohort,
                "members_on_a_device": finding.packing.members,
                "memory": packed and packed.model_dump(),
            },
            "mesh": finding.program.shape.program.mesh.model_dump(),
            "device_memory": finding.target.memory,
            "memory": compilation.memory and {**compilation.memory.model_dump(), "temporaries": compilation.memory.temporaries},
            "collectives": [each.model_dump() for each in compilation.collectives],
            "flops": compilation.flops,
            "model_flops": finding.model_flops,
            "padding": {"waste": waste, "dimensions": padded},
            "times": {**finding.times._asdict(), "least": finding.least} if compilation.flops else None,
            "optimised": compilation.optimised,
            "utilization": expectation and expectation._asdict(),
            "warnings": warnings(finding),
            "compiled": compilation.effort,
            "program": compilation.hash,
            "cpu_seconds": compilation.cpu_seconds,
        }
        for cell in finding.program.cells:
            run, costs = cell.specification.run_id, finding.costs(cell.specification.facts["flops"])
            identity = {"run_id": None if run in unnamed else run, "role": cell.role, "labels": cell.labels}
            found.append({**identity, **common, **costs})
    return found


def cost_table(findings: Sequence[Finding]) -> Table:
    """One line for each run: whether it fits, the hours and USD to expect; totals at the end."""
    target = findings[0].target
    by_run = {cell.specification.run_id: (finding, cell) for finding in findings for cell in finding.program.cells}
    table = Table(title=f"on {target.name}: hours and USD to expect", title_justify="left", box=None, pad_edge=False)
    for name in ("run", "N", "D", "fits", "GiB", "hours", "USD"):
        table.add_column(name, justify="left" if name == "run" else "right", no_wrap=True)
    totals = [0.0, 0.0, 0.0, 0.0]
    for run, (finding, cell) in by_run.items():
        facts, memory = cell.specification.facts, finding.compilation.memory
        costs = finding.costs(facts["flops"])
        totals = [total + (value or 0.0) for total, value in zip(totals, costs.values(), strict=True)]
        table.add_row(
            run,
            format_quantity(facts["parameters"]),
            format_quantity(facts["tokens"]),
            {True: "yes", False: "no", None: "?"}[finding.fits],
            "" if memory is None or memory.peak is None else _gib(memory.peak),
            _between(costs["hours_low"], costs["hours_high"]),
            _between(costs["dollars_low"], costs["dollars_high"]),
        )
    if len(by_run) > 1:
        dollars = _between(totals[2], totals[3]) if target.device.price is not None else ""
        table.add_row("all", "", "", "", "", _between(totals[0], totals[1]), dollars)
    return table


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.2g} - {high:.2g}"


def exit_code(findings: Sequence[Finding]) -> Exit:
    """`OUT_OF_MEMORY` where a run does not fit, `USAGE` where one is refused, `FAILED` where the compiler failed."""
    kinds = {finding.failure.kind for finding in findings if finding.failure is not None}
    for kind, code in (("compiler", Exit.FAILED), ("refused", Exit.USAGE), ("memory", Exit.OUT_OF_MEMORY)):
        if kind in kinds:
            return code
    return Exit.DONE

"""The mesh of each program that is fastest or cheapest among those that fit, and a plan with it.        (no jax)"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Literal, NamedTuple

from scaling.config import ExecutionConfig
from scaling.preflight.hardware import Target
from scaling.preflight.padding import padding_waste
from scaling.preflight.programs import PlannedProgram, Shape
from scaling.preflight.roofline import Times, step_times
from scaling.preflight.search import REMATS, Compile, Fitting, largest_micro_batch, meshes
from scaling.sweeps.plan import Cell, Plan

Wish = Literal["fastest", "cheapest"]


class Choice(NamedTuple):
    """How to execute a program, and where."""

    target: Target
    fitting: Fitting
    times: Times

    @property
    def dollars(self) -> float:
        """Of a step; of hardware without a price, its devices' seconds."""
        price = self.target.hourly_price
        return self.times.apart * (self.target.devices if price is None else price / 3600)


def best_mesh(shape: Shape, target: Target, compile_shape: Compile, workers: int) -> Choice | None:
    """The fastest way that fits, of every mesh over the target's devices; None where nothing does.

    Meshes are compared with the lightest rematerialisation that fits on any of them, each with its largest micro-batch, by
    `Times.apart`: what an unoptimised compilation shows says nothing of overlap.
    """
    candidates = [shape.changed(mesh=mesh) for mesh in meshes(shape, target.devices, target.slices)]
    for remat in REMATS:

        def of_mesh(candidate: Shape, remat: str = remat) -> Fitting | None:
            return largest_micro_batch(candidate, remat, compile_shape)

        with ThreadPoolExecutor(workers) as threads:
            fitting = [each for each in threads.map(of_mesh, candidates) if each]
        if fitting:
            choices = [Choice(target, each, _times(each, target)) for each in fitting]
            return min(choices, key=lambda choice: choice.times.apart)
    return None


def _times(fitting: Fitting, target: Target) -> Times:
    shape = fitting.shape
    return step_times(fitting.compilation, target, padding_waste(shape, target.tile)[0], shape.program.mesh.devices)


def choose(choices: Sequence[Choice], wish: Wish) -> Choice | None:
    """Of the best of each target, the one wished for."""
    key: Callable[[Choice], float] = (lambda each: each.times.apart) if wish == "fastest" else (lambda each: each.dollars)
    return min(choices, key=key, default=None)


def chosen_plan(plan: Plan, chosen: Mapping[str, Choice], programs: Sequence[PlannedProgram]) -> Plan:
    """The plan with the execution that was chosen for the runs of each program, by the program's first run.

    What a run is stays as it was: its id is made without its execution.
    """
    executions = {
        cell.specification.run_id: (cell.specification.config.execution, chosen[program.run])
        for program in programs
        if program.run in chosen
        for cell in program.cells
    }

    def moved(cell: Cell) -> Cell:
        found = executions.get(cell.specification.run_id)
        if found is None:
            return cell
        planned, choice = found
        execution = ExecutionConfig.model_validate({**planned.model_dump(), **choice.fitting.shape.program.model_dump()})
        config = cell.specification.config.model_copy(update={"execution": execution})
        return replace(cell, specification=replace(cell.specification, config=config))

    return replace(plan, cells=[moved(cell) for cell in plan.cells])

"""The largest micro-batch and the lightest rematerialisation that fit, and the nearest change where a run does not.
(no jax)"""

import math
from collections.abc import Callable
from typing import NamedTuple

from scaling.config import MeshConfig
from scaling.preflight.jobs import Compilation
from scaling.preflight.programs import Shape

REMATS = ("none", "dots", "dots_without_batch", "full")
"""From what recomputes nothing to what keeps least."""

Compile = Callable[[Shape], Compilation]


class Fitting(NamedTuple):
    """A way to execute a program that fits."""

    shape: Shape
    compilation: Compilation

    def overrides(self, of: Shape) -> str:
        """What to change in a configuration, as the command takes it; empty for nothing."""
        ours, theirs = self.shape.program, of.program
        changes = []
        if ours.mesh != theirs.mesh:
            axes = {axis: size for axis, size in ours.mesh.model_dump().items() if size != getattr(theirs.mesh, axis)}
            changes += [f"execution.mesh.{axis}={size}" for axis, size in axes.items()]
        if ours.remat != theirs.remat:
            changes.append(f"execution.remat={ours.remat}")
        if self.shape.micro_batch != of.micro_batch:
            changes.append(f"execution.micro_batch={self.shape.micro_batch}")
        return " ".join(changes)


def micro_batches(shape: Shape) -> list[int]:
    """The micro-batches that a batch can be split into on a mesh, the largest first."""
    shards, batch = shape.program.mesh.batch_shards, shape.batch_size
    return [rows for rows in range(batch, 0, -1) if batch % rows == 0 and rows % shards == 0]


def largest_micro_batch(shape: Shape, remat: str, compile_shape: Compile) -> Fitting | None:
    """The most sequences at once that fit with a policy, by bisection: memory does not fall with the micro-batch."""

    def attempt(rows: int) -> Fitting | None:
        changed = shape.changed(remat=remat, micro_batch=None if rows == shape.batch_size else rows)
        compilation = compile_shape(changed)
        return Fitting(changed, compilation) if compilation.failure is None else None

    rows = micro_batches(shape)
    if not rows:
        return None
    largest = attempt(rows[0])
    if largest or len(rows) == 1:
        return largest
    found = attempt(rows[-1])
    if found is None:
        return None
    too_large, fits = 0, len(rows) - 1
    while fits - too_large > 1:
        middle = (too_large + fits) // 2
        trial = attempt(rows[middle])
        if trial:
            found, fits = trial, middle
        else:
            too_large = middle
    return found


def lightest(shape: Shape, compile_shape: Compile) -> Fitting | None:
    """The lightest policy that any micro-batch fits with, and the largest such micro-batch; None where nothing fits."""
    for remat in REMATS:
        found = largest_micro_batch(shape, remat, compile_shape)
        if found:
            return found
    return None


def meshes(shape: Shape, devices: int, slices: int) -> list[MeshConfig]:
    """Every data x fsdp x tensor mesh over all devices that the batch divides over, `replica` between the slices.

    The axis of experts stays as it is.
    """
    expert = shape.program.mesh.expert
    within, rest = divmod(devices, slices * expert)
    if rest:
        return []
    factors = [size for size in range(1, within + 1) if within % size == 0]
    found = [
        MeshConfig(replica=slices, data=within // (fsdp * tensor), fsdp=fsdp, expert=expert, tensor=tensor)
        for tensor in factors
        for fsdp in factors
        if within % (fsdp * tensor) == 0
    ]
    return [mesh for mesh in found if shape.batch_size % mesh.batch_shards == 0]


def nearest_mesh(shape: Shape, devices: int, slices: int, compile_shape: Compile) -> Fitting | None:
    """The mesh nearest to that of a program on which it fits somehow: with its own settings, else with the least memory."""

    def distance(mesh: MeshConfig) -> float:
        theirs = shape.program.mesh.model_dump()
        return sum(abs(math.log2(size / theirs[axis])) for axis, size in mesh.model_dump().items())

    for mesh in sorted(meshes(shape, devices, slices), key=distance):
        if mesh == shape.program.mesh:
            continue
        here = shape.changed(mesh=mesh)
        rows = micro_batches(here)
        least = here.changed(remat=REMATS[-1], micro_batch=None if rows[-1] == here.batch_size else rows[-1])
        for each in [here] * (here.micro_batch in rows) + [least]:
            compilation = compile_shape(each)
            if compilation.failure is None:
                return Fitting(each, compilation)
            if compilation.failure.kind != "memory":
                break
    return None

"""One program for one target: traced, lowered and compiled in this process, and what there is to learn from each."""

import hashlib
import json
import re
import sys
import time
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import mesh_utils, topologies

from scaling.errors import ScalingError
from scaling.models.kernels import choose_attention
from scaling.preflight.collectives import find_collectives
from scaling.preflight.flops import count
from scaling.preflight.gpu import target_config
from scaling.preflight.hardware import Target
from scaling.preflight.hlo import Module
from scaling.preflight.jobs import Compilation, Effort, Failure, Job, Memory
from scaling.preflight.memory import activation_bytes, sharded_bytes
from scaling.preflight.programs import Shape
from scaling.record import read_json, write_json
from scaling.training.mesh import AXES
from scaling.training.optimizer import no_hyperparameters
from scaling.training.program import Program, make_program

FORMAT = 3
"""Of what is kept on disk: raised by a change in how a compiled program is read."""


def compile_job(job: Job) -> Compilation:
    """Trace, lower and compile; whatever goes wrong is in the answer, by its first line, and in full on stderr."""
    try:
        return _compile(job)
    except ScalingError as error:
        return _failed(job, "refused", str(error))
    except jax.errors.JaxRuntimeError as error:
        return _failed(job, "compiler", _first_line(error))
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:  # what lowering says of shapes and kernels
        return _failed(job, "refused", _first_line(error))


def _failed(job: Job, kind: Any, reason: str) -> Compilation:
    if kind == "compiler":
        print(f"{job.target.name}, {job.shape.program.mesh}: {job.shape.model_dump_json()}", file=sys.stderr)
        traceback.print_exc()
    return Compilation(effort=job.effort, failure=Failure(kind=kind, reason=reason))


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _compile(job: Job) -> Compilation:
    begun = time.process_time()
    shape, target = job.shape, job.target
    devices = target_devices(target, job.effort)
    notes: list[str] = []
    mesh = shape.program.mesh
    if mesh.replica % target.slices:
        raise ScalingError(
            f"execution.mesh.replica {mesh.replica} is not a multiple of the {target.slices} slices it lies between"
        )
    if mesh.devices < target.devices:
        notes.append(f"the mesh takes {mesh.devices} of {target.devices} devices: the others idle and cost as much")
    shape = _with_kernel(shape, target, notes)
    if (
        target.platform == "tpu"
        and job.effort != "lower"
        and mesh.devices > 1
        and not _fits_torus(shape, devices, target.slices)
    ):
        notes.append("an axis of the mesh takes parts of several axes of the torus: its rings share links")
    program = program_of_shape(shape, devices, target.platform)
    traced = program.step.trace(*step_arguments(program, shape))  # type: ignore[attr-defined]
    lowered = traced.lower(lowering_platforms=(target.platform,)) if job.effort == "lower" else traced.lower()
    digest = hashlib.sha256(lowered.as_text().encode()).hexdigest()
    stored = _stored(job, digest)
    if stored is not None and (content := read_json(stored)) is not None:
        return Compilation.model_validate(content)
    state = program.abstract_state
    attention = _kernel(shape, shape.program.attention, target.platform)
    memory = Memory(
        parameters=sharded_bytes(state.parameters),
        optimizer=sharded_bytes(state.optimizer),
        activations=activation_bytes(shape, attention) * (shape.members or 1),
    )
    known = {"effort": job.effort, "attention": attention, "flops": count(traced.jaxpr), "notes": tuple(notes), "hash": digest}
    answer = Compilation(**known, memory=memory)
    if job.effort != "lower":
        answer = _measured(answer, lowered, job)
    answer = answer.model_copy(update={"cpu_seconds": time.process_time() - begun})
    if stored is not None and (answer.failure is None or answer.failure.kind == "memory"):
        write_json(stored, answer.model_dump(mode="json"))
    return answer


def _measured(answer: Compilation, lowered: Any, job: Job) -> Compilation:
    """The answer with what only the compiler knows."""
    quick = job.effort == "quick" and job.target.platform == "tpu"
    jax.config.update("jax_optimization_level", "O0" if quick else "UNKNOWN")  # the second is the default
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        line = _first_line(error)
        if "RESOURCE_EXHAUSTED" not in line:
            raise
        sizes = re.search(r"\(([\d.]+)([KMGT])\) exceeds available \w+ \(([\d.]+)([KMGT])\)", line)
        reason = line
        if sizes:
            reason = f"temporaries of {sizes[1]} {sizes[2]}iB do not fit into the {sizes[3]} {sizes[4]}iB of a device"
        return answer.model_copy(update={"failure": Failure(kind="memory", reason=reason)})
    module, statistics = Module(compiled.as_text()), compiled.memory_analysis()
    assert answer.memory is not None
    peak = float(statistics.peak_memory_in_bytes)
    if job.target.platform == "cpu":  # whose peak is that of its arguments alone
        peak = float(statistics.argument_size_in_bytes + statistics.temp_size_in_bytes)
    failure = None
    if peak > job.target.memory:
        need, room = peak / 2**30, job.target.memory / 2**30
        failure = Failure(kind="memory", reason=f"the peak of {need:.2f} GiB is more than the {room:.2f} GiB of a device")
    found = {
        "optimised": not quick,
        "memory": answer.memory.model_copy(update={"peak": peak}),
        "failure": failure,
        "accessed": module.accessed_bytes(job.target.cache),
        "collectives": tuple(find_collectives(module, job.target.devices, job.target.slices)),
    }
    return answer.model_copy(update=found)


def target_devices(target: Target, effort: Effort) -> list[Any]:
    """Devices to compile for; for lowering alone, and for the CPU, those of this process.

    Raises:
        ScalingError: libtpu does not know the topology.
    """
    if target.platform == "cpu" or effort == "lower":
        return jax.devices("cpu")[: target.devices]
    try:
        return _topology(target.platform, target.kind, target.topology, json.dumps(target.arguments))
    except jax.errors.JaxRuntimeError as error:
        raise ScalingError(f"--on {target.name}: no such topology as {target.topology}: {_first_line(error)}") from None


@cache
def _topology(platform: str, kind: str, topology: str, arguments: str) -> list[Any]:
    if platform == "tpu":
        return topologies.get_topology_desc(topology, "tpu", **json.loads(arguments)).devices
    return topologies.get_topology_desc(platform=platform, target_config=target_config(kind), topology=topology).devices


def program_of_shape(shape: Shape, devices: Sequence[Any] | None = None, platform: str | None = None) -> Program:
    """The functions of a shape for these devices; else for those of this machine.

    Those of a cohort are for the first of the devices: what each does with its members is the same, and they send nothing.
    """
    return make_program(
        shape.model,
        shape.vocabulary,
        shape.sequence_length,
        shape.program,
        shape.optimizer,
        shape.skip_spikes,
        shape.objective,
        shape.separate_documents,
        devices=None if devices is None else tuple(devices)[: 1 if shape.members else None],
        platform=platform,
        members=shape.members,
    )


def step_arguments(program: Program, shape: Shape) -> tuple[Any, ...]:
    """What a step is called with, that of a cohort too: shapes, types and shardings alone."""
    runs = () if program.members is None else (program.members,)
    batch = (*runs, shape.batch_size, shape.sequence_length + 1)
    tokens = jax.ShapeDtypeStruct(batch, jnp.int32, sharding=program.batch_sharding)
    hyper = jax.eval_shape(lambda: no_hyperparameters(shape.optimizer))
    return program.abstract_state, tokens, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(runs, leaf.dtype), hyper)


def _with_kernel(shape: Shape, target: Target, notes: list[str]) -> Shape:
    """cuDNN's attention can only be lowered where NVIDIA's libraries are; elsewhere XLA's stands for it, and that is said."""
    asked = shape.program.attention
    if (
        target.platform != "cuda"
        or asked not in ("auto", "cudnn")
        or _version("nvidia-cudnn-cu12")
        or _version("nvidia-cudnn-cu13")
    ):
        return shape
    if _kernel(shape, asked, "cuda") == "cudnn":
        notes.append("cuDNN is not installed here: compiled with XLA's attention, which needs more memory than the run will")
    return shape.changed(attention="xla")


def _kernel(shape: Shape, name: str, platform: str) -> str:
    return choose_attention(name, shape.model, shape.sequence_length, platform, shape.separate_documents)


def _fits_torus(shape: Shape, devices: list[Any], slices: int) -> bool:
    """Whether every axis of the mesh is made of whole axes of a slice."""
    mesh = shape.program.mesh
    within = [getattr(mesh, axis) // (slices if axis == "replica" else 1) for axis in AXES]
    try:
        mesh_utils.create_device_mesh(within, devices[: len(devices) // slices])
    except (NotImplementedError, ValueError):
        return False
    return True


def _stored(job: Job, digest: str) -> Path | None:
    if job.directory is None:
        return None
    versions = [FORMAT, *(_version(name) for name in ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin", "jax-cuda13-plugin"))]
    key = [digest, versions, job.target.model_dump(mode="json", exclude={"name", "device"}), job.effort]
    return Path(job.directory) / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]}.json"


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None

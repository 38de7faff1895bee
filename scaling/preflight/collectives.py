"""What devices send each other in a step, from the compiled program: kinds, bytes, what hides behind work.        (no jax)"""

import math
import re
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from scaling.preflight.hlo import Executed, Instruction, Module, arrays
from scaling.section import Section

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "send")


class Collective(Section):
    """All collectives of a kind in one step of one device."""

    kind: str
    count: int
    """How often, loops included."""
    bytes: float
    """Of the whole array on one device: gathered, or to be reduced."""
    sent: float
    """Bytes that a device sends between the devices of a slice, by a ring over each group."""
    sent_between_slices: float
    asynchronous: int
    """How many of them are started before they are waited for."""


class _One(NamedTuple):
    kind: str
    bytes: float
    sent: float
    between: bool
    asynchronous: bool


def find_collectives(module: Module, devices: int, slices: int = 1) -> list[Collective]:
    """The collectives of a step, by kind.

    Args:
        module: compiled for `devices` devices, over all slices; a device's slice is its place in the mesh.
        devices: over all slices.
        slices: of the topology.
    """
    found: dict[str, list[tuple[_One, int]]] = defaultdict(list)
    for each in module.executed(inside_fusions=True):
        one = _collective(each, devices, slices)
        if one is not None:
            found[one.kind].append((one, each.times))
    return [
        Collective(
            kind=kind,
            count=sum(times for _, times in found[kind]),
            bytes=sum(one.bytes * times for one, times in found[kind]),
            sent=sum(one.sent * times for one, times in found[kind] if not one.between),
            sent_between_slices=sum(one.sent * times for one, times in found[kind] if one.between),
            asynchronous=sum(times for one, times in found[kind] if one.asynchronous),
        )
        for kind in KINDS
        if kind in found
    ]


def _collective(executed: Executed, devices: int, slices: int) -> _One | None:
    each = executed.instruction
    started = each.opcode.endswith("-start")
    kind = each.opcode.removesuffix("-start")
    if kind not in KINDS:
        return None
    sizes = arrays(each.type) or [0.0]
    operand_sizes = [
        size
        for name in each.operands
        if name in executed.computation.instructions
        for size in arrays(executed.computation.instructions[name].type)
    ]
    groups = _groups(each, devices)
    members = groups.shape[1] if groups.size else devices
    if kind == "all-gather":
        whole = sum(operand_sizes) * members if operand_sizes else max(sizes)
    elif kind in ("all-reduce", "reduce-scatter"):
        whole = sum(operand_sizes) or sum(sizes)
    else:
        whole = sum(operand_sizes) or max(sizes)
    if kind == "all-reduce" and executed.within.startswith("all-reduce-scatter"):
        kind = "reduce-scatter"  # a TPU's fusion of the two
    share = (members - 1) / members
    factor = {"all-reduce": 2 * share, "collective-permute": 1.0, "send": 1.0}.get(kind, share)
    slice_of = groups // max(1, devices // slices)
    between = kind == "send" or bool(groups.size and (slice_of != slice_of[:, :1]).any())
    return _One(kind, whole, factor * whole, between, started or "async" in executed.within)


def _groups(each: Instruction, devices: int) -> np.ndarray:
    """Which devices take part together, [groups, members]; all of them where nothing is said."""
    listed = re.search(r"replica_groups=\{(\{[^=]*?\})\}", each.attributes)
    if listed:
        rows = [[int(number) for number in re.findall(r"\d+", row)] for row in re.findall(r"\{([\d,]*)\}", listed[1])]
        return np.array(rows) if rows and len({len(row) for row in rows}) == 1 else np.empty((0, 0), int)
    iota = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", each.attributes)
    if iota:
        shape, of, order = ([int(number) for number in (part or "").split(",") if number] for part in iota.groups())
        numbers = np.arange(math.prod(of)).reshape(of)
        return (numbers.transpose(order) if order else numbers).reshape(shape)
    axes = re.search(
        r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? \{([^}]*)\}", each.attributes
    )
    if axes:
        return _mesh_groups(*axes.groups())
    pairs = re.search(r"source_target_pairs=\{(.*?)\}\}", each.attributes)
    if pairs:
        return np.array([int(number) for number in re.findall(r"\d+", pairs[1])]).reshape(-1, 2)
    return np.arange(devices)[None]


def _mesh_groups(mesh: str, of: str | None, order: str | None, along: str) -> np.ndarray:
    """Groups named by axes of a mesh: `mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}`; a part of an axis is `'a':(2)2`."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh)}
    shape: list[int] = []
    chosen: list[int] = []
    parts = {
        name: (int(before or 1), int(size or 0)) for name, before, size in re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", along)
    }
    for name, size in sizes.items():
        before, taken = parts.get(name, (size, 1))
        taken = taken or size // before
        if name in parts:
            chosen.append(len(shape) + 1)
        shape += [before, taken, size // (before * taken)]
    numbers = np.arange(math.prod(sizes.values()))
    if of:
        numbers = numbers.reshape([int(each) for each in of.split(",")])
        numbers = numbers.transpose([int(each) for each in order.split(",")]) if order else numbers
    others = [axis for axis in range(len(shape)) if axis not in chosen]
    members = math.prod(shape[axis] for axis in chosen)
    return numbers.reshape(shape).transpose(*others, *chosen).reshape(-1, members)

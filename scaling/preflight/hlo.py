"""Optimized HLO as text, read for what no analysis of the compiler says: what a loop's body does as often as it runs.
(no jax)

`cost_analysis()` counts the body of a loop once, so that a model whose layers are scanned seems to have one.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

_BYTES = {
    "pred": 1,
    "s4": 0.5,
    "u4": 0.5,
    "s8": 1,
    "u8": 1,
    "s16": 2,
    "u16": 2,
    "bf16": 2,
    "f16": 2,
    "s32": 4,
    "u32": 4,
    "f32": 4,
}
_BYTES |= {"s64": 8, "u64": 8, "f64": 8, "c64": 8, "c128": 16, "f8e4m3fn": 1, "f8e5m2": 1}
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](\{[^}]*\})?")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")

_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional", "call", "after-all",
    "partition-id", "replica-id", "opt-barrier", "async-start", "async-update", "call-start",
}  # fmt: skip
"""Instructions that move no bytes of their own."""


@dataclass(frozen=True)
class Instruction:
    """One line of a computation."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    attributes: str
    literal: str
    """What stands in the parentheses, of a constant or a parameter."""
    root: bool

    def attribute(self, name: str) -> str | None:
        """The computation that an attribute names."""
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return match[1] if match else None


@dataclass
class Computation:
    """Its instructions by name, in order."""

    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction | None:
        """What it returns."""
        return next((each for each in self.instructions.values() if each.root), None)


class Executed(NamedTuple):
    """An instruction, how often a step executes it, and what is around it."""

    instruction: Instruction
    times: int
    computation: Computation
    within: str
    """The name of the fusion or call that it is part of; empty where it stands by itself."""


class Module:
    """The text of a compiled program."""

    def __init__(self, text: str):
        self.computations: dict[str, Computation] = {}
        self.entry = ""
        current: Computation | None = None
        for line in text.splitlines():
            head = _HEAD.match(line)
            if head:
                current = self.computations.setdefault(head[2], Computation())
                self.entry = head[2] if head[1] else self.entry
            elif current is not None and (match := _INSTRUCTION.match(line)):
                instruction = _parse(bool(match[1]), match[2], match[3])
                if instruction is not None:
                    current.instructions[instruction.name] = instruction

    def executed(self, inside_fusions: bool = False) -> Iterator[Executed]:
        """The instructions of a step, with those of loops as often as they run."""
        yield from self._walk(self.entry, 1, "", inside_fusions)

    def _walk(self, name: str, times: int, within: str, inside: bool) -> Iterator[Executed]:
        computation = self.computations.get(name)
        for each in computation.instructions.values() if computation else ():
            yield Executed(each, times, computation, within)  # type: ignore[arg-type]
            if each.opcode == "while":
                yield from self._walk(each.attribute("body") or "", times * self._trips(each), within, inside)
            elif each.opcode == "conditional":
                for branch in self._branches(each):
                    yield from self._walk(branch, times, within, inside)
            elif each.opcode == "call":
                yield from self._walk(each.attribute("to_apply") or "", times, within, inside)
            elif each.opcode == "call-start":  # on a core beside, as TPU7x sends
                yield from self._walk(each.attribute("to_apply") or "", times, f"async {each.name}", inside)
            elif each.opcode == "async-start" or (inside and each.opcode == "fusion"):
                yield from self._walk(each.attribute("calls") or "", times, each.name, inside)

    def _branches(self, conditional: Instruction) -> list[str]:
        listed = re.search(r"branch_computations=\{([^}]*)\}", conditional.attributes)
        if listed:
            return [name.strip().lstrip("%") for name in listed[1].split(",")]
        return [name for key in ("true_computation", "false_computation") if (name := conditional.attribute(key))]

    def _trips(self, loop: Instruction) -> int:
        """How often a loop runs: as the compiler says, else the bound in its condition."""
        known = re.search(r'"known_trip_count":\s*\{"n":"(\d+)"', loop.attributes)
        if known:
            return int(known[1])
        condition = self.computations.get(loop.attribute("condition") or "", Computation())
        bounds = [
            int(each.literal)
            for each in condition.instructions.values()
            if each.opcode == "constant" and each.literal.isdigit()
        ]
        return max(bounds, default=1)

    def accessed_bytes(self, cache: float = 0.0) -> float:
        """Bytes that a step reads from and writes to the memory of one device, each instruction or fusion by itself.

        What a fusion only slices counts with the slice, what it updates in place with the update. Buffers that the compiler
        keeps in the chip (memory space 1 of a TPU) do not count.

        Args:
            cache: bytes that the hardware may still have of what was touched before. Of every array so much does not count,
                which leaves a bound from below: where one instruction reads what the last one wrote, it may find it there.
        """
        return sum(times * self._accessed(each, computation, cache) for each, times, computation, _ in self.executed())

    def _accessed(self, each: Instruction, computation: Computation, cache: float) -> float:
        if each.opcode in _FREE or each.opcode.endswith("-done"):
            return 0.0
        types = [computation.instructions[name].type for name in each.operands if name in computation.instructions]
        out = memory_bytes(each.type, cache)
        if each.opcode.endswith("-start"):
            return out  # what it reads is part of its type
        if each.opcode in ("dynamic-slice", "slice", "gather"):
            return 2 * out
        if each.opcode == "dynamic-update-slice":
            return 2 * memory_bytes(types[1], cache) if len(types) > 1 else out
        fused = self.computations.get(each.attribute("calls") or "") if each.opcode == "fusion" else None
        if fused is None:
            return out + sum(memory_bytes(kind, cache) for kind in types)
        read = (_read(fused, number, kind, cache) for number, kind in enumerate(types))
        return _written(fused, each.type, cache) + sum(read)


def _read(fused: Computation, number: int, operand: str, cache: float) -> float:
    """What a fusion reads of its operand."""
    inside, whole = fused.instructions.values(), memory_bytes(operand, cache)
    parameter = next((each for each in inside if each.opcode == "parameter" and each.literal == str(number)), None)
    if parameter is None:
        return whole
    read = 0.0
    for user in inside:
        if parameter.name not in user.operands:
            continue
        if user.opcode in ("dynamic-slice", "slice", "gather") and user.operands[0] == parameter.name:
            read += memory_bytes(user.type, cache)
        elif not (user.opcode == "dynamic-update-slice" and user.operands[0] == parameter.name):
            return whole
    return min(read, whole)


def _written(fused: Computation, out: str, cache: float) -> float:
    root = fused.root
    if root is not None and root.opcode == "dynamic-update-slice":
        update = fused.instructions.get(root.operands[1])
        return memory_bytes(update.type if update else out, cache)
    return memory_bytes(out, cache)


def _parse(root: bool, name: str, rest: str) -> Instruction | None:
    """An instruction from what follows its `=`."""
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    kind, rest = rest[:end], rest[end:].lstrip()
    opening = rest.find("(")
    if opening < 1:
        return None
    closing = _closing(rest, opening)
    inner = rest[opening + 1 : closing]
    operands = tuple(_NAME.findall(inner)) or tuple(part.strip() for part in inner.split(",") if re.match(r"\s*[a-z]", part))
    return Instruction(name, kind, rest[:opening], operands, rest[closing + 1 :], inner, root)


def _closing(text: str, opening: int) -> int:
    depth = 0
    for position in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        if not depth:
            return position
    return len(text) - 1


def arrays(kind: str) -> list[float]:
    """Bytes of each array of a type."""
    return [_size(name, shape) for name, shape, _ in _ARRAY.findall(kind)]


def memory_bytes(kind: str, cache: float = 0.0) -> float:
    """Bytes of the arrays of a type that are in the device's main memory, each but for what a cache can hold of it."""
    sizes = (_size(name, shape) for name, shape, layout in _ARRAY.findall(kind) if "S(1)" not in layout)
    return sum(max(0.0, size - cache) for size in sizes)


def _size(name: str, shape: str) -> float:
    return math.prod(int(each) for each in shape.split(",") if each) * _BYTES.get(name, 4)

"""The slices of Cloud TPUs that can be had, and which of them a run fits.        (no jax)

Sources: Google's pages on each generation (docs.cloud.google.com/tpu/docs/v4 to v6e, tpu7x: shapes, chips of a host, memory
of a chip; `runtimes`: images), and `src/xpk/core/system_characteristics.py` of AI-Hypercomputer/xpk (GKE's node labels, and the
rule for 3D shapes).
"""

import difflib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod

from scaling.errors import ScalingError
from scaling.quantities import format_quantity
from scaling.sweeps.launchers.launcher import Cell, devices_of

CHIPS_OF_A_HOST = 4
"""In a slice of several hosts."""

LEAST_BYTES_PER_PARAMETER = 8
"""float32 weights and their gradient: what any optimizer needs, before its own state and the activations."""


@dataclass(frozen=True)
class Generation:
    """One generation of TPU: what its slices are called and look like."""

    name: str
    gke_label: str
    """Of the nodes in GKE: `cloud.google.com/gke-tpu-accelerator`."""
    cloud_name: str | None
    """Of its accelerator types in the Cloud TPU API, before the number; None where that API does not have it."""
    cores_per_chip: int
    """What the number in an accelerator type counts."""
    runtime: str | None
    """The image of a TPU VM."""
    gibibytes: int
    """Memory of a chip."""
    devices_per_chip: int
    """As JAX counts them."""
    most_chips: int
    flat: bool
    """Whether its network is a 2D torus, else a 3D one."""

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """Every shape of a slice, smallest first."""
        if self.flat:
            return [(1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)]
        within_a_cube = [(2, 2, 1), (2, 2, 2), (2, 2, 4), (2, 4, 4)]
        if self.name == "v7x":
            within_a_cube.insert(0, (1, 1, 1))
        cubes = [
            shape
            for shape in itertools.combinations_with_replacement(range(4, 257, 4), 3)  # A <= B <= C, multiples of 4
            if prod(shape) <= self.most_chips
        ]
        return [*within_a_cube, *sorted(cubes, key=lambda shape: (prod(shape), shape[-1]))]


GENERATIONS = {
    each.name: each
    for each in (
        Generation("v4", "tpu-v4-podslice", "v4", 2, "tpu-ubuntu2204-base", 32, 1, 4096, flat=False),
        Generation("v5e", "tpu-v5-lite-podslice", "v5litepod", 1, "v2-alpha-tpuv5-lite", 16, 1, 256, flat=True),
        Generation("v5p", "tpu-v5p-slice", "v5p", 2, "v2-alpha-tpuv5", 95, 1, 8960, flat=False),
        Generation("v6e", "tpu-v6e-slice", "v6e", 1, "v2-alpha-tpuv6e", 32, 1, 256, flat=True),
        Generation("v7x", "tpu7x", None, 2, None, 192, 2, 9216, flat=False),
    )
}


@dataclass(frozen=True)
class Slice:
    """Chips that one job gets together."""

    generation: Generation
    shape: tuple[int, ...]

    @property
    def topology(self) -> str:
        """Such as `4x4`."""
        return "x".join(map(str, self.shape))

    @property
    def chips(self) -> int:
        """How many."""
        return prod(self.shape)

    @property
    def devices(self) -> int:
        """How many, as JAX counts them."""
        return self.chips * self.generation.devices_per_chip

    @property
    def hosts(self) -> int:
        """How many machines drive it; up to 8 chips of a 2D generation are on one."""
        return 1 if self.generation.flat and self.chips <= 8 else max(1, self.chips // CHIPS_OF_A_HOST)

    def __str__(self) -> str:
        return f"{self.generation.name}:{self.topology}"


def read_slice(text: str) -> Slice:
    """`v5e:4x4` as a slice; a `ScalingError` names the nearest one where there is no such."""
    name, _, topology = text.partition(":")
    if name not in GENERATIONS:
        spellings = {each: each for each in GENERATIONS} | {
            each.cloud_name or each.gke_label: each.name for each in GENERATIONS.values()
        }
        near = difflib.get_close_matches(name, spellings, n=1, cutoff=0.3)
        hint = f"did you mean {spellings[near[0]]}? " if near else ""
        raise ScalingError(f"no TPU generation {name!r} in {text!r}; {hint}Known: {', '.join(GENERATIONS)}; write v5e:4x4")
    generation = GENERATIONS[name]
    try:
        shape = tuple(int(side) for side in topology.split("x"))
    except ValueError:
        shape = ()
    if shape not in generation.shapes:
        near_slice = Slice(generation, _nearest(shape, generation.shapes))
        raise ScalingError(
            f"no TPU slice {text!r}; the nearest of {name} is {near_slice} "
            f"({_count(near_slice.chips, 'chip')} on {_count(near_slice.hosts, 'host')})"
        )
    return Slice(generation, shape)


def choose_slice(cell: Cell, offered: Iterable[Slice], runs: str) -> Slice:
    """The smallest of the offered slices that a run fits, with its record below `runs`.

    A slice of several hosts must have exactly the devices of the run's mesh, one of a single host at least as many.

    Raises:
        ScalingError: it fits none: its mesh takes another number of devices, or its weights alone are more than their memory;
            or it takes several hosts and its record is in a bucket.
    """
    offered = sorted(offered, key=lambda each: each.chips)
    devices, run = devices_of(cell), f"run {cell['run_id']}"
    sized = [each for each in offered if each.devices == devices or (each.hosts == 1 and each.devices >= devices)]
    if not sized:
        sizes = ", ".join(f"{each} ({each.devices} devices)" for each in offered)
        raise ScalingError(f"{run} fits no offered slice: execution.mesh takes {devices} devices, and offered are {sizes}")
    mesh = cell["config"]["execution"]["mesh"]
    needed = LEAST_BYTES_PER_PARAMETER * (cell["parameters"] or 0) / (mesh["fsdp"] * mesh["tensor"] * mesh["expert"])
    roomy = [each for each in sized if needed <= each.generation.gibibytes * 2**30 / each.generation.devices_per_chip]
    if not roomy:
        most = max(each.generation.gibibytes / each.generation.devices_per_chip for each in sized)
        raise ScalingError(
            f"{run} fits no offered slice: weights and gradient of {format_quantity(cell['parameters'])} parameters take "
            f"{needed / 2**30:.0f} GiB of a device of {most:.0f} GiB; split them with execution.mesh.fsdp"
        )
    place = roomy[0]
    if place.hosts > 1 and "://" in runs:
        raise ScalingError(
            f"{run} takes {place.hosts} hosts ({place}), and several hosts of one run cannot keep its record in a bucket "
            f"({runs}): give `runs` a file system that all of them see, or the run a slice of one host"
        )
    return place


def _nearest(shape: tuple[int, ...], shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """By the number of chips, then by the sides."""
    chips = prod(shape)
    sides = sorted(shape)

    def distance(other: tuple[int, ...]) -> tuple[int, int]:
        return abs(prod(other) - chips), sum(abs(a - b) for a, b in itertools.zip_longest(sides, sorted(other), fillvalue=0))

    return min(shapes, key=distance)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")

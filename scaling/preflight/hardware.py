"""Names of hardware, as clouds give them, to what a program is compiled for and what it can do there.        (no jax)

| name | what it is |
|---|---|
| `v5e-16`, `v5litepod-16`, `v6e-64` | so many chips of a TPU with one core each |
| `v4-8`, `v5p-128`, `v7x-16`, `tpu7x-16` | so many cores, two on each chip, as Google counts them |
| `v5p:4x4x8` | a slice of this shape, in chips |
| `2xv5e-16`, `2xv5p:4x4x8` | so many slices, joined by the data centre's network |
| `h100`, `8xh100`, `h100x8` | so many GPUs, eight to a host |
"""

import difflib
import itertools
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from scaling.config import build, read_yaml
from scaling.errors import ScalingError
from scaling.preflight.gpu import CARDS
from scaling.section import Section
from scaling.sweeps.estimates import Hardware

TABLE = Path(__file__).parents[2] / "configs" / "hardware.yaml"

JAX_MEMORY_FRACTION = 0.75
"""Of a GPU's memory that jax takes where nothing else is said (docs.jax.dev, GPU memory allocation)."""

GPUS_PER_HOST = 8


class Device(Hardware):
    """A chip or a card of configs/hardware.yaml, with what a roofline needs of it."""

    memory_bandwidth: float = Field(gt=0)
    link_bandwidth: float = Field(gt=0)


class Generation(NamedTuple):
    """What a program has to know of a kind of TPU."""

    topology: str
    """The name that libtpu has for it."""
    dimensions: int
    """Of the torus."""
    cores_per_chip: int
    devices_per_chip: int
    """1 where both cores of a chip are one device to jax."""
    limit_gib: float
    """Memory that the compiler gives to a program on a device: the bound in its errors (libtpu 0.0.42 and 0.0.50)."""
    tile: int
    """Side of the matrix unit, which dimensions are padded to (jax-ml.github.io/scaling-book/tpus)."""
    chip_config: str | None = None
    """Which libtpu would not choose by itself."""


TPUS = {
    "v4": Generation("v4", 3, 2, 1, 30.75, 128, "megacore"),
    "v5e": Generation("v5e", 2, 1, 1, 15.75, 128),
    "v5p": Generation("v5p", 3, 2, 1, 95.73, 128),
    "v6e": Generation("v6e", 2, 1, 1, 31.24, 256),
    "v7x": Generation("tpu7x", 3, 2, 2, 94.74, 256),
}

ALIASES = {"v5litepod": "v5e", "v5lite": "v5e", "tpu7x": "v7x", "a100": "a100-80"}

FLAT_SLICES = {1: (1, 1), 4: (2, 2), 8: (2, 4), 16: (4, 4), 32: (4, 8), 64: (8, 8), 128: (8, 16), 256: (16, 16)}
"""Slices of a two-dimensional torus, by chips (docs.cloud.google.com/tpu/docs/v6e, supported configurations)."""

SMALL_CUBES = {1: (1, 1, 1), 4: (2, 2, 1), 8: (2, 2, 2), 16: (2, 2, 4), 32: (2, 4, 4)}
"""Slices of a three-dimensional torus below a cube of 64 chips; larger ones are boxes of cubes (…/v4, …/v5p)."""


class Target(Section):
    """What programs are compiled for."""

    name: str
    """As it was given."""
    kind: str
    """A row of configs/hardware.yaml."""
    platform: str
    """`tpu` or `cuda`, as jax names them."""
    topology: str
    slices: int
    devices: int
    """To jax, over all slices."""
    memory: float
    """Bytes that a program can have on one device."""
    tile: int
    """What dimensions of matrix products are padded to; 1 of GPUs, whose libraries have kernels of many tiles."""
    arguments: dict[str, Any]
    """For libtpu, beside the topology."""
    device: Device
    """As jax sees it: of a chip with two devices, half."""
    cache: float = 0.0
    """Bytes that the hardware may keep near by itself: of a GPU its L2. On a TPU the compiler says what stays in the chip."""

    @property
    def hourly_price(self) -> float | None:
        """USD for an hour of all devices."""
        return None if self.device.price is None else self.device.price * self.devices


def parse_target(name: str, table: Path = TABLE) -> Target:
    """The target of a name such as `v5e-16`, `2xv5p-64` or `8xh100`.

    Raises:
        ScalingError: the name is none, with the nearest; a number of chips that no slice has.
    """
    devices = {kind: build(Device, fields) for kind, fields in read_yaml(table).items()}
    text = name.strip().lower()
    match = re.fullmatch(r"(?:(\d+)x)?(.+?)", text)
    count, rest = (int(match[1]) if match and match[1] else 1), match[2] if match else text
    of_gpu = re.fullmatch(r"(.+?)(?:x(\d+))?", rest)
    kind = ALIASES.get(of_gpu[1], of_gpu[1]) if of_gpu else rest
    if kind in devices and kind not in TPUS:
        return _gpus(name, kind, count * int(of_gpu[2] or 1) if of_gpu else count, devices[kind])
    of_tpu = re.fullmatch(r"([a-z0-9]+?)(?:-(\d+)|:(\d+(?:x\d+)+))", rest)
    kind = ALIASES.get(of_tpu[1], of_tpu[1]) if of_tpu else rest
    if of_tpu is None or kind not in TPUS or kind not in devices or count < 1:
        raise _unknown(name, rest, list(devices))
    return _tpus(name, kind, count, int(of_tpu[2]) if of_tpu[2] else of_tpu[3], devices[kind])


def _unknown(name: str, rest: str, kinds: list[str]) -> ScalingError:
    examples = [f"{kind}-{4 * TPUS[kind].cores_per_chip}" if kind in TPUS else kind for kind in kinds]
    known = [*examples, *(f"{kind}-16" for kind in TPUS), *ALIASES]
    near = difflib.get_close_matches(rest, known, n=3, cutoff=0.0)
    forms = "v5e-16, v5p:4x4x4, 2xv5e-16 or 8xh100"
    return ScalingError(
        f"--on {name}: unknown hardware; the nearest are {', '.join(near)} (write {forms}; all: {', '.join(kinds)})"
    )


def _gpus(name: str, kind: str, count: int, device: Device) -> Target:
    if count < 1 or (count > GPUS_PER_HOST and count % GPUS_PER_HOST):
        below = max(1, count // GPUS_PER_HOST) * GPUS_PER_HOST
        raise ScalingError(f"--on {name}: {count} GPUs are not whole hosts of {GPUS_PER_HOST}; the nearest is {below}x{kind}")
    hosts = max(1, count // GPUS_PER_HOST)
    card = CARDS[kind]
    return Target(
        name=name,
        kind=kind,
        platform="cuda",
        topology=f"1x{hosts}x{count // hosts}",
        slices=1,
        devices=count,
        memory=card.memory * JAX_MEMORY_FRACTION,
        tile=1,
        arguments={},
        device=device,
        cache=card.l2_cache,
    )


def _tpus(name: str, kind: str, slices: int, size: int | str, device: Device) -> Target:
    generation = TPUS[kind]
    shape = tuple(map(int, size.split("x"))) if isinstance(size, str) else _shape(name, kind, generation, size)
    chips = math.prod(shape)
    arguments: dict[str, Any] = {"chip_config_name": generation.chip_config} if generation.chip_config else {}
    if chips == 1:
        arguments["chips_per_host_bounds"] = (1, 1, 1)
    if slices > 1:
        arguments["num_slices"] = slices
    parts = generation.devices_per_chip
    amounts = device.model_dump(exclude={"priced", "utilization"})
    part = {field: type(value)(value / parts) for field, value in amounts.items() if value is not None}
    return Target(
        name=name,
        kind=kind,
        platform="tpu",
        topology=f"{generation.topology}:{'x'.join(map(str, shape))}",
        slices=slices,
        devices=slices * chips * parts,
        memory=generation.limit_gib * 2**30,
        tile=generation.tile,
        arguments=arguments,
        device=device.model_copy(update=part),
    )


def _shape(name: str, kind: str, generation: Generation, size: int) -> tuple[int, ...]:
    """The slice of so many chips or cores, as the name counts them."""
    chips, rest = divmod(size, generation.cores_per_chip)
    found = None
    if not rest:
        found = FLAT_SLICES.get(chips) if generation.dimensions == 2 else _box(chips)
    if found is None:
        counts = FLAT_SLICES if generation.dimensions == 2 else (*SMALL_CUBES, *range(64, 8961, 64))
        sizes = [count * generation.cores_per_chip for count in counts]
        near = [f"{kind}-{each}" for each in sorted(sorted(sizes, key=lambda each: abs(each - size))[:2])]
        what = "chips" if generation.cores_per_chip == 1 else "cores"
        raise ScalingError(f"--on {name}: no slice has {size} {what}; the nearest are {' and '.join(near)}")
    return found


def _box(chips: int) -> tuple[int, ...] | None:
    """The most cubic box of cubes of 4 x 4 x 4 chips."""
    if chips in SMALL_CUBES:
        return SMALL_CUBES[chips]
    if chips % 64 or not chips:
        return None
    cubes = chips // 64
    divisors = [n for n in range(1, cubes + 1) if cubes % n == 0]
    boxes = [(a, b, cubes // (a * b)) for a, b in itertools.product(divisors, divisors) if cubes % (a * b) == 0]
    best = min((tuple(sorted(each)) for each in boxes), key=lambda box: (sum(box), box))
    return tuple(4 * each for each in best)

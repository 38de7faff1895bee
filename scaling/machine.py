"""What this machine has, and how fast it multiplies matrices. Imports jax only when asked for devices."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

SIDE = {"cpu": 1024, "gpu": 8192, "tpu": 8192}
SECONDS = 0.3


@dataclass(frozen=True)
class Machine:
    """What a sweep can use here.

    Attributes:
        system: operating system and Python.
        cores: that this process may use.
        memory: of the machine, in bytes; 0 where it is not known.
        backend: of jax: cpu, gpu or tpu.
        devices: kind of each.
        device_memory: in bytes, of one; the machine's where the device is its CPU.
    """

    system: str
    cores: int
    memory: int
    backend: str
    devices: list[str]
    device_memory: int


def look() -> Machine:
    """See what is here; starts jax."""
    import jax

    devices = jax.devices()
    memory = _memory()
    limit = (devices[0].memory_stats() or {}).get("bytes_limit", 0) if devices[0].platform != "cpu" else memory
    return Machine(
        system=f"{platform.platform()}, Python {platform.python_version()}",
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=memory,
        backend=devices[0].platform,
        devices=[device.device_kind for device in devices],
        device_memory=limit,
    )


def products_per_second(machine: Machine) -> float:
    """FLOPs per second of products of large square matrices, on all devices: measured on one of them in `SECONDS`."""
    import jax
    import jax.numpy as jnp

    side = SIDE.get(machine.backend, 4096)
    a_MM = jnp.ones((side, side), jnp.float32 if machine.backend == "cpu" else jnp.bfloat16)
    product = jax.jit(jnp.matmul)
    product(a_MM, a_MM).block_until_ready()
    begun, done = time.perf_counter(), 0
    while time.perf_counter() - begun < SECONDS:
        product(a_MM, a_MM).block_until_ready()
        done += 1
    return len(machine.devices) * done * 2 * side**3 / (time.perf_counter() - begun)


def _memory() -> int:
    facts = Path("/proc/meminfo")
    if facts.exists():
        return int(facts.read_text().split("MemTotal:")[1].split()[0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0

"""What this machine has, and how fast it multiplies matrices. Imports jax only when asked for devices or their memory."""

import os
import platform
import resource
import sys
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
    memory = host_memory()
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


def host_memory() -> int:
    """Bytes of the machine, or of the container where that has less; 0 where it is not known."""
    limits = (_machine_memory(), _container_memory())
    return min((each for each in limits if each), default=0)


def peak_memory() -> dict[str, int]:
    """The most bytes that this process has had so far: `process_peak_bytes`, and of an accelerator `device_peak_bytes`."""
    import jax

    peaks = [(device.memory_stats() or {}).get("peak_bytes_in_use", 0) for device in jax.local_devices()]
    return {"process_peak_bytes": _process_peak(), **({"device_peak_bytes": max(peaks)} if any(peaks) else {})}


def _process_peak() -> int:
    kernel = Path("/proc/self/status")
    if kernel.exists():  # getrusage would count what the process was before it became this program
        return int(kernel.read_text().split("VmHWM:")[1].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _machine_memory() -> int:
    facts = Path("/proc/meminfo")
    if facts.exists():
        return int(facts.read_text().split("MemTotal:")[1].split()[0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _container_memory() -> int:
    """The limit of the control group (version 2) that this process is in; 0 where there is none."""
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return 0 if text == "max" else int(text)

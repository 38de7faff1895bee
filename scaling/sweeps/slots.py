"""The places of this machine that a worker can have to itself: a share of an accelerator, or cores of the CPU.     (no jax)

Small runs share a GPU, and workers on a CPU its memory: as many as the memory holds of what a worker needs
(`scaling.sweeps.packing`). A TPU chip takes one process, whatever its memory.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from scaling.machine import host_memory
from scaling.sweeps.packing import Need, fitting

GPUS, DEVICES = Path("/proc/driver/nvidia/gpus"), Path("/dev")

FRACTION = "XLA_CLIENT_MEM_FRACTION"
"""The share of a GPU's memory that jax takes at its start (docs.jax.dev, "GPU memory allocation")."""


@dataclass(frozen=True)
class Slot:
    """What one worker gets."""

    environment: dict[str, str]
    cores: tuple[int, ...]


def find_slots(workers: int | None = None, need: Need | None = None) -> list[Slot]:
    """Those of this machine, all cores shared out among them.

    Args:
        workers: how many at most.
        need: of memory; None for one worker on each accelerator or core, whatever that may take.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
    most = workers or len(cores)
    if gpus := len(list(GPUS.glob("*"))):
        room = fitting(gpu_memory(), need.device) if need else None
        environments = on_gpus(gpus, min(room or 1, -(-most // gpus), max(1, len(cores) // gpus)))
    elif chips := sorted(DEVICES.glob("accel[0-9]*")) or sorted(DEVICES.glob("vfio/[0-9]*")):
        bounds = {"TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1", "TPU_PROCESS_BOUNDS": "1,1,1"}
        environments = [{"TPU_VISIBLE_CHIPS": str(index), **bounds} for index in range(len(chips))]
    else:
        room = fitting(host_memory(), need.process) if need else None
        environments = [{}] * min(len(cores), room or len(cores))
    count = min(len(environments), workers or len(environments))
    return [Slot(environments[index], tuple(cores[index::count]) or tuple(cores)) for index in range(count)]


def on_gpus(gpus: int, sharing: int) -> list[dict[str, str]]:
    """The environment of each of `sharing` workers on each of so many GPUs; the first ones are on different GPUs."""
    share = {FRACTION: f"{int(90 / sharing) / 100:.2f}"} if sharing > 1 else {}
    return [{"CUDA_VISIBLE_DEVICES": str(index), **share} for _ in range(sharing) for index in range(gpus)]


def gpu_memory() -> int:
    """Bytes of the smallest GPU here; 0 where the driver does not say."""
    try:
        command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]  # in MiB
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
        return min(int(line) for line in answer.split()) * 2**20
    except (OSError, ValueError, subprocess.SubprocessError):
        return 0

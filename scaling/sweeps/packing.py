"""How much memory a worker of this machine needs: what finished runs of the same shape were seen to take, and of a shape that
none has trained yet what the plan estimates.        (no jax)

A worker trains any of the runs that are left, so it needs what the largest of them does. What was seen is the peak of a whole
process, which may have trained a larger run before: it errs to the safe side.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scaling.sweeps.cohorts import most_members

if TYPE_CHECKING:
    from scaling.sweeps.status import CellStatus

SHARE = 0.9
"""Of a memory that workers may fill together."""

PROCESS_BYTES, COPIES = 650e6, 3
"""What a worker on a CPU takes: so much for Python, jax and compiling, and so many times the plan's estimate, which counts a
device's tensors alone. 636 MB were seen of 16x1 (estimate 4 MB) and 1,227 MB of 256x6 (211 MB)."""


@dataclass(frozen=True)
class Need:
    """Bytes that one worker needs."""

    device: float
    """On an accelerator."""
    process: float
    """Of the host's memory, where the CPU is the device."""


def needed(cells: Sequence[dict[str, Any]], seen: Iterable["CellStatus"]) -> Need:
    """What any of the runs of `cells` needs, by the peaks in the records of those `seen` where these have its shape."""
    device: dict[str, float] = {}
    process: dict[str, float] = {}
    for each in seen:
        for peaks, name in ((device, "device_peak_bytes"), (process, "process_peak_bytes")):
            if peak := each.status.get(name):
                peaks[shape(each.cell)] = max(peak, peaks.get(shape(each.cell), 0))

    def planned(cell: dict[str, Any]) -> float:
        return cell["memory"] * most_members(cell)

    return Need(
        max(device.get(shape(cell), planned(cell)) for cell in cells),
        max(process.get(shape(cell), PROCESS_BYTES + COPIES * planned(cell)) for cell in cells),
    )


def fitting(memory: float, need: float) -> int | None:
    """How many workers have room together, one at least; None where the memory or the need is not known."""
    return max(1, int(SHARE * memory / need)) if memory and need else None


def shape(cell: dict[str, Any]) -> str:
    """What the memory of a run depends on: two runs with the same differ in numbers alone."""
    config = cell["config"]
    parts = [config[name] for name in ("model", "execution")]
    parts += [config["data"]["sequence_length"], config.get("training", {}).get("batch_tokens")]
    return json.dumps([*parts, config.get("optimizer", {}).get("name")], sort_keys=True)

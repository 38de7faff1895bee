"""How long `scaling status` takes on a large sweep: `python -m benchmarks.status [RUNS]`, 5,000 by default, about a minute.

The plan is a real one, with trunks; the run directories hold what status asks for, of runs in all states.
"""

import itertools
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from scaling.lease import lease_path
from scaling.record import write_json
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.plan import make_plan
from scaling.sweeps.stored import write_plan

STATES = ("done",) * 6 + ("running", "saved", "failed", "planned")
ENDINGS = {"saved": "preempted", "failed": "mistaken", "done": "done"}
LENGTHS = (200, 400, 800, 1600)
"""Batches of the runs of a trunk."""


def make_sweep(sweep: Path, runs: int, data: Path) -> None:
    """A sweep of so many runs in `sweep`; the little text that it is planned on is kept in `data`."""
    cells = plan(runs, data)["cells"]
    write_plan(sweep, {"sweep": sweep.name, "cells": cells})
    for cell, state in zip(cells, itertools.cycle(STATES), strict=False):
        if state != "planned":
            _leave(sweep / cell["run_id"], state, cell["facts"]["steps"])


def plan(runs: int, data: Path) -> dict[str, Any]:
    """The record of a plan of so many runs, on trunks of four."""
    base = {
        "data": {"corpus": "dyck:pairs=32", "sequence_length": 64, "validation_tokens": "1k", "max_epochs": 1000},
        "training": {"batch_tokens": 512},
        "optimizer": {"learning_rate": 3e-3},
        "schedule": {"kind": "wsd", "warmup_tokens": "5k", "decay_fraction": 0.2},
        "execution": {"cache_directory": str(data)},
    }
    shapes = [{"model": {"width": 32 * width, "layers": 2, "heads": width}} for width in (1, 2, 3, 4, 6)]
    seeds = range(-(-runs // len(shapes) // len(LENGTHS)))
    axes = {"rung": shapes, "training.tokens": [512 * steps for steps in LENGTHS], "seed": list(seeds)}
    record = make_plan(SweepConfig(name="large", base=base, axes=axes)).record()
    return {**record, "cells": record["cells"][:runs]}


def _leave(run: Path, state: str, steps: int) -> None:
    progress = {"step": steps // 2, "steps": steps, "loss": 3.0, "tokens_per_second": 1e4, "attempt": 1}
    write_json(run / "status.json", {"state": state, "reason": "some reason", **progress, "updated": "2026-11-22T12:00:00"})
    lease = {"host": "elsewhere", "boot": "", "pid": 1, "process_start": "1", "tally": {}, "heartbeat": time.time() + 3600}
    ending = {"ending": ENDINGS[state]} if state in ENDINGS else {}
    write_json(lease_path(run, 1), {**lease, **ending, "released": bool(ending)})


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "large"
        make_sweep(sweep, runs, Path(folder) / "data")
        print(f"plan.json: {(sweep / 'plan.json').stat().st_size / 1e6:.1f} MB")
        for options in ((), ("--json",)):
            command = [sys.executable, "-m", "scaling", "status", str(sweep), *options]
            times = []
            for _ in range(3):
                begun, before = time.perf_counter(), _cpu_seconds()
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
                times.append((time.perf_counter() - begun, _cpu_seconds() - before))
            wall, cpu = map(min, zip(*times, strict=True))
            print(f"scaling status {' '.join(options):7}{runs} runs: {wall:.2f} s, of the CPU {cpu:.2f} s (the best of 3)")


if __name__ == "__main__":
    main()

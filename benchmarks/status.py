"""How long `scaling status` takes on a large sweep: 5,000 run directories by default, of all states.

python benchmarks/status.py [RUNS]
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scaling.lease import lease_path
from scaling.record import write_json

STATES = ("done",) * 6 + ("running", "saved", "failed", "planned")


def make_sweep(sweep: Path, runs: int) -> None:
    cells = []
    for number in range(runs):
        run, state = sweep / f"{number:012x}", STATES[number % len(STATES)]
        labels = {
            "model": {"width": 64 + number % 50, "layers": 2},
            "training.tokens": 10**6 * (1 + number % 7),
            "seed": number,
        }
        numbers = {"parameters": 10**6, "tokens": 10**6, "flops": 6e12}
        cells.append({"run_id": run.name, "role": "fit", "labels": labels, **numbers, "config": {}})
        if state == "planned":
            continue
        progress = {
            "step": 50,
            "steps": 100,
            "loss": 3.0,
            "tokens_per_second": 1e4,
            "attempt": 1,
            "updated": "2026-11-22T12:00:00",
        }
        write_json(run / "status.json", {"state": state, "reason": "some reason", **progress})
        lease = {"host": "elsewhere", "boot": "", "pid": 1, "process_start": "1", "tally": {}, "heartbeat": time.time() + 3600}
        ending = {"running": {}, "saved": {"ending": "preempted"}, "failed": {"ending": "mistaken"}}.get(
            state, {"ending": "done"}
        )
        write_json(lease_path(run, 1), {**lease, **ending, "released": bool(ending)})
    write_json(sweep / "plan.json", {"sweep": sweep.name, "cells": cells})


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    with tempfile.TemporaryDirectory() as folder:
        sweep = Path(folder) / "large"
        make_sweep(sweep, runs)
        for options in ((), ("--json",)):
            command = [sys.executable, "-m", "scaling", "status", sweep, *options]
            times = []
            for _ in range(3):
                begun, before = time.perf_counter(), cpu_seconds()
                subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
                times.append((time.perf_counter() - begun, cpu_seconds() - before))
            wall, cpu = map(min, zip(*times, strict=True))
            print(f"scaling status {' '.join(options):7}{runs} runs: {wall:.2f} s, of the CPU {cpu:.2f} s (the best of 3)")


if __name__ == "__main__":
    main()

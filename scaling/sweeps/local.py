"""The local launcher: long-lived workers on this machine, one for each core (pinned) or accelerator.        (no jax)"""

import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import Exit
from scaling.stores import is_bucket
from scaling.sweeps.requests import report_death, retry
from scaling.sweeps.slots import Slot, find_slots
from scaling.sweeps.status import SweepStatus

ALLOCATOR = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592:glibc.malloc.hugetlb=1"
"""Keeps XLA's temporary buffers mapped between steps instead of faulting them in anew: 1.3 to 1.45 times the tokens per second
of small models on a CPU (docs/lab-log.md). glibc reads it at process start only."""

BFLOAT16_FLAGS = "--xla_cpu_use_onednn=true --xla_cpu_experimental_onednn_custom_call=true --xla_cpu_enable_fast_math=true"
"""Faster bfloat16 products on a CPU, from jax 0.12 on; in float32 they can fall back to a reference kernel. NaN and infinity
stay what they are: XLA's switches that honour them are on, fast-math or not."""


GRACE_SECONDS = 60.0


@dataclass
class Worker:
    """A worker process and where its own output goes."""

    process: subprocess.Popen[bytes]
    log: Path


class Launcher:
    """Runs the cells of one role of a planned sweep. `poll` until `finished`; `stop` saves and ends everything."""

    def __init__(self, sweep: Path, role: str, cells: list[dict[str, Any]]):
        self.sweep, self.cells = sweep, cells
        status = SweepStatus(sweep)
        before = [status.read_one(cell["run_id"]) for cell in cells]
        for each in before:
            if each.state == "failed":
                retry(sweep / each.cell["run_id"])
        left = [each.cell for each in before if not each.has_ended or each.state == "failed"]
        dtypes = {cell["config"]["model"]["dtype"] for cell in left}
        sharded = any(math.prod(cell["config"]["execution"]["mesh"].values()) > 1 for cell in left)
        slots = [None] if sharded else find_slots(len(left))  # a sharded run takes every device of the machine
        self.workers = [self._start(role, index, slot, dtypes) for index, slot in enumerate(slots if left else [])]

    @property
    def finished(self) -> bool:
        """Whether every worker has ended."""
        return all(worker.process.poll() is not None for worker in self.workers)

    def poll(self) -> None:
        """Give the runs of workers that died a status that says so."""
        for worker in self.workers:
            code = worker.process.poll()
            if code not in (None, Exit.DONE, Exit.SAVED):
                self._bury(worker, code)

    def stop(self) -> None:
        """Ask every worker to save and end; one that has not after `GRACE_SECONDS` is killed (its last save is whole)."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self.workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def wait(self, watch: Callable[[], None], seconds: float = 0.25) -> None:
        """Poll until finished, calling `watch` each time; a Ctrl-C or SIGTERM saves everything and is raised again."""
        try:
            while not self.finished:
                self.poll()
                watch()
                time.sleep(seconds)
            self.poll()
            watch()
        except KeyboardInterrupt:
            self.stop()
            raise

    def _start(self, role: str, index: int, slot: Slot | None, dtypes: set[str]) -> Worker:
        home = Path(tempfile.gettempdir()) / f"scaling-{self.sweep.name}" if is_bucket(self.sweep) else self.sweep / "logs"
        log = home / f"worker-{index}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {"GLIBC_TUNABLES": ALLOCATOR, **os.environ}
        if dtypes == {"bfloat16"}:
            environment["XLA_FLAGS"] = f"{BFLOAT16_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
        command = [sys.executable, "-m", "scaling", "work", str(self.sweep), "--role", role, "--launcher", str(os.getpid())]
        if slot is not None:
            environment |= slot.environment
            command += ["--cores", ",".join(map(str, slot.cores))]
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        return Worker(process, log)

    def _bury(self, worker: Worker, code: int) -> None:
        for cell in self.cells:
            report_death(self.sweep / cell["run_id"], worker.process.pid, code, worker.log)

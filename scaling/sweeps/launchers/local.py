"""The local launcher: long-lived workers on this machine, each on cores or a share of an accelerator of its own.   (no jax)"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import Exit
from scaling.lease import newest_lease
from scaling.run_logs import logs_here
from scaling.sweeps.cohorts import cohorts
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report, devices_of
from scaling.sweeps.packing import needed
from scaling.sweeps.requests import report_death
from scaling.sweeps.slots import FRACTION, Slot, find_slots
from scaling.sweeps.status import read_status

ALLOCATOR = "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=8589934592:glibc.malloc.hugetlb=1"
"""Keeps XLA's temporary buffers mapped between steps instead of faulting them in anew: 1.3 to 1.45 times the tokens per second
of small models on a CPU (docs/lab-log.md). glibc reads it at process start only."""

BFLOAT16_FLAGS = "--xla_cpu_use_onednn=true --xla_cpu_experimental_onednn_custom_call=true --xla_cpu_enable_fast_math=true"
"""Faster bfloat16 products on a CPU, from jax 0.12 on; in float32 they can fall back to a reference kernel. NaN and infinity
stay what they are: XLA's switches that honour them are on, fast-math or not."""

GRACE_SECONDS = 60.0


@dataclass
class Worker:
    """A worker process, its place, and where its own output goes."""

    process: subprocess.Popen[bytes]
    slot: Slot | None
    log: Path
    buried: bool = False


class LocalLauncher(Launcher):
    """Starts workers that share the runs among them; they save and end with the process that started them."""

    name = "local"
    poll_seconds = 0.25
    detached = False

    def __init__(self, sweep: Path, config: Any):
        super().__init__(sweep, config)
        self._cells: dict[str, Cell] = {}
        self._workers: list[Worker] = []
        self._ended: dict[str, Report] = {}

    def render(self, cells: Sequence[Cell]) -> str:
        """Nothing: workers are started here, and sent nowhere."""
        return ""

    def submit(self, cells: Sequence[Cell]) -> None:
        """Start a worker on every place that is free, as long as there are runs for it."""
        self._cells |= {cell["run_id"]: cell for cell in cells}
        for cell in cells:
            self._ended.pop(cell["run_id"], None)
        left = list(self._cells.values())
        taken = [worker.slot for worker in self._workers if worker.process.poll() is None]
        dtypes = {cell["config"]["model"]["dtype"] for cell in left if "dtype" in cell["config"]["model"]}
        for slot in self._slots(left) if left else []:
            if slot not in taken:
                self._workers.append(self._start(cells[0]["role"], slot, dtypes))

    def poll(self) -> Mapping[str, Report]:
        """Runs are running while a worker lives, but for those that a dead one held."""
        for worker in self._workers:
            code = worker.process.poll()
            if code not in (None, Exit.DONE, Exit.SAVED) and not worker.buried:
                worker.buried = True
                for run_id in self._held_by(worker.process.pid):
                    report_death(self.sweep / run_id, worker.process.pid, code, worker.log)
                    self._ended[run_id] = _report(worker, code)
        if any(worker.process.poll() is None for worker in self._workers):
            return dict.fromkeys(self._cells, Report("running")) | self._ended
        if not self._workers:
            return {}
        last = max(self._workers, key=lambda worker: worker.process.returncode not in (Exit.DONE, Exit.SAVED))
        return dict.fromkeys(self._cells, _report(last, last.process.returncode)) | self._ended

    def cancel(self, run_ids: Iterable[str]) -> None:
        """Ask every worker to save and end; one that has not after `GRACE_SECONDS` is killed (its last save is whole)."""
        for worker in self._workers:
            if worker.process.poll() is None:
                worker.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()

    def _slots(self, cells: Sequence[Cell]) -> Sequence[Slot | None]:
        sharded = any(devices_of(cell) > 1 for cell in cells)
        if sharded:  # such a run takes every device of the machine
            return [None]
        return find_slots(len(cohorts(cells)), needed(cells, read_status(self.sweep)))

    def _command(self, role: str, slot: Slot | None) -> list[str]:
        command = [sys.executable, "-m", "scaling", "work", str(self.sweep), "--role", role, "--parent", str(os.getpid())]
        return command if slot is None else [*command, "--cores", ",".join(map(str, slot.cores))]

    def _start(self, role: str, slot: Slot | None, dtypes: set[str]) -> Worker:
        log = logs_here(self.sweep) / f"worker-{len(self._workers)}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {"GLIBC_TUNABLES": ALLOCATOR, **os.environ}
        if dtypes == {"bfloat16"}:
            environment["XLA_FLAGS"] = f"{BFLOAT16_FLAGS} {os.environ.get('XLA_FLAGS', '')}".strip()
        if slot:
            environment |= slot.environment
            if FRACTION in slot.environment:  # jax takes it by one name only
                environment.pop("XLA_PYTHON_CLIENT_MEM_FRACTION", None)
        with log.open("wb") as file:
            process = subprocess.Popen(
                self._command(role, slot), env=environment, stdout=file, stderr=file, start_new_session=True
            )
        return Worker(process, slot, log)

    def _held_by(self, pid: int) -> list[str]:
        held = []
        for run_id in self._cells:
            holder = newest_lease(self.sweep / run_id)[1] or {}
            if holder.get("pid") == pid and not holder.get("released"):
                held.append(run_id)
        return held


def _report(worker: Worker, code: int) -> Report:
    how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return Report("ended", f"its worker {how}; see {worker.log}", code)

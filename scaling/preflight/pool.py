"""The processes that compile, one for each core, and what they need in their environment.        (no jax)"""

import os
import queue
import subprocess
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

from scaling.preflight.hardware import Target
from scaling.preflight.jobs import Compilation, Failure, Job

EXTRAS = {"tpu": "tpu-preflight", "cuda": "gpu-preflight"}
"""Which of this project's extras brings the compiler for a platform."""

_QUIET_TPU = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # else its lock lets one process compile at a time
    "TPU_WORKER_HOSTNAMES": "localhost",  # with the next, libtpu does not look for a machine around it, nor say so
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_LOG_DIR": "disabled",
    "TPU_SKIP_MDS_QUERY": "1",
}


def has_compiler(platform: str) -> bool:
    """Whether the compiler for `tpu` or `cuda` is installed."""
    names = {"tpu": ["libtpu"], "cuda": ["jax_cuda12_plugin", "jax_cuda13_plugin"]}.get(platform, [])
    return not names or any(find_spec(name) for name in names)


def install_command(platform: str) -> str:
    """What brings the compiler for a platform."""
    return f"pip install 'scaling-lab[{EXTRAS[platform]}]'"


class Compilers:
    """Worker processes for one target; a context manager that ends them.

    Args:
        target: what they compile for.
        log: gets all that the compilers print.
        workers: how many processes; one for each core that this one may use.
    """

    def __init__(self, target: Target, log: Path, workers: int | None = None):
        self.target, self.log = target, log
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.workers = workers or cores
        self._idle: queue.SimpleQueue[subprocess.Popen[str] | None] = queue.SimpleQueue()
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False
        for _ in range(self.workers):
            self._idle.put(None)  # a process is started when there is work for it

    def __enter__(self) -> "Compilers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended = True
        for process in list(self._running):
            process.kill()  # what is compiled is on disk already
            process.communicate()

    def compile(self, job: Job) -> Compilation:
        """The answer to a job, when a process is free; to be called from as many threads as there are jobs."""
        process = self._idle.get()
        if self._ended:
            self._idle.put(process)
            return Compilation(effort=job.effort, failure=Failure(kind="compiler", reason="it was not compiled"))
        process = process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(job.model_dump_json() + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if line:
            self._idle.put(process)
            return Compilation.model_validate_json(line)
        code = process.wait()
        self._running.discard(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(BrokenPipeError):  # what it did not read
                pipe.close()
        self._idle.put(None)
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return Compilation(effort=job.effort, failure=Failure(kind="compiler", reason=f"the compiler's process {how}"))

    def _start(self) -> "subprocess.Popen[str]":
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", **_QUIET_TPU}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # what is compiled for an absent device cannot be read back
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={self.target.devices}"
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "scaling.preflight.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
        self._running.add(process)
        return process

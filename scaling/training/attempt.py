"""One attempt at a run: claim it, train it, and leave a status that says how it ended, whatever happened."""

import os
import platform
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from scaling.data.prepare import Data
from scaling.errors import Exit, RecordError, ScalingError
from scaling.lease import Lease, claim
from scaling.record import FollowedRun, RunDirectory, now, write_json
from scaling.specification import Specification
from scaling.stopping import Stop
from scaling.training import processes
from scaling.training.checkpoints import SaveError
from scaling.training.loop import train


def attempt(path: Path, specification: Specification, dataset: Data, stop: Stop) -> Exit | None:
    """Train the run in `path` as far as it goes; None where another living worker has it.

    Every way to end leaves a status: done, diverged, saved, or failed with a one-line reason (its traceback goes to the log).
    Where not even that can be written, the reason goes to stderr.
    """
    directory = RunDirectory(path) if processes.is_first() else FollowedRun(path)
    lease: Lease | None = None

    def claimed() -> int:
        nonlocal lease
        lease = claim(path, on_loss=lambda: os._exit(Exit.SAVED))
        return lease.attempt if lease else 0

    with stop.deferred():
        number = processes.decide(claimed)
        if not number:
            return None
        try:
            state = directory.status["state"]
            if state in ("done", "diverged"):
                return Exit.DONE if state == "done" else Exit.DIVERGED
            directory.create(specification.record())
            _keep_compiled_programs(Path(specification.config.execution.cache_directory) / "jax")
            if processes.is_first():
                write_json(path / "environment.json", _environment(specification, number))
            return train(directory, specification, dataset, number, stop)
        except Exception as error:
            code, reason = _classify(error)
            if code is not Exit.USAGE:  # a user's mistake is its one line; anything else leaves its trace in the log
                traceback.print_exc()
            try:
                directory.update_status(state="failed", attempt=number, reason=reason)
            except RecordError as unwritten:
                print(f"error: {reason}; {unwritten}", file=sys.stderr)
            return code
        finally:
            if lease:
                lease.release()


@contextmanager
def output_to(log: Path) -> Iterator[None]:
    """Append all that this process and its libraries print to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, saved in enumerate(kept, start=1):
                os.dup2(saved, target)
                os.close(saved)


def _keep_compiled_programs(cache: Path) -> None:
    """Compile each program once on this machine; a cache directory that the user set in jax's own way is left alone."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(cache.absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _classify(error: Exception) -> tuple[Exit, str]:
    first_line = (str(error).strip().splitlines() or [""])[0]
    if isinstance(error, (RecordError, SaveError)):
        return Exit.FAILED, first_line
    if isinstance(error, ScalingError):
        return Exit.USAGE, first_line
    exhausted = "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()  # the CPU client says the latter
    if isinstance(error, MemoryError) or (isinstance(error, jax.errors.JaxRuntimeError) and exhausted):
        return Exit.OUT_OF_MEMORY, f"out of memory: {first_line}"
    return Exit.FAILED, f"{type(error).__name__}: {first_line}"


def _environment(specification: Specification, attempt_number: int) -> dict[str, Any]:
    packages = ("scaling-lab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")
    devices = jax.devices()
    return {
        "attempt": attempt_number,
        "started": now(),
        "host": platform.node(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in packages},
        "commit": _commit(),
        "devices": {"count": len(devices), "kind": devices[0].device_kind, "processes": jax.process_count()},
        "execution": specification.config.execution.model_dump(mode="json"),
    }


def _commit() -> str | None:
    """The commit of the code, with `+` where the tree differs from it; None outside a checkout."""
    here = Path(__file__).parent
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+"], cwd=here, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return described.stdout.strip() or None

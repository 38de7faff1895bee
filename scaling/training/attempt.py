"""One attempt at a run, or at several together: claim it, train it, and leave a status that says how it ended, whatever
happened.
"""

import os
import platform
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from scaling.config import RunConfig
from scaling.data.prepare import Data
from scaling.errors import Exit, RecordError, ScalingError
from scaling.families import trainer
from scaling.lease import Lease, LostLease, claim
from scaling.policy import OF_CODE, Ending, micro_batch_after
from scaling.record import FollowedRun, RunDirectory, now
from scaling.run_logs import log_file
from scaling.specification import Specification
from scaling.stopping import Stop
from scaling.training import processes
from scaling.training.checkpoints import SaveError
from scaling.training.places import Reading, drive
from scaling.training.staging import check_location

if TYPE_CHECKING:
    from scaling.training.loop import Training


class Work(NamedTuple):
    """A run to be trained."""

    path: Path
    specification: Specification
    dataset: Data


def attempt(path: Path, specification: Specification, dataset: Data, stop: Stop) -> Exit | None:
    """Train the run in `path` as far as it goes; None where another living worker has it, or took it over meanwhile.

    Every way to end leaves a status: done, diverged, saved, cancelled, or failed with a one-line reason (its traceback goes to
    the log). Where not even that can be written, the reason goes to stderr.
    """
    return attempt_together([Work(path, specification, dataset)], stop)[0]


def attempt_together(runs: Sequence[Work], stop: Stop, turn: Callable[[int], None] = lambda _: None) -> list[Exit | None]:
    """As `attempt`, of each of several runs that can be a cohort (`scaling.sweeps.cohorts`).

    They are claimed in their order, up to the first that another worker has: of two workers with the same cohort one gets it.

    Args:
        runs: the runs.
        stop: whether to save them all and go.
        turn: called with the number of a run before that does or prints anything.
    """
    with stop.deferred():
        claimed = []
        for run in runs:
            lease, number = _claim(run.path)
            if not number:
                break
            claimed.append(_attempt(run, lease, number, stop))
        return [*drive(claimed, turn), *[None] * (len(runs) - len(claimed))]


def _claim(path: Path) -> tuple[Lease | None, int]:
    """The lease, which of several processes the first one has, and the number of the attempt; 0 where it cannot be had."""
    check_location(path)
    lease: Lease | None = None

    def claimed() -> int:
        nonlocal lease
        lease = claim(path, on_loss)
        return lease.attempt if lease else 0

    def on_loss() -> None:
        """From the heartbeat: of several processes, the first one ends them all, since it alone has the lease."""
        if processes.several() and lease is not None:
            if lease.lost:
                os._exit(Exit.SAVED)
            os.kill(os.getpid(), signal.SIGTERM)

    number = processes.decide(claimed)
    return lease, number


def _attempt(run: Work, lease: Lease | None, number: int, stop: Stop) -> "Generator[Training, Reading, Exit | None]":
    directory = RunDirectory(run.path, lease.check) if lease else FollowedRun(run.path)
    code, reason = Exit.FAILED, None
    try:
        code = yield from _train(directory, run, number, lease, stop)
        reason = directory.written.get("reason")
        if lease and lease.cancelled and code is Exit.SAVED:
            directory.update_status(state="cancelled", reason="cancelled")
        return code
    except LostLease as error:
        print(f"warning: {error}; this attempt ends", file=sys.stderr)
        return None
    except Exception as error:
        code, reason = _classify(error)
        if code is not Exit.USAGE:  # a user's mistake is its one line; anything else leaves its trace in the log
            traceback.print_exc()
        try:
            directory.update_status(state="failed", attempt=number, reason=reason)
        except (RecordError, LostLease) as unwritten:
            print(f"error: {reason}; {unwritten}", file=sys.stderr)
        return code
    finally:
        if lease:
            cancelled = lease.cancelled and code is Exit.SAVED
            lease.release(Ending.CANCELLED if cancelled else OF_CODE[code], reason)


def refuse(path: Path, error: ScalingError) -> Exit | None:
    """Leave a status that says why a run cannot be trained at all; None where another living worker has it."""
    lease = claim(path)
    if lease is None:
        return None
    RunDirectory(path, lease.check).update_status(state="failed", attempt=lease.attempt, reason=str(error))
    lease.release(Ending.MISTAKEN, str(error))
    return Exit.USAGE


def _train(
    directory: RunDirectory, run: Work, number: int, lease: Lease | None, stop: Stop
) -> "Generator[Training, Reading, Exit]":
    state = directory.status["state"]
    if state in ("done", "diverged"):
        return Exit.DONE if state == "done" else Exit.DIVERGED
    specification = _relieved(run.specification, lease)
    directory.create(specification.record())
    keep_compiled_programs(Path(specification.config.execution.cache_directory) / "jax")
    directory.write("environment.json", _environment(specification, number))

    def should_stop() -> bool:
        if lease is None:
            return stop()
        lease.keep()
        return stop() or (lease.cancelled and not processes.several())

    trained = trainer(specification.config)(directory, specification, run.dataset, number, should_stop)
    return trained if isinstance(trained, Exit) else (yield from trained)


def _relieved(specification: Specification, lease: Lease | None) -> Specification:
    """The specification with smaller micro-batches, where memory ran out before: execution, and no part of the identity."""
    config = specification.config
    if not isinstance(config, RunConfig):
        return specification
    out_of_memory = processes.decide(lambda: lease.tally.get(Ending.OUT_OF_MEMORY, 0) if lease else 0)
    rows = micro_batch_after({Ending.OUT_OF_MEMORY: out_of_memory}, config.micro_batch, config.execution.mesh.batch_shards)
    if rows == config.micro_batch:
        return specification
    execution = config.execution.model_copy(update={"micro_batch": rows})
    print(f"memory ran out before: {rows} sequences at once instead of {config.micro_batch}", file=sys.stderr)
    return replace(specification, config=config.model_copy(update={"execution": execution}))


@contextmanager
def output_to(runs: Sequence[Path]) -> Iterator[Callable[[int], None]]:
    """Append all that this process and its libraries print to the logs of runs; to a bucket it is copied now and then.

    What it gives is called with the number of a run, for its turn; it begins with the first.
    """
    with ExitStack() as logs:
        files = [logs.enter_context(logs.enter_context(log_file(run)).open("ab", buffering=0)) for run in runs]
        kept = os.dup(1), os.dup(2)

        def turn_to(*targets: int) -> None:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, target in enumerate(targets, start=1):
                os.dup2(target, number)

        try:
            turn_to(files[0].fileno(), files[0].fileno())
            yield lambda run: turn_to(files[run].fileno(), files[run].fileno())
        finally:
            turn_to(*kept)
            for saved in kept:
                os.close(saved)


def keep_compiled_programs(cache: Path) -> None:
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

"""One run over several processes, each with its own devices: Slurm tasks, pods of a Kubernetes job, hosts of a TPU slice.

All of them run the same program step by step. The first process alone holds the lease and writes the record; every process
reads the rows of a batch that its devices hold, and saves its part of a checkpoint.
"""

import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding

from scaling.errors import ScalingError

_FAILED = -1


def join(coordinator: str | None = None, processes: int | None = None, process_id: int | None = None) -> None:
    """Make this process one of several; call before anything else of jax.

    Args:
        coordinator: HOST:PORT of the first process; None for jax to find it, the number of processes and this one's in the
            environment of a Slurm step, a Kubernetes job (with the package `kubernetes`) or a TPU slice.
        processes: how many there are.
        process_id: which one this is, from 0.

    Raises:
        ScalingError: some of the three are missing, or nothing was found in the environment.
    """
    stated = {"--coordinator": coordinator, "--processes": processes, "--process-id": process_id}
    missing = [name for name, value in stated.items() if value is None]
    if 0 < len(missing) < len(stated):
        raise ScalingError(f"{' and '.join(missing)} must be stated too: --coordinator HOST:PORT --processes N --process-id I")
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except (ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        if not missing:
            raise ScalingError(f"cannot join the processes of {coordinator}: {reason}") from None
        raise ScalingError(
            "--distributed finds no Slurm step, Kubernetes job or TPU slice around this process "
            f"({reason}); state --coordinator HOST:PORT --processes N --process-id I"
        ) from None


def leave() -> None:
    """Wait for the other processes to come to their end too, if there are any: the first one must not go before them."""
    if jax.distributed.is_initialized():
        jax.distributed.shutdown()


def several() -> bool:
    """Whether this process is one of several."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that writes the record; it is where there is no other."""
    return not several() or jax.process_index() == 0


def decide(action: Callable[[], int]) -> int:
    """What `action` returns in the first process, which alone calls it: a number that is not negative. All must call this.

    Raises:
        ScalingError: in the other processes, where the first one's action raised.
    """
    if not several():
        return action()
    value, raised = _FAILED, None
    if is_first():
        try:
            value = action()
        except Exception as error:
            raised = error
    value = int(multihost_utils.broadcast_one_to_all(np.int32(value)))
    if raised is not None:
        raise raised
    if value == _FAILED:
        raise ScalingError("the first process of this run failed; its log and the run's status say why")
    return value


def place_array(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """An array that every process has, split by rows over the devices of all."""
    return place(lambda start, stop: array[start:stop], array.shape, sharding)


def place(rows: Callable[[int, int], np.ndarray], shape: tuple[int, ...], sharding: NamedSharding) -> jax.Array:
    """An array split by rows over the devices of all processes.

    Args:
        rows: (start, stop) to those rows; called for the rows that this process's devices hold.
        shape: of the whole array.
        sharding: splits the first dimension only.
    """

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        return rows(*(index or (slice(None),))[0].indices(shape[0])[:2])

    return jax.make_array_from_callback(shape, sharding, part)


class AgreedStop:
    """Whether to save and go: true in every process at the same call, one soon after any of them got SIGTERM or SIGINT.

    jax's preemption service, which holds SIGTERM in every process, agrees on the call in the background; a call waits for
    nothing. Every process must call it equally often.
    """

    def __init__(self) -> None:
        self._calls, self._reached = 0, False
        signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    def __call__(self) -> bool:
        """Whether to stop."""
        self._calls += 1
        self._reached = self._reached or multihost_utils.reached_preemption_sync_point(self._calls)
        return self._reached

    def deferred(self) -> AbstractContextManager[None]:
        """Nothing to do: jax holds the signal at all times."""
        return nullcontext()

"""Saved training states, by Orbax, each sealed with the SHA-256 of its files: a damaged one is never taken for whole.

Orbax renames a finished save into place, so that a kill leaves no half one under its final name; but it restores flipped
bits in the data of a checkpoint without a word (docs/lab-log.md). So `<step>/SHA256SUMS` is written when a save has finished,
in the format of `sha256sum`, and a checkpoint without a seal that fits every file is as good as none.
"""

import contextlib
import functools
import hashlib
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import jax
import numpy as np

from scaling.errors import ScalingError
from scaling.lease import LostLease
from scaling.record import write_text
from scaling.stores import is_bucket, store_of
from scaling.stores.sealed import SEAL, download, upload
from scaling.training.program import State

if TYPE_CHECKING:
    import orbax.checkpoint as ocp

KEPT = 2


class SaveError(RuntimeError):
    """A state could not be saved; the text says which and why, in one line."""


@dataclass(frozen=True)
class Restored:
    """A state from disk, after `step` updates."""

    step: int
    state: State


def restore(directory: Path, abstract_state: State, last: int | None = None) -> tuple[Restored | None, dict[int, str]]:
    """The newest whole checkpoint in `directory`, placed as `abstract_state` says; nothing is changed there.

    Args:
        directory: holds a directory for each saved step.
        abstract_state: shapes, types and shardings.
        last: the last step to go on from; None for any.

    Returns:
        The state, or None where no checkpoint is whole; and of every newer checkpoint what is wrong with it, by its step.

    Raises:
        ScalingError: the newest whole one holds other arrays than `abstract_state`.
    """
    with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
        damaged: dict[int, str] = {}
        found = None
        for step in _steps(directory):
            if last is not None and step > last:
                continue
            path = directory / str(step)
            if is_bucket(directory):
                path = Path(scratch) / str(step)
                download(directory / str(step), path)
            damage = _damage(path)
            if damage is None:
                found = step
                break
            damaged[step] = damage
        if jax.process_count() > 1:  # every process goes on from the state that the first one found whole
            from jax.experimental import multihost_utils

            agreed = int(multihost_utils.broadcast_one_to_all(np.int32(-1 if found is None else found)))
            found = None if agreed < 0 else agreed
        if found is None:
            return None, damaged
        import orbax.checkpoint as ocp

        whole = Path(scratch) if is_bucket(directory) else directory.absolute()
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                state = checkpointer.restore(whole / str(found) / "default", abstract_state._asdict())
        except ValueError as error:
            raise ScalingError(
                f"{directory / str(found)} is whole, and holds other arrays than this run has: another version of this program "
                f"wrote it; move {directory} away to train from the beginning"
            ) from error
        return Restored(found, State(**state)), damaged


class Checkpoints:
    """The saved states of one run that is being trained: the newest two.

    Args:
        directory: where they are kept.
        guard: raises where this process may not write them any more.
    """

    def __init__(self, directory: Path, guard: Callable[[], None] = lambda: None):
        self.directory = directory if is_bucket(directory) else directory.absolute()
        self.newest: int | None = None
        """Step of the newest checkpoint known to be whole."""
        self._guard = guard
        self._scratch = tempfile.mkdtemp(prefix="scaling-") if is_bucket(directory) else None
        self._sealer = ThreadPoolExecutor(1)
        self._sealing: Future[None] | None = None
        self._saving = 0
        self._failed = False

    def restore(self, abstract_state: State) -> tuple[Restored | None, dict[int, str]]:
        """As the function of this name; what is damaged and what a killed writer left are then removed."""
        restored, damaged = restore(self.directory, abstract_state)
        for step in damaged:
            self._remove(self.directory / str(step))
        self._remove_unfinished()
        self.newest = restored.step if restored else None
        return restored, damaged

    def save(self, step: int, state: State) -> None:
        """Write the state after `step` updates; returns when it was copied from the devices.

        Raises:
            SaveError: this save, or the one before it, failed.
            LostLease: another worker has the run.
        """
        import orbax.checkpoint as ocp

        self.wait()
        self._guard()
        self._saving = step
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state._asdict()))
        except Exception as error:
            self._fail(error)
        self._sealing = self._sealer.submit(self._seal, step)

    def wait(self) -> None:
        """Return when what was saved is on disk and sealed.

        Raises:
            SaveError: it is not.
            LostLease: another worker has the run.
        """
        if self._sealing is None:
            return
        sealing, self._sealing = self._sealing, None
        try:
            sealing.result()
        except LostLease:
            raise
        except Exception as error:
            self._fail(error)

    def close(self) -> None:
        """Finish what is being saved and end Orbax's threads, which would keep the process alive."""
        with contextlib.suppress(
            SaveError, LostLease
        ):  # one that came up is on its way already; of a failed save threads are left
            self.wait()
            if "_manager" in self.__dict__ and not self._failed:
                self._manager.close()
        self._sealer.shutdown(wait=False)
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    @functools.cached_property
    def _manager(self) -> "ocp.CheckpointManager":
        import orbax.checkpoint as ocp

        options = ocp.CheckpointManagerOptions(max_to_keep=KEPT, enable_async_checkpointing=True)
        return ocp.CheckpointManager(self._written, options=options)

    @property
    def _written(self) -> Path:
        """Where Orbax writes."""
        return Path(self._scratch) if self._scratch else self.directory

    def _seal(self, step: int) -> None:
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            path = self._written / str(step)
            self._guard()
            write_text(path / SEAL, _sums(path))
            if self._scratch:
                upload(path, self.directory / str(step), self._guard)
                for older in _steps(self.directory)[KEPT:]:
                    self._remove(self.directory / str(older))
        self.newest = step

    def _fail(self, error: Exception) -> NoReturn:
        self._failed = True
        self._remove_unfinished()  # where the disk is full, this makes room for the record of it
        if self._saving != self.newest:
            self._remove(self.directory / str(self._saving))
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SaveError(f"the state after step {self._saving} could not be saved: {line}") from error

    def _remove_unfinished(self) -> None:
        for path in self._written.glob("*.orbax-checkpoint-tmp*"):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        if jax.process_index() == 0:
            store_of(path).remove(path)


def _steps(directory: Path) -> list[int]:
    """The saved steps, whole or not, newest first."""
    return sorted((int(name) for name in store_of(directory).names(directory) if name.isdigit()), reverse=True)


def _damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None for a whole one."""
    try:
        sealed = (checkpoint / SEAL).read_text(encoding="utf-8")
        if sealed == (found := _sums(checkpoint)):
            return None
    except FileNotFoundError:
        return f"it has no {SEAL}: its save was not finished"
    except (OSError, UnicodeDecodeError) as error:
        return f"it cannot be read: {error}"
    differing = set(sealed.splitlines()) ^ set(found.splitlines())
    names = sorted({line.partition("  ")[2] for line in differing})
    return f"{', '.join(names[:3])}{' ...' if len(names) > 3 else ''} differ from its {SEAL}"


def _sums(checkpoint: Path) -> str:
    """SHA-256 and name of each file, as `sha256sum` prints them and `sha256sum --check` reads them."""
    lines = []
    for path in sorted(checkpoint.rglob("*")):
        if path.is_file() and path.name != SEAL:
            with path.open("rb") as file:
                lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.relative_to(checkpoint).as_posix()}\n")
    return "".join(lines)

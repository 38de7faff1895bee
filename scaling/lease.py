"""Who may train a run: numbered leases, each file created by exactly one worker, so that no two ever train the same run.

`leases/<attempt>.json` holds the worker, its last heartbeat, and at last how the attempt ended. Attempt n + 1 can be created
only when attempt n is released or stale, and only once: the number fences off a worker that was thought dead. A holder that
finds a higher number has lost the run: it stops, and every write of it is refused (`Lease.check`).        (no jax)
"""

import contextlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling.errors import RecordError
from scaling.policy import Ending, tally_after
from scaling.record import not_written, now, read_json, to_json, write_json
from scaling.stores import Conflict, store_of, verify

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""After so long without a heartbeat a worker of another machine is thought dead: their clocks must agree better than that."""

CANCEL = "cancel.json"
"""In a run directory: the request to end the run, which whoever trains it finds with its next heartbeat."""


class LostLease(Exception):
    """Another worker has taken the run over: this one must stop, and write nothing more to it."""


class Lease:
    """The claim on a run directory held by this process. Use `claim`."""

    def __init__(self, directory: Path, attempt: int, holder: dict[str, Any], on_loss: Callable[[], None]):
        self.attempt = attempt
        self.lost = False
        """Whether another worker was seen to have taken the run over."""
        self.cancelled = False
        """Whether someone has asked to end the run."""
        self._directory, self._holder, self._on_loss = directory, holder, on_loss
        self._store = store_of(directory)
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    @property
    def tally(self) -> dict[str, int]:
        """How often each ending ended the attempts before this one, since the run was last given a new chance."""
        return dict(self._holder["tally"])

    def check(self) -> None:
        """Ask the store whether the run is still this worker's.

        Raises:
            LostLease: another worker has it.
            RecordError: the store does not answer.
        """
        if not self.lost:
            self.lost = read_json(lease_path(self._directory, self.attempt + 1)) is not None
        self.keep()

    def keep(self) -> None:
        """As `check`, by what the last heartbeat found: for every step."""
        if self.lost:
            raise LostLease(f"another worker has taken over {self._directory}")

    def release(self, ending: Ending, reason: str | None = None) -> None:
        """Let the next worker claim the run at once."""
        self._released.set()
        self._heart.join()
        if self.lost:
            return
        ended = {"released": True, "ending": ending, "reason": reason, "ended": now()}
        with contextlib.suppress(RecordError):  # of a disk that is full: the lease ends with this process, or goes stale
            write_json(lease_path(self._directory, self.attempt), {**self._holder, "heartbeat": time.time(), **ended})

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            with contextlib.suppress(RecordError):  # it may be written next time; until then the run seems to be free
                with contextlib.suppress(LostLease):
                    self.check()
                if not self.lost:
                    write_json(lease_path(self._directory, self.attempt), {**self._holder, "heartbeat": time.time()})
                    self.cancelled = self.cancelled or is_cancelled(self._directory)
                if self.lost or self.cancelled:
                    self._on_loss()
            if self.lost:
                return


def claim(directory: Path, on_loss: Callable[[], None] = lambda: None) -> Lease | None:
    """Take the run, or None where a living worker has it or another claimed it first.

    Args:
        directory: the run directory.
        on_loss: called from the heartbeat thread at each heartbeat that finds the run lost or cancelled, for those who do not
            ask the lease at every step.
    """
    attempt, newest = newest_lease(directory)
    if attempt and not is_free(newest):
        return None
    holder = {**_holder(), "tally": tally_after(newest), "claimed": now()}
    path = lease_path(directory, attempt + 1)
    try:
        verify(directory.parent)
        store_of(path).create(path, to_json({**holder, "heartbeat": time.time()}).encode())
    except Conflict:
        return None
    except OSError as error:
        raise not_written(path, error) from None
    return Lease(directory, attempt + 1, holder, on_loss)


def newest_lease(directory: Path) -> tuple[int, dict[str, Any] | None]:
    """The highest attempt claimed so far and its holder; (0, None) where there is none."""
    try:
        names = store_of(directory).names(directory / "leases")
    except OSError as error:
        raise RecordError(f"cannot read {directory}: {error.strerror or error}") from None
    attempt = max((int(name[:6]) for name in names if name[:6].isdigit()), default=0)
    return attempt, read_json(lease_path(directory, attempt)) if attempt else None


def current_attempt(directory: Path) -> int:
    """The highest attempt claimed so far; 0 where there is none."""
    return newest_lease(directory)[0]


def is_held(directory: Path) -> bool:
    """Whether a living worker trains this run now."""
    attempt, holder = newest_lease(directory)
    return attempt > 0 and not is_free(holder)


def is_cancelled(directory: Path) -> bool:
    """Whether someone has asked to end the run."""
    return read_json(directory / CANCEL) is not None


def is_free(holder: dict[str, Any] | None) -> bool:
    """Whether a lease was released, went stale, or belonged to a process of this machine that is dead."""
    if holder is None or holder.get("released"):
        return True
    if holder["host"] == socket.gethostname() and holder["boot"] == _boot():
        return _process_start(holder["pid"]) != holder["process_start"]
    return time.time() - holder["heartbeat"] > STALE_SECONDS


def lease_path(directory: Path, attempt: int) -> Path:
    """The file of one attempt."""
    return directory / "leases" / f"{attempt:06d}.json"


def _holder() -> dict[str, Any]:
    pid = os.getpid()
    started = _process_start(pid)
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "process_start": started, "claim": uuid.uuid4().hex}


def _boot() -> str:
    """Tells two machines, or two boots, of one name apart."""
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text().strip() if path.exists() else ""


def _process_start(pid: int) -> str | None:
    """When a process of this machine started (a reused pid has another start), or None where it is dead."""
    if Path("/proc/self").exists():
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] == "Z" else fields[19]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "alive"

"""Who may train a run: numbered leases, each file created by exactly one worker, so that no two ever train the same run.

`leases/<attempt>.json` holds the worker and its last heartbeat. Attempt n + 1 can be created only when attempt n is released
or stale, and only once: the number fences off a worker that was thought dead. A holder that finds a higher number has lost
the run.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling.errors import RecordError, ScalingError
from scaling.record import read_json, write_json

HEARTBEAT_SECONDS = 10.0
STALE_SECONDS = 60.0


class Lease:
    """The claim on a run directory held by this process. Use `claim`."""

    def __init__(self, directory: Path, attempt: int, on_loss: Callable[[], None]):
        self.attempt = attempt
        self._directory, self._on_loss = directory, on_loss
        self._path = _lease_path(directory, attempt)
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def release(self) -> None:
        """Let the next worker claim the run at once."""
        self._released.set()
        self._heart.join()
        with contextlib.suppress(RecordError):  # of a disk that is full: the lease ends with this process, or goes stale
            write_json(self._path, {**_holder(), "released": True})

    def _beat(self) -> None:
        while not self._released.wait(HEARTBEAT_SECONDS):
            if current_attempt(self._directory) > self.attempt:
                self._on_loss()
                return
            with contextlib.suppress(RecordError):  # it may be written next time; until then the run seems to be free
                write_json(self._path, _holder())


def claim(directory: Path, on_loss: Callable[[], None]) -> Lease | None:
    """Take the run, or None where a living worker has it or another claimed it first.

    Args:
        directory: the run directory.
        on_loss: called from the heartbeat thread when another worker has taken the run over; must stop training at once.
    """
    attempt = current_attempt(directory)
    if attempt and not is_free(read_json(_lease_path(directory, attempt))):
        return None
    path = _lease_path(directory, attempt + 1)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(_holder()), encoding="utf-8")
        try:
            os.link(temporary, path)  # fails where the name exists: one winner, and never a half-written file
        finally:
            temporary.unlink()
    except FileExistsError:
        if current_attempt(directory) > attempt:
            return None
        raise ScalingError(f"cannot write to the run directory {directory}: a file is in its place") from None
    except OSError as error:
        raise ScalingError(f"cannot write to the run directory {directory}: {error.strerror or error}") from None
    return Lease(directory, attempt + 1, on_loss)


def current_attempt(directory: Path) -> int:
    """The highest attempt claimed so far; 0 where there is none."""
    return max((int(path.stem) for path in (directory / "leases").glob("[0-9]*.json")), default=0)


def is_held(directory: Path) -> bool:
    """Whether a living worker trains this run now."""
    attempt = current_attempt(directory)
    return attempt > 0 and not is_free(read_json(_lease_path(directory, attempt)))


def is_free(holder: dict[str, Any] | None) -> bool:
    """Whether a lease was released, went stale, or belonged to a process of this machine that is dead."""
    if holder is None or holder.get("released"):
        return True
    if holder["host"] == socket.gethostname() and holder["boot"] == _boot():
        return _process_start(holder["pid"]) != holder["process_start"]
    return time.time() - holder["heartbeat"] > STALE_SECONDS


def _lease_path(directory: Path, attempt: int) -> Path:
    return directory / "leases" / f"{attempt:06d}.json"


def _holder() -> dict[str, Any]:
    pid = os.getpid()
    started = _process_start(pid)
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "process_start": started, "heartbeat": time.time()}


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

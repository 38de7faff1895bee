"""The run directory: what is written, when, and how atomically; runs/README.md documents its format.        (no jax)"""

import errno
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scaling.errors import RecordError, ScalingError
from scaling.stores import is_bucket, store_of
from scaling.stores.logs import FileLog, Log, ObjectLog, Swapper

TERMINAL = ("done", "diverged", "failed", "cancelled")
"""States after which nothing more happens by itself, but that a failed run may be tried again (`scaling.policy`)."""


def write_text(path: Path, text: str) -> None:
    """Replace `path` as a whole: a reader, and a kill at any instant, sees the old or the new content.

    Raises:
        RecordError: it could not be written; the old content is still there.
    """
    try:
        store_of(path).replace(path, text.encode())
    except OSError as error:
        raise not_written(path, error) from error


def write_json(path: Path, content: Any) -> None:
    """Replace `path` as a whole by `content` as JSON; raises as `write_text`."""
    write_text(path, to_json(content))


def read_text(path: Path) -> str | None:
    """The content of `path`, or None where there is no such file; a `RecordError` where its store does not answer."""
    try:
        stored = store_of(path).read(path)
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror or error}") from error
    return None if stored is None else stored.content.decode()


def read_json(path: Path) -> Any:
    """The content of `path` as JSON; else as `read_text`."""
    text = read_text(path)
    return None if text is None else json.loads(text)


def to_json(content: Any) -> str:
    """As the files of a record hold it; a `ValueError` for a number that is not finite."""
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def not_written(path: Path, error: OSError) -> RecordError:
    """The error for a file that could not be written."""
    return RecordError(f"cannot write {path}: {error.strerror or error}")


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunDirectory:
    """One run's record. Only the holder of its lease writes to it, and gives the lease's `check` as `guard`: every write asks
    it first, and the status and the curve are written only over what this holder wrote before."""

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None):
        self.path = path
        self.curve_path = path / "curve.jsonl"
        self._status_path = path / "status.json"
        self._store, self.guard = store_of(path), guard
        self.written: dict[str, Any] = {}
        """The status as this process left it; empty where it wrote none."""
        self._put_status: Swapper | None = None
        self._status_at = 0.0
        self._curve: Log | None = None

    def create(self, specification: dict[str, Any]) -> None:
        """Write `run.json` once; a different one of the same id is an error, since the id is the hash of the identity."""
        present = self.specification
        if present is None:
            self.write("run.json", specification)
        elif present["identity"] != specification["identity"]:
            raise ScalingError(f"{self.path} records a run of another identity; move it away")

    def write(self, name: str, content: Any) -> None:
        """Replace a file of the record as a whole by `content` as JSON."""
        self.guard()
        write_json(self.path / name, content)

    @property
    def specification(self) -> dict[str, Any] | None:
        """The content of `run.json`, or None."""
        return read_json(self.path / "run.json")

    @property
    def status(self) -> dict[str, Any]:
        """The content of `status.json`; `{"state": "planned"}` where there is none."""
        return read_json(self._status_path) or {"state": "planned"}

    def update_status(self, **changes: Any) -> None:
        """Replace the status by itself with `changes`; on a bucket, what changes no state is written now and then."""
        try:
            if self._put_status is None:
                self._put_status = Swapper(self._store, self._status_path, self.guard)
                self.written = self.status
            self.written |= {**changes, "updated": now()}
            if "state" in changes or time.monotonic() - self._status_at >= self._store.seconds_between_writes:
                self.flush()
                self._put_status(to_json(self.written).encode())
                self._status_at = time.monotonic()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT) and not is_bucket(self.path) and self._status_path.exists()
            if not full:
                raise not_written(self._status_path, error) from error
            _overwrite(self._status_path, json.dumps(self.written) + "\n")

    def append(self, row: dict[str, Any]) -> None:
        """Add one row to the curve; on a bucket it is written by the next `flush`, or before."""
        self.guard()
        line = json.dumps(row, allow_nan=False) + "\n"
        try:
            if self._curve is None:
                self._curve = self._begin_curve(self.rows())
            self._curve.append(line.encode())
        except OSError as error:
            raise not_written(self.curve_path, error) from error

    def flush(self) -> None:
        """Return when every row is where others see it."""
        try:
            if self._curve is not None:
                self._curve.flush()
        except OSError as error:
            raise not_written(self.curve_path, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows of the curve; a torn last line is left out."""
        stored = self._store.read(self.curve_path)
        lines = stored.content.split(b"\n") if stored else [b""]
        return [json.loads(line) for line in lines[:-1] if line]

    def truncate(self, step: int) -> None:
        """Keep the rows up to `step`, what a checkpoint of that step had behind it; older writers add none from here on."""
        self.guard()
        try:
            self._curve = self._begin_curve([row for row in self.rows() if row["step"] <= step])
        except OSError as error:
            raise not_written(self.curve_path, error) from error

    def _begin_curve(self, rows: list[dict[str, Any]]) -> Log:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if is_bucket(self.path):
            return ObjectLog(self._store, self.curve_path, content, self.guard)
        return FileLog(self.curve_path, content)


class FollowedRun(RunDirectory):
    """The record as the other processes of a run on several have it: the first one writes it, they only read."""

    def create(self, specification: dict[str, Any]) -> None:
        """Nothing."""

    def write(self, name: str, content: Any) -> None:
        """Nothing."""

    def update_status(self, **changes: Any) -> None:
        """Nothing."""

    def append(self, row: dict[str, Any]) -> None:
        """Nothing."""

    def truncate(self, step: int) -> None:
        """Nothing."""


def _overwrite(path: Path, text: str) -> None:
    """On a full disk: write over the block that the file has already, which needs no room but is not atomic."""
    try:
        with path.open("r+", encoding="utf-8") as file:
            file.write(text)
            file.truncate()
    except OSError as error:
        raise not_written(path, error) from error

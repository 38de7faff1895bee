"""The run directory: what is written, when, and how atomically; runs/README.md documents its format.        (no jax)"""

import contextlib
import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scaling.errors import RecordError, ScalingError

TERMINAL = ("done", "diverged", "failed")
"""States that a worker leaves alone. `failed` is set back to `planned` when its sweep is started again."""


def write_text(path: Path, text: str) -> None:
    """Replace `path` as a whole: a reader, and a kill at any instant, sees the old or the new content.

    Raises:
        RecordError: it could not be written; the old content is still there.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def write_json(path: Path, content: Any) -> None:
    """Replace `path` as a whole by `content` as JSON; raises as `write_text`."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def _not_written(path: Path, error: OSError) -> RecordError:
    return RecordError(f"cannot write {path}: {error.strerror or error}")


def read_json(path: Path) -> Any:
    """The content of `path`, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class RunDirectory:
    """One run's record on disk. Only the holder of its lease writes to it."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.curve_path = self.path / "curve.jsonl"

    def create(self, specification: dict[str, Any]) -> None:
        """Write `run.json` once; a different one of the same id is an error, since the id is the hash of the identity."""
        present = self.specification
        if present is None:
            write_json(self.path / "run.json", specification)
        elif present["identity"] != specification["identity"]:
            raise ScalingError(f"{self.path} records a run of another identity; move it away")

    @property
    def specification(self) -> dict[str, Any] | None:
        """The content of `run.json`, or None."""
        return read_json(self.path / "run.json")

    @property
    def status(self) -> dict[str, Any]:
        """The content of `status.json`; `{"state": "planned"}` where there is none."""
        return read_json(self.path / "status.json") or {"state": "planned"}

    def update_status(self, **changes: Any) -> None:
        """Replace the status by itself with `changes`."""
        content = {**self.status, **changes, "updated": now()}
        path = self.path / "status.json"
        try:
            write_json(path, content)
        except RecordError as error:
            cause = error.__cause__
            if not (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) and path.exists()):
                raise
            _overwrite(path, json.dumps(content) + "\n")

    def append(self, row: dict[str, Any]) -> None:
        """Add one row to the curve."""
        try:
            with self.curve_path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, allow_nan=False) + "\n")
        except OSError as error:
            raise _not_written(self.curve_path, error) from error

    def rows(self) -> list[dict[str, Any]]:
        """The whole rows of the curve; a torn last line is left out."""
        if not self.curve_path.exists():
            return []
        lines = self.curve_path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def truncate(self, step: int) -> None:
        """Keep the rows up to `step`: what a checkpoint of that step had behind it."""
        kept = [row for row in self.rows() if row["step"] <= step]
        write_text(self.curve_path, "".join(json.dumps(row) + "\n" for row in kept))


class FollowedRun(RunDirectory):
    """The record as the other processes of a run on several have it: the first one writes it, they only read."""

    def create(self, specification: dict[str, Any]) -> None:
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
        raise _not_written(path, error) from error

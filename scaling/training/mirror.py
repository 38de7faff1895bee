"""The curve as TensorBoard event files, written beside the record for those who watch runs there."""

import contextlib
import time
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

from scaling.record import RunDirectory


class Mirror:
    """Writes curve rows as scalars, at once and in the calling thread: tensorboardX's own thread, once dead of a full disk,
    would block the training for ever. A resumed run hides what it will write again (the session's start at its step).
    """

    def __init__(self, directory: RunDirectory, start: int):
        home = directory.path / "tensorboard"
        home.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(home / "events"), f".{start}")
        self._add(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def write(self, row: dict[str, Any]) -> None:
        """Add every number of the row at its step."""
        values = [
            Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step" and value is not None
        ]
        self._add(Event(step=row["step"], summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file; everything was flushed row by row, so there is nothing to lose."""
        with contextlib.suppress(OSError):
            self._writer.close()

    def _add(self, event: Any) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()

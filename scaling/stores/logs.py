"""Files that grow line by line, on any store, and that only the newest writer can make grow.        (no jax)

A directory appends. The log is begun by renaming a new file into place, so that what an older writer still appends goes to a
file that has no name any more. A bucket cannot append: there a log is one small object, kept in memory and swapped as a whole
every `seconds_between_writes` and at `flush`; what a killed writer had not flushed is written again by the next one, which
goes on from a saved state with all its rows flushed.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from scaling.stores.interface import Conflict, Store


class Log(Protocol):
    """A growing file; each method raises an `OSError` where it could not be written."""

    def append(self, line: bytes) -> None:
        """Add a line, its newline with it."""

    def flush(self) -> None:
        """Return when all lines are where others see them."""


class FileLog:
    """In a directory: begun with `content`, in place of the file that was there."""

    def __init__(self, path: Path, content: bytes):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o666)
        try:
            self.append(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def append(self, line: bytes) -> None:
        """As `Log`."""
        while line:
            line = line[os.write(self._descriptor, line) :]

    def flush(self) -> None:
        """Nothing: every line was written at once."""

    def __del__(self) -> None:
        os.close(self._descriptor)


class ObjectLog:
    """In a bucket: begun with `content`.

    Args:
        store: that of `path`.
        path: the object.
        content: its first lines.
        guard: raises where this writer may not write any more.
    """

    def __init__(self, store: Store, path: Path, content: bytes, guard: Callable[[], None]):
        self._put = Swapper(store, path, guard)
        self._pause, self._content, self._written = store.seconds_between_writes, bytearray(content), 0
        self._put(content)
        self._written, self._at = len(content), time.monotonic()

    def append(self, line: bytes) -> None:
        """As `Log`."""
        self._content += line
        if time.monotonic() - self._at >= self._pause:
            self.flush()

    def flush(self) -> None:
        """As `Log`."""
        if len(self._content) > self._written:
            self._put(bytes(self._content))
            self._written, self._at = len(self._content), time.monotonic()


class Swapper:
    """Writes one file again and again, each time over what it wrote before.

    What another has written meanwhile is written over only if `guard` still lets this writer write: it was a late write of one
    that may not any more.
    """

    def __init__(self, store: Store, path: Path, guard: Callable[[], None]):
        self._store, self._path, self._guard = store, path, guard
        self._version = self._present()

    def __call__(self, content: bytes) -> None:
        """Write; raises what `guard` raises, or an `OSError`."""
        for _ in range(5):
            self._guard()
            try:
                if self._version is None:
                    self._version = self._store.create(self._path, content)
                else:
                    self._version = self._store.swap(self._path, content, self._version)
                return
            except Conflict:
                self._version = self._present()
        raise OSError("another process writes it at the same time")

    def _present(self) -> object | None:
        stored = self._store.read(self._path)
        return stored.version if stored else None

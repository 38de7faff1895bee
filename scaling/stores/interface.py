"""What a store must be able to do to hold runs.        (no jax)"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Conflict(Exception):
    """Another writer was first: the name exists already, or its content is no longer what was read."""


@dataclass(frozen=True)
class Stored:
    """What was read, and the version that a `swap` of it must name."""

    content: bytes
    version: Any


class Store(Protocol):
    """Whole files by path, each operation atomic: readers see the old or the new content, whatever happens to the writer.

    All raise an `OSError` with one line of reason where the store cannot be reached or written.
    """

    seconds_between_writes: float
    """How long a writer waits before it writes the same file again: what the store stands, and what its requests cost."""

    def read(self, path: Path) -> Stored | None:
        """The newest content, or None where there is none."""

    def create(self, path: Path, content: bytes) -> Any:
        """Write a file that does not exist yet: of many who try, one succeeds. Returns its version.

        Raises:
            Conflict: it exists.
        """

    def swap(self, path: Path, content: bytes, version: Any) -> Any:
        """Replace the content of `version`, and no other. Returns the new version.

        Raises:
            Conflict: the file has another version, or is gone.
        """

    def replace(self, path: Path, content: bytes) -> None:
        """Write the file, whatever it held: for files of one writer."""

    def names(self, directory: Path) -> list[str]:
        """What is directly in a directory, sorted: files and directories; nothing where there is no such directory."""

    def remove(self, path: Path) -> None:
        """Remove a file or a directory with all that is in it; nothing where there is none."""

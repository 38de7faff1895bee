"""Runs in a directory: a local disk or NFS.        (no jax)

`replace` renames a finished file into place and `create` links one, which fails where the name exists: both are atomic on a
local disk and on NFS. `swap` compares and renames under `flock` on a file beside it, which the kernel frees when its holder
dies; over NFS it works between machines if the mount has locks (NFSv4, or NFSv3 without `nolock`).
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from scaling.stores.interface import Conflict, Stored


class Files:
    """A `Store` of local paths; versions are hashes of the content."""

    seconds_between_writes = 0.0

    def read(self, path: Path) -> Stored | None:
        """As `Store`."""
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Stored(content, _version(content))

    def create(self, path: Path, content: bytes) -> str:
        """As `Store`."""
        try:
            _install(path, content, os.link)
        except FileExistsError:
            if os.path.lexists(path):
                raise Conflict(f"{path} exists") from None
            raise
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
                raise _without("hard links, with which one of several workers takes a run", error) from None
            raise
        return _version(content)

    def swap(self, path: Path, content: bytes, version: str) -> str:
        """As `Store`."""
        with _locked(path):
            present = self.read(path)
            if present is None or present.version != version:
                raise Conflict(f"{path} was changed by another writer")
            self.replace(path, content)
        return _version(content)

    def replace(self, path: Path, content: bytes) -> None:
        """As `Store`."""
        _install(path, content, os.replace)

    def names(self, directory: Path) -> list[str]:
        """As `Store`."""
        try:
            return sorted(name for name in os.listdir(directory) if not name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def remove(self, path: Path) -> None:
        """As `Store`."""
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _install(path: Path, content: bytes, put: Callable[[Path, Path], None]) -> None:
    """Write a temporary file beside `path` and `put` it in its place; nothing is left of it where that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        put(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path.with_name(f".{path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise _without("file locks (flock), with which a writer that lost its run is kept out", error) from None
            raise
        yield
    finally:
        os.close(descriptor)


def _without(what: str, error: OSError) -> OSError:
    return OSError(error.errno, f"this file system has no {what}; keep runs on a local disk, NFS with locks, gs:// or s3://")

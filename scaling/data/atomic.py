"""Files and directories that appear whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from scaling.errors import ScalingError

WORK = "work"
"""Of a resumable directory: what is needed until it is whole."""


@contextmanager
def new_directory(path: Path) -> Iterator[Path]:
    """A directory to fill; it becomes `path` when the block ends, and is removed when the block fails.

    A kill leaves only a hidden sibling that nobody reads. Where another process was first, its directory stays and
    ours is dropped: both hold the same content, since `path` is named after what it is made from.

    Raises:
        ScalingError: the disk is full or not writable.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                _flush(file)  # else a power cut could leave the name without the bytes
        try:
            partial.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    except OSError as error:
        raise ScalingError(f"cannot prepare {path}: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def resumable_directory(path: Path) -> Iterator[Path]:
    """A directory to fill part by part, each with `new_file`; it becomes `path` when the block ends, without its folder `work`.

    What a kill or a full disk leaves is what the next call goes on with: its block finds whole files and makes the others.
    Several processes may fill it at once; where another one ended first, it is gone from under the block, whose failure to go
    on is no error.

    Raises:
        ScalingError: the disk is full or not writable, or the block says that its content cannot be made; only then it is
        removed.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.rename(path)
        shutil.rmtree(path / WORK, ignore_errors=True)
        for abandoned in path.rglob(".*"):
            abandoned.unlink(missing_ok=True)
    except OSError as error:
        if not path.is_dir():
            raise ScalingError(f"cannot prepare {path}: {error}; what is done is kept for the next time") from error
    except ScalingError:
        if not path.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
            raise


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write; it becomes `path` when the block ends, whatever another process put there, and not when it fails."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        yield partial
        _flush(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a `.npy` file whole or not at all."""
    with new_file(path) as partial, partial.open("wb") as file:
        np.save(SimpleNamespace(write=file.write), array)  # written by numpy itself, a full disk would not be named


def _flush(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

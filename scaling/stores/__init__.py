"""Where runs are kept: one small interface over a directory (local disk, NFS) and a bucket (gs://, s3://).        (no jax)

A path says which: a `pathlib.Path`, or what `locate` makes of a URL, which has the same methods to name what is beside and
below it. Every operation goes by path: `store_of(path).read(path)`.
"""

import functools
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from scaling.errors import ScalingError
from scaling.stores.buckets import Bucket
from scaling.stores.files import Files
from scaling.stores.interface import Conflict, Store, Stored

__all__ = [
    "REQUESTS",
    "Bucket",
    "Conflict",
    "Store",
    "Stored",
    "at_once",
    "bucket_of",
    "is_bucket",
    "locate",
    "store_of",
    "verify",
]

SCHEMES = ("gs", "s3")

REQUESTS = 32
"""To a bucket at once."""

T = TypeVar("T")
R = TypeVar("R")


def locate(text: str | Path) -> Path:
    """The path that `text` names: a directory, or a URL in a bucket.

    Raises:
        ScalingError: a URL of a store whose writes cannot be made conditional here.
    """
    scheme, separator, rest = str(text).partition("://")
    if not separator:
        return Path(text)
    if scheme not in SCHEMES:
        raise ScalingError(
            f"{text}: runs can be kept in a directory, at gs:// or at s3://; of {scheme}:// it is not known here how one of "
            "several workers would take a run"
        )
    if not rest.strip("/"):
        raise ScalingError(f"{text} names no bucket: write {scheme}://BUCKET/runs")
    from etils import epath

    return epath.Path(text)


def is_bucket(path: Path) -> bool:
    """Whether a path is in a bucket."""
    return "://" in str(path)


def at_once(place: Path, action: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """What `action` makes of each of the items, which are at a place: in a bucket of many at the same time."""
    if not is_bucket(place):
        return [action(item) for item in items]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(action, items))


def store_of(path: Path) -> Store:
    """The store that a path is in."""
    return bucket_of(path) if is_bucket(path) else _FILES


def bucket_of(path: Path) -> Bucket:
    """The bucket that a path is in."""
    scheme, _, rest = str(path).partition("://")
    return _bucket(scheme, rest.partition("/")[0])


_FILES = Files()


@functools.cache
def _bucket(scheme: str, name: str) -> Bucket:
    return Bucket(scheme, name)


@functools.cache
def verify(directory: Path) -> None:
    """See by trial, once in a process, that the bucket of a directory refuses what it must; some that speak S3 do not.

    Raises:
        ScalingError: it does not; one of several workers could not be told from the others there.
        OSError: it cannot be written.
    """
    if not is_bucket(directory):
        return  # `Files` raises where the file system has no such call
    store, probe = store_of(directory), directory / f".probe-{uuid.uuid4().hex}"
    version = store.create(probe, b"1")
    try:
        newer = store.swap(probe, b"2", version)
        for what, attempt in {
            "creating a name that exists": lambda: store.create(probe, b"3"),
            "replacing a version that is gone": lambda: store.swap(probe, b"3", version),
        }.items():
            try:
                attempt()
            except Conflict:
                continue
            raise ScalingError(f"{directory} is in a store that does not refuse {what}: runs cannot be kept there safely")
        store.swap(probe, b"4", newer)
    finally:
        store.remove(probe)

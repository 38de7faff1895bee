"""Checkpoints in a bucket: they are written and read in a directory of this machine, and whole steps are copied.     (no jax)

The seal goes last and is asked for first, so that a step half copied is one that was never saved; and since the sums of the
seal are of the files here, they hold for the way to the bucket and back too.
"""

from collections.abc import Callable
from pathlib import Path

from scaling.stores import bucket_of, store_of

SEAL = "SHA256SUMS"
"""In a checkpoint: the sums of its files, in the format of `sha256sum`."""


def is_sealed(checkpoint: Path) -> bool:
    """Whether a checkpoint is there as a whole, in a directory or a bucket."""
    return SEAL in store_of(checkpoint).names(checkpoint)


def download(checkpoint: Path, target: Path) -> None:
    """Copy a step from its bucket, if it has its seal."""
    bucket = bucket_of(checkpoint)
    if bucket.read(checkpoint / SEAL) is None:
        return
    key = str(checkpoint).partition("://")[2].partition("/")[2]
    for each in bucket.objects(checkpoint):
        bucket.download(each["path"], target / each["path"].removeprefix(f"{key}/"))


def upload(source: Path, checkpoint: Path, guard: Callable[[], None]) -> None:
    """Copy a sealed step to its bucket, the seal last; `guard` raises where it may not be written."""
    bucket = bucket_of(checkpoint)
    names = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
    for name in [*(each for each in names if each != SEAL), SEAL]:
        guard()
        bucket.upload(source / name, checkpoint / name)

"""Checkpoints in a bucket: Orbax writes to and reads from a directory of this machine, and whole steps are copied.

The seal goes last and is asked for first, so that a step half copied is one that was never saved; and since the sums of the
seal are of the files here, they hold for the way to the bucket and back too. The machine needs room for three states.
"""

from collections.abc import Callable
from pathlib import Path

from scaling.errors import ScalingError
from scaling.stores import bucket_of, is_bucket
from scaling.training import processes


def check_location(run: Path) -> None:
    """Refuse what cannot be kept in a bucket: a `ScalingError`."""
    if is_bucket(run) and processes.several():
        raise ScalingError(
            f"{run} is in a bucket, and each of several processes of one run saves a part of its state to one directory: "
            "keep the runs where all of them see a file system (NFS, Filestore, Lustre), or train each run in one process"
        )


def download(checkpoint: Path, target: Path, seal: str) -> None:
    """Copy a step from its bucket, if it has its seal."""
    bucket = bucket_of(checkpoint)
    if bucket.read(checkpoint / seal) is None:
        return
    key = str(checkpoint).partition("://")[2].partition("/")[2]
    for each in bucket.objects(checkpoint):
        bucket.download(each["path"], target / each["path"].removeprefix(f"{key}/"))


def upload(source: Path, checkpoint: Path, seal: str, guard: Callable[[], None]) -> None:
    """Copy a sealed step to its bucket, the seal last; `guard` raises where it may not be written."""
    bucket = bucket_of(checkpoint)
    names = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*")) if path.is_file()]
    for name in [*(each for each in names if each != seal), seal]:
        guard()
        bucket.upload(source / name, checkpoint / name)

"""What can be kept in a bucket: Orbax writes to a directory of this machine, which needs room for three states, and from
there `scaling.stores.sealed` copies whole steps."""

from pathlib import Path

from scaling.errors import ScalingError
from scaling.stores import is_bucket
from scaling.training import processes


def check_location(run: Path) -> None:
    """Refuse what cannot be kept in a bucket: a `ScalingError`."""
    if is_bucket(run) and processes.several():
        raise ScalingError(
            f"{run} is in a bucket, and each of several processes of one run saves a part of its state to one directory: "
            "keep the runs where all of them see a file system (NFS, Filestore, Lustre), or train each run in one process"
        )

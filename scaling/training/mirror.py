"""The curve as TensorBoard event files, written beside the record for those who watch runs there."""

from typing import Any

from tensorboardX import SummaryWriter

from scaling.record import RunDirectory


class Mirror:
    """Writes curve rows as scalars. A resumed run hides what it will write again (`purge_step`).

    Without `write` it does nothing.
    """

    def __init__(self, directory: RunDirectory, start: int, write: bool = True):
        path = str(directory.path / "tensorboard")
        self._writer = SummaryWriter(path, purge_step=start + 1, flush_secs=30, write_to_disk=write)

    def write(self, row: dict[str, Any]) -> None:
        """Add every number of the row at its step."""
        for name, value in row.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Flush to disk."""
        self._writer.close()

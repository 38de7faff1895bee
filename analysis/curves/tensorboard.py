"""TensorBoard event files: a directory of them is a run, a tag a column, without TensorFlow or TensorBoard.

The files are TFRecords (length, its checksum, payload, its checksum) of `Event` messages; scalars are in `simple_value`
(TensorFlow 1, PyTorch, tensorboardX) or in a tensor of one number (TensorFlow 2, CLU).
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from analysis.curves.paths import for_each, read_bytes
from analysis.errors import AnalysisError

MARK = "events.out.tfevents"
HEADER = struct.Struct("<QI")
TENSORS = {1: ("<f4", "float_val"), 2: ("<f8", "double_val"), 3: ("<i4", "int_val"), 9: ("<i8", "int64_val")}
"""TensorFlow's numbers of the types a scalar may have: how its bytes are laid out, and the field for single values."""


def event_files(directory: Any) -> list[Any]:
    """The event files in a directory and below it, in order of their paths (within a run: of time)."""
    return sorted(each for each in directory.rglob(f"*{MARK}*") if each.is_file())


def read_events(root: Any, files: list[Any]) -> pd.DataFrame:
    """Rows of (run, step, a column per tag); a run is the path of its directory below `root`.

    A resumed run replaces what it wrote before at the same steps; a torn end, which a killed writer leaves, is skipped.

    Raises:
        AnalysisError: a file that is no event file, or no scalar in any.
    """
    runs: dict[str, dict[int, dict[str, float]]] = {}
    for path, events in zip(files, for_each(root, _read_file, files), strict=True):
        directory = path.parent
        name = directory.name if directory == root else "/".join(directory.relative_to(root).parts)
        steps = runs.setdefault(name, {})
        for step, tags in events:
            if tags is None:  # begun again from here: what an earlier attempt wrote beyond is void
                for later in [each for each in steps if each >= step]:
                    del steps[later]
            else:
                steps.setdefault(step, {}).update(tags)
    rows = [
        {"run": run, "row": number, "step": step, **tags}
        for run, steps in runs.items()
        for number, (step, tags) in enumerate(sorted(steps.items()), start=1)
    ]
    if not rows:
        raise AnalysisError(f"{root}: the event files hold no scalar")
    return pd.DataFrame(rows)


def _read_file(path: Any) -> list[tuple[int, dict[str, float] | None]]:
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    events: list[tuple[int, dict[str, float] | None]] = []
    for payload in _records(read_bytes(path), path):
        event = Event.FromString(payload)
        if event.session_log.status == SessionLog.START:
            events.append((event.step, None))
        found = {value.tag: _scalar(value) for value in event.summary.value}
        scalars = {tag: value for tag, value in found.items() if value is not None}
        if scalars:
            events.append((event.step, scalars))
    return events


def _records(content: bytes, path: Any) -> Iterator[bytes]:
    from tensorboardX.record_writer import masked_crc32c

    at = 0
    while at + HEADER.size <= len(content):
        length, checksum = HEADER.unpack_from(content, at)
        if masked_crc32c(content[at : at + 8]) != checksum:
            raise AnalysisError(f"{path}: damaged at byte {at}, or not an event file")
        begin, at = at + HEADER.size, at + HEADER.size + length + 4
        if at > len(content):
            return
        yield content[begin : begin + length]


def _scalar(value: Any) -> float | None:
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return value.simple_value
    tensor = value.tensor
    if kind != "tensor" or tensor.dtype not in TENSORS:
        return None
    layout, field = TENSORS[tensor.dtype]
    values = np.frombuffer(tensor.tensor_content, layout) if tensor.tensor_content else list(getattr(tensor, field))
    return float(values[0]) if len(values) == 1 else None

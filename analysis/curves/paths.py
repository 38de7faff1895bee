"""Where curves lie: a local path as it is, a bucket's through `etils.epath`, imported only then."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

from analysis.errors import AnalysisError

Given = TypeVar("Given")
Made = TypeVar("Made")

REQUESTS = 32
"""Files of a bucket asked for at once: each answer takes tens of milliseconds, which 5,000 runs cannot wait for in turn."""


def as_path(source: Any) -> Any:
    """A `pathlib.Path`, or an `epath.Path` of the same methods for `gs://` and `s3://`."""
    if "://" in str(source):
        from etils import epath
        from etils.epath import backend

        with suppress(ImportError):  # which reading then says, unless TensorFlow reads in its place
            backend.fsspec_backend.fs(source).invalidate_cache()  # runs were written since something was listed
        return epath.Path(source)
    return source if hasattr(source, "read_bytes") else Path(source)


def read_bytes(path: Any) -> bytes:
    """The content of a file; an `AnalysisError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise AnalysisError(f"{path}: {error.strerror or error}") from None


def for_each(path: Any, function: Callable[[Given], Made], items: Iterable[Given]) -> list[Made]:
    """The function of each item, in order: in turn where `path` is local, many at once where it is in a bucket."""
    if "://" not in str(path):
        return [function(item) for item in items]
    with ThreadPoolExecutor(REQUESTS) as pool:
        return list(pool.map(function, items))


def absent(path: Any) -> AnalysisError:
    """The error for a path that is not there, with the nearest one beside it."""
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = get_close_matches(path.name, beside, n=1)
    return AnalysisError(f"{path}: no such file or directory" + (f"; did you mean {near[0]!r}?" if near else ""))

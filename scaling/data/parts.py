"""Work in parts: each makes one file, so that what is there when the work begins again has not to be made again."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Part:
    """One file to make: `make(path, *arguments)` writes it whole or not at all.

    Attributes:
        size: its part of the work, in any unit.
    """

    path: Path
    make: Callable[..., None]
    arguments: tuple[Any, ...]
    size: int


@dataclass(frozen=True)
class Workforce:
    """How work is done: by how many processes, and who is told what of it is done.

    Attributes:
        workers: 1 is this process; more are new ones, each a fresh interpreter.
        report: (what is made, size done, size of all).
    """

    workers: int = 1
    report: Callable[[str, int, int], None] = lambda what, done, total: None

    def make(self, what: str, parts: Sequence[Part]) -> None:
        """Make the parts that are not there yet.

        Raises:
            OSError: no room, or a process that was killed.
            ScalingError: what a part's `make` raises; the others are given up.
        """
        total = sum(part.size for part in parts)
        missing = [part for part in parts if not part.path.is_file()]
        done = total - sum(part.size for part in missing)
        self.report(what, done, total)
        if self.workers == 1 or len(missing) < 2:
            for part in missing:
                part.make(part.path, *part.arguments)
                done += part.size
                self.report(what, done, total)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(self.workers, len(missing)), mp_context=context, initializer=_live_with_parent) as pool:
            try:
                sizes = {pool.submit(part.make, part.path, *part.arguments): part.size for part in missing}
                for future in as_completed(sizes):
                    future.result()
                    done += sizes[future]
                    self.report(what, done, total)
            except BrokenProcessPool:
                raise OSError(f"a process was killed while it made {what} (out of memory?)") from None
            finally:
                pool.shutdown(cancel_futures=True)


ALONE = Workforce()


def _live_with_parent() -> None:
    """Leave Ctrl-C to the parent, and go when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            connection.wait([parent.sentinel])
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()

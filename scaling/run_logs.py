"""What a run's workers printed: `log.txt` in a directory; in a bucket, which cannot append, one object an attempt.  (no jax)"""

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from scaling.stores import bucket_of, is_bucket, store_of


def logs_here(sweep: Path) -> Path:
    """Where the processes of this machine that see to a sweep write what they print: a directory, also for one in a bucket."""
    return Path(tempfile.gettempdir()) / f"scaling-{sweep.name}" if is_bucket(sweep) else sweep / "logs"


@contextmanager
def log_file(run: Path) -> Iterator[Path]:
    """A local file to append to; a bucket gets a copy of it as often as it takes writes, and at the end."""
    if not is_bucket(run):
        run.mkdir(parents=True, exist_ok=True)
        yield run / "log.txt"
        return
    begun = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    target, store = run / "logs" / f"{begun}-{socket.gethostname()}-{os.getpid()}.txt", bucket_of(run)
    ended = threading.Event()
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log.txt"

        def copy() -> None:
            copied, last = 0, False
            while not last:
                last = ended.wait(store.seconds_between_writes)
                size = log.stat().st_size if log.exists() else 0
                if size > copied:
                    with suppress(OSError):  # the next copy has it too
                        store.replace(target, log.read_bytes())
                        copied = size

        copier = threading.Thread(target=copy, daemon=True)
        copier.start()
        try:
            yield log
        finally:
            ended.set()
            copier.join()


def read_log(run: Path, until: Callable[[], bool] = lambda: True, pause: float = 1.0) -> Iterator[bytes]:
    """What the workers of a run have printed, in order of time, and what they print from now on `until` that is true."""
    read: dict[Path, int] = {}
    store, last = store_of(run), False
    while True:
        last = until()  # asked before reading: nothing that was printed by then is missed
        paths = [run / "logs" / name for name in store.names(run / "logs")] if is_bucket(run) else [run / "log.txt"]
        for path in paths:
            stored = store.read(path)
            new = stored.content[read.get(path, 0) :] if stored else b""
            if new:
                read[path] = read.get(path, 0) + len(new)
                yield new
        if last:
            return
        time.sleep(max(pause, store.seconds_between_writes))

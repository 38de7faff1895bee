"""A sweep as what fits it reads and leaves it, in a directory of this machine.        (no jax)"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scaling.record import read_text, write_text
from scaling.stores import at_once, is_bucket
from scaling.sweeps.stored import read_plan

RECORDS = ("run.json", "status.json", "curve.jsonl")
RESULTS = ("fit.json", "forecast.json")


@contextmanager
def studied(sweep: Path) -> Iterator[Path]:
    """The directory of a sweep; of one in a bucket a copy of its records and results, from which new results go back to it."""
    if not is_bucket(sweep):
        yield sweep
        return
    runs = [cell["run_id"] for cell in read_plan(sweep)["cells"]]
    names = ["plan.json", *RESULTS, *(f"{run}/{name}" for run in runs for name in RECORDS)]
    before = dict(zip(names, at_once(sweep, lambda name: read_text(sweep / name), names), strict=True))
    with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
        here = Path(scratch) / sweep.name
        for name, text in before.items():
            if text is not None:
                write_text(here / name, text)
        yield here
        for name in RESULTS:
            if (made := read_text(here / name)) != before[name] and made is not None:
                write_text(sweep / name, made)

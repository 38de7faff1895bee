"""Runs trained together against the same runs one after another in one living worker, at shapes of configs/quickstart.yaml.

    python -m benchmarks.cohorts         (about 3 CPU minutes; on one core, as a worker of the local launcher)

Whole attempts with their records, interleaved: rates are of the steps after the first, so without compilation, and medians over
the turns. GLIBC_TUNABLES as the launcher sets them (`scaling/sweeps/launchers/local.py`) are for the caller. Prints Markdown.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

from scaling.config import RunConfig, build
from scaling.data.prepare import Data, prepare
from scaling.specification import specify
from scaling.training.attempt import Work, attempt_together

SHAPES = {
    "width 32": {"width": 32, "layers": 2, "heads": 1},
    "width 96": {"width": 96, "layers": 4, "heads": 3},
}
MEMBERS = (1, 2, 4, 8)
STEPS, FIRST, LOG, BATCH, LENGTH = 36, 6, 5, 512, 128
TURNS = 2


class Clock:
    """Asked after every step of every run whether to stop: it notes the time instead."""

    def __init__(self) -> None:
        self.begun = self._now()
        self.times: list[tuple[float, float]] = []

    def _now(self) -> tuple[float, float]:
        return time.process_time(), time.perf_counter()

    def __call__(self) -> bool:
        self.times.append(self._now())
        return False

    def deferred(self) -> nullcontext[None]:
        return nullcontext()

    def rates(self, members: int) -> tuple[float, float]:
        """Tokens per CPU second and per second, of all runs, from step FIRST to the last.

        Both are one after a logged step, whose row has waited for it: as much is on its way to the device at both.
        """
        first, last = self.times[FIRST * members - 1], self.times[-1]
        tokens = (len(self.times) - FIRST * members) * BATCH
        return tokens / (last[0] - first[0]), tokens / (last[1] - first[1])


def measure(model: dict[str, int], members: int, home: Path, dataset: Data) -> Clock:
    def work(seed: int) -> Work:
        fields = {
            "model": model,
            "data": {"sequence_length": LENGTH},
            "training": {"tokens": STEPS * BATCH, "batch_tokens": BATCH},
            "optimizer": {"learning_rate": 1e-3},
            "execution": {"evaluations": 1, "log_every": LOG, "cache_directory": str(home / "cache")},
            "seed": seed,
        }
        specification = specify(build(RunConfig, fields), dataset)
        return Work(Path(tempfile.mkdtemp(dir=home)), specification, dataset)

    clock = Clock()
    attempt_together([work(seed) for seed in range(members)], clock)
    return clock


def rows(home: Path, dataset: Data) -> Iterator[str]:
    for name, model in SHAPES.items():
        first_step: dict[int, float] = {}
        rates: dict[int, list[tuple[float, float]]] = {members: [] for members in MEMBERS}
        for turn in range(TURNS + 1):
            for members in MEMBERS:
                clock = measure(model, members, home, dataset)
                if turn:
                    rates[members].append(clock.rates(members))
                else:
                    first_step[members] = clock.times[0][0] - clock.begun[0]
        alone = [statistics.median(rate) for rate in zip(*rates[1], strict=True)]
        for members, measured in rates.items():
            cpu, wall = (statistics.median(rate) for rate in zip(*measured, strict=True))
            ratios = f"{cpu / alone[0]:.2f} | {wall / alone[1]:.2f}"
            yield f"| {name} | {members} | {cpu:,.0f} | {ratios} | {first_step[members]:.1f} |"


def main() -> None:
    print("| model | members | tokens per CPU second | of one after another | by the clock | CPU s to the first step, cold |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        letters = np.random.default_rng(0).integers(97, 123, size=(40, 20_000), dtype=np.uint8)
        for number, text in enumerate(letters):
            (home / f"{number}.txt").write_bytes(text.tobytes())
        data = {"corpus": f"files:{home}/*.txt", "sequence_length": LENGTH, "validation_tokens": "1k"}
        fields = {"data": data, "model": SHAPES["width 32"], "training": {"tokens": BATCH, "batch_tokens": BATCH}}
        config = build(RunConfig, {**fields, "optimizer": {"learning_rate": 1e-3}})
        for row in rows(home, prepare(config.data, home / "cache")):
            print(row, flush=True)


if __name__ == "__main__":
    main()

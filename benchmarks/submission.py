"""What the submitting process costs: thousands of runs, random preemption, a poll every 20 seconds of a simulated clock.

    python -m benchmarks.submission [RUNS] [PLACES]      5,000 on 1,000 by default, 2 to 3 CPU minutes

The engine is simulated, everything else is real: the plan, the run directories and their status files, the submission, the
lines printed. The submitting process is dropped and started anew every six simulated hours, as if it had been killed.
"""

import argparse
import heapq
import io
import random
import resource
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from scaling.config import RunConfig, build
from scaling.errors import Exit
from scaling.record import RunDirectory
from scaling.section import Section
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report
from scaling.sweeps.live import View
from scaling.sweeps.stored import write_plan
from scaling.sweeps.submission import Submission

HOUR = 3600.0
MEAN_HOURS, PREEMPTIONS_PER_HOUR, SUBMITTER_HOURS = 1.0, 0.5, 6.0


@dataclass
class Engine:
    """A queue in front of places; half of the preempted runs it queues again itself, the others it hands back."""

    sweep: Path
    places: int
    chance: random.Random
    now: float = 0.0
    waiting: deque[str] = field(default_factory=deque)
    running: dict[str, float] = field(default_factory=dict)
    ended: dict[str, Report] = field(default_factory=dict)
    work_left: dict[str, float] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    preemptions: int = 0
    _events: list[tuple[float, str, bool]] = field(default_factory=list)

    def add(self, run_id: str) -> None:
        """Queue a run; one that is queued or runs already is the submitter's mistake."""
        if run_id in self.running or run_id in self.waiting or self.done[run_id]:
            raise AssertionError(f"{run_id} was handed over twice")
        self.ended.pop(run_id, None)
        self.work_left.setdefault(run_id, self.chance.expovariate(1 / (MEAN_HOURS * HOUR)))
        self.waiting.append(run_id)

    def advance(self, seconds: float) -> None:
        """Let time go on."""
        until = self.now + seconds
        while True:
            while self.waiting and len(self.running) < self.places:
                self._start(self.waiting.popleft())
            if not self._events or self._events[0][0] > until:
                break
            self.now, run_id, finishes = heapq.heappop(self._events)
            self._end(run_id, finishes)
        self.now = until

    def _start(self, run_id: str) -> None:
        until_preempted = self.chance.expovariate(PREEMPTIONS_PER_HOUR / HOUR)
        finishes = self.work_left[run_id] <= until_preempted
        self.running[run_id] = self.now
        heapq.heappush(self._events, (self.now + min(self.work_left[run_id], until_preempted), run_id, finishes))
        RunDirectory(self.sweep / run_id).update_status(state="saved", step=0, steps=1000)

    def _end(self, run_id: str, finishes: bool) -> None:
        self.work_left[run_id] -= self.now - self.running.pop(run_id)
        if finishes:
            self.done[run_id] += 1
            self.ended[run_id] = Report("ended", code=0)
            RunDirectory(self.sweep / run_id).update_status(state="done", step=1000, loss=3.0)
            return
        self.preemptions += 1
        if self.chance.random() < 0.5:
            self.waiting.append(run_id)
        else:
            self.ended[run_id] = Report("ended", code=Exit.SAVED)


class SimulatedLauncher(Launcher):
    """The adapter to `Engine`."""

    name = "simulated"

    def __init__(self, engine: Engine):
        super().__init__(engine.sweep, Section())
        self.engine = engine

    def render(self, cells: Sequence[Cell]) -> str:
        return ""

    def submit(self, cells: Sequence[Cell]) -> None:
        for cell in cells:
            self.engine.add(cell["run_id"])

    def poll(self) -> Mapping[str, Report]:
        engine = self.engine
        queued = dict.fromkeys(engine.waiting, Report("queued", "Resources"))
        return engine.ended | queued | dict.fromkeys(engine.running, Report("running"))

    def cancel(self, run_ids: Iterable[str]) -> None:
        raise NotImplementedError


def simulate(sweep: Path, runs: int, places: int, seed: int = 0) -> dict[str, Any]:
    """Follow a sweep to its end.

    Returns:
        Of the whole: `done` (run id -> how often), `preemptions`, `submitters`, `polls`, `hours` of simulated time,
        `cpu_seconds` of the submitting process, and `longest`, the dearest poll.
    """
    config = build(
        RunConfig,
        {
            "model": {"width": 64, "layers": 4, "heads": 2},
            "training": {"tokens": "10M", "batch_tokens": 4096},
            "optimizer": {"learning_rate": 1e-3},
        },
    ).model_dump(mode="json")
    cells = [_cell(index, {**config, "seed": index}) for index in range(runs)]
    write_plan(sweep, {"sweep": sweep.name, "cells": cells})
    engine = Engine(sweep, places, random.Random(seed))
    launcher = SimulatedLauncher(engine)
    spent: list[float] = []
    submitters, submission = 0, None
    while submission is None or not submission.finished:
        begun = time.process_time()
        if submission is None or engine.now > submitters * SUBMITTER_HOURS * HOUR:
            submitters += 1
            submission = Submission(launcher, sweep, cells, clock=lambda: engine.now)
            view = View(submission, Console(file=io.StringIO(), width=80))
        submission.poll()
        view.print_ended()
        spent.append(time.process_time() - begun)
        engine.advance(launcher.poll_seconds)
    return {
        "done": dict(engine.done),
        "preemptions": engine.preemptions,
        "submitters": submitters,
        "polls": len(spent),
        "hours": engine.now / HOUR,
        "cpu_seconds": sum(spent),
        "longest": max(spent),
    }


def _cell(index: int, config: dict[str, Any]) -> Cell:
    sizes = {"parameters": 200_000, "tokens": 10_000_000, "flops": 1.2e13, "flops_to_train": 1.2e13}
    chain = {"trunk": None, "branch": None}
    return {"run_id": f"{index:012x}", "role": "fit", "labels": {"seed": index}, **sizes, **chain, "config": config}


def main() -> None:
    """Simulate, and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="?", type=int, default=5000)
    parser.add_argument("places", nargs="?", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        figures = simulate(Path(directory) / "simulated", options.runs, options.places)
    once = sum(count == 1 for count in figures["done"].values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{options.runs} runs on {options.places} places: {once} done exactly once in {figures['hours']:.1f} simulated hours")
    print(f"{figures['preemptions']} preemptions, {figures['submitters']} submitting processes, {figures['polls']} polls")
    print(f"CPU: {figures['cpu_seconds']:.1f} s, {figures['cpu_seconds'] / figures['hours'] / HOUR:.2%} of a core")
    print(f"the dearest poll: {figures['longest']:.2f} s; memory at most {memory:.0f} MiB, the engine's included")


if __name__ == "__main__":
    main()

"""A run in this process: the training loop itself on a record on disk, with what its device was given."""

import dataclasses
import json

import numpy as np

from scaling.config import RunConfig, build, override
from scaling.record import RunDirectory
from scaling.specification import specify
from scaling.training import loop
from scaling.training.places import drive

LENGTH, BATCH, STEPS = 16, 8, 40
FIELDS = {
    "model": {"width": 16, "layers": 2, "heads": 2},
    "data": {"sequence_length": LENGTH, "validation_tokens": 256},
    "training": {"tokens": LENGTH * BATCH * STEPS, "batch_tokens": LENGTH * BATCH},
    "optimizer": {"learning_rate": 1e-2},
    "execution": {"log_every": 3, "evaluations": 2},
}


class Trainer:
    """Attempts at one run, and what its record and its device saw."""

    def __init__(self, path, dataset):
        self.directory, self.dataset = RunDirectory(path), dataset
        self.attempts = 0
        self.seen = []
        """Of each step that the device did: which attempt, the step before it, the tokens."""

    def specify(self, *changes):
        """The run with the changes to its configuration."""
        return specify(build(RunConfig, override(FIELDS, changes)), self.dataset)

    def __call__(self, *changes, stop_after=None, crash_after=None, alter=None):
        """One attempt: to its end, to a stop as by SIGTERM, or to a crash in the middle.

        Args:
            alter: (step, tokens) -> the tokens that the device is given instead.
        """
        self.attempts += 1
        done = 0
        training = loop.Training(self.directory, self.specify(*changes), self.dataset, self.attempts)
        original = training.program.step

        def step(state, tokens_BxL1, hyper):
            nonlocal done
            if crash_after is not None and done == crash_after:
                raise KeyboardInterrupt
            number = int(state.step)
            self.seen.append((self.attempts, number, np.asarray(tokens_BxL1)))
            if alter:
                tokens_BxL1 = alter(number, tokens_BxL1)
            done += 1
            return original(state, tokens_BxL1, hyper)

        training.program = dataclasses.replace(training.program, step=step)
        try:
            return drive([training.updates(lambda: stop_after is not None and done >= stop_after)], lambda _: None)[0]
        except KeyboardInterrupt:
            return None

    @property
    def rows(self):
        """The curve without wall time."""
        lines = self.directory.curve_path.read_text().splitlines()
        return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]

    @property
    def checkpoints(self):
        """Steps of the checkpoints on disk, oldest first."""
        return sorted(int(path.name) for path in (self.directory.path / "checkpoints").iterdir())

    def checkpoint(self, step):
        """The directory of a checkpoint."""
        return self.directory.path / "checkpoints" / str(step)

"""Train one run to its end, from wherever its record says it stands.

A run is a generator that asks for one update after another and keeps the record of what came of them. Where its state is, and
who makes the updates, is its place (`places.py`).
"""

import math
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config import RunConfig
from scaling.data.prepare import Data
from scaling.data.validation import ValidationSet
from scaling.errors import Exit
from scaling.machine import peak_memory
from scaling.record import RunDirectory, read_text, write_text
from scaling.specification import Specification
from scaling.stores import is_bucket
from scaling.training import processes
from scaling.training.checkpoints import Checkpoints, restore
from scaling.training.mirror import Mirror
from scaling.training.optimizer import hyperparameters
from scaling.training.places import Place, Reading
from scaling.training.program import Metrics, Program, State, make_program
from scaling.trunks import evaluation_steps, share, shared_rows, trunk_of

Updates = Generator["Training", Reading, Exit]
"""Yields itself for each update it wants, is sent that, and returns how it ended."""


class _Diverged(Exception):
    """A step whose loss, gradient or state was not finite; the text names it."""

    def __init__(self, what: str, step: int):
        super().__init__(f"the {what} was not finite at step {step}")
        self.step = step


@dataclass
class _Row:
    """A logged step whose numbers may still be on the way from the device."""

    step: int
    metrics: list[Reading]
    """Of every step since the row before, this one's last."""
    evaluation: Callable[[], dict[str, np.ndarray]] | None
    started: float = field(default_factory=time.perf_counter)


def train(
    directory: RunDirectory, specification: Specification, dataset: Data, attempt: int, should_stop: Callable[[], bool]
) -> Updates:
    """Train the run until it is done, has diverged or `should_stop()`; its record tells the rest.

    Returns:
        `Exit.DONE`, `Exit.DIVERGED`, or `Exit.SAVED` with the state kept.

    Raises:
        RecordError, SaveError: the record or the state could not be written; the newest checkpoint is still there.
    """
    return Training(directory, specification, dataset, attempt).updates(should_stop)


class Training:
    """A run that is being trained."""

    place: Place
    """Set before the first update is sent."""

    def __init__(self, directory: RunDirectory, specification: Specification, dataset: Data, attempt: int):
        self.directory, self.specification, self.attempt = directory, specification, attempt
        config, facts = specification.config, specification.facts
        assert isinstance(config, RunConfig)
        self.config, self.steps = config, config.steps
        length, rule = config.data.sequence_length, config.training.skip_spikes
        self.make_program = partial(
            make_program,
            config.model,
            facts["vocabulary"],
            length,
            config.execution.program,
            config.optimizer.structure,
            rule,
            config.objective,
            config.data.documents == "separate",
        )
        self.program: Program = self.make_program()
        self.batches = dataset.batches(config)
        self.validation = dataset.held_out
        self.hyper = hyperparameters(config)
        self.checkpoints = Checkpoints(directory.path / "checkpoints", directory.guard)
        self.sweep = directory.path.parent
        self.trunk = trunk_of(specification)
        self.evaluate_after = evaluation_steps(config)
        self.first_row: _Row | None = None
        self.seconds_before = directory.status.get("seconds", 0.0)
        self.step = 0
        """Updates done."""
        self.state: State | None = None
        """After `step` of them, until a place has it."""

    def updates(self, should_stop: Callable[[], bool]) -> Updates:
        """As `train`."""
        self.state, self.step = self._begin()
        self.begun = self.saved = self.row_time = time.perf_counter()
        appends = not is_bucket(self.directory.path)  # event files grow
        self.mirror = self._start_mirror(self.step) if processes.is_first() and appends else None
        try:
            return (yield from self._steps(should_stop))
        except _Diverged as error:
            self.checkpoints.wait()
            newest = self.checkpoints.newest
            kept = "there is no checkpoint" if newest is None else f"the last good checkpoint is of step {newest}"
            self._finish("diverged", error.step, reason=f"{error}; {kept}")
            return Exit.DIVERGED
        finally:
            if self.mirror:
                self.mirror.close()
            self.checkpoints.close()

    def _begin(self) -> tuple[State, int]:
        """The newest whole saved state with the curve cut back to it, or a trunk's with its rows, or a fresh one with none."""
        restored, damaged = self.checkpoints.restore(self.program.abstract_state)
        changes: dict[str, Any] = {}
        if restored is None and self.trunk is not None:
            restored, _ = restore(self.trunk.home(self.sweep), self.program.abstract_state, last=self.trunk.step)
            if restored is not None:
                changes["branched"] = restored.step
                if processes.is_first():
                    self.directory.guard()
                    write_text(self.directory.curve_path, shared_rows(self.trunk, self.sweep, restored.step))
        if restored is None:
            state, step = self.program.initialise(self.hyper, jnp.uint32(self.config.seed)), 0
        else:
            state, step = restored.state, restored.step
        if damaged:
            found = "; ".join(f"the checkpoint of step {number} is damaged: {damage}" for number, damage in damaged.items())
            changes["warning"] = f"{found}; went on from step {step}" if step else f"{found}; began anew"
            print(f"warning: {changes['warning']}", file=sys.stderr)
        self.directory.truncate(step)
        self._update(
            state="running", step=step, steps=self.steps, attempt=self.attempt, reason=None, tokens_per_second=None, **changes
        )
        if self.checkpoints.newest == step:
            self._share(step)
        return state, step

    def _start_mirror(self, start: int) -> Mirror:
        """What shows the curve elsewhere; of a run that begins on a trunk it has seen nothing yet."""
        branched = self.checkpoints.newest is None
        mirror = Mirror(self.directory, 0 if branched else start)
        for row in self.directory.rows() if branched else ():
            mirror.write(row)
        return mirror

    def take_state(self) -> State:
        """The state that the run begins with, for its place."""
        assert self.state is not None
        state, self.state = self.state, None
        return state

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows `start` to `stop` of the batch that the next update takes, int32 [stop - start, L + 1]."""
        return self.batches.rows(self.step, start, stop)

    def _steps(self, should_stop: Callable[[], bool]) -> Updates:
        waiting: _Row | None = None
        metrics: list[Reading] = []
        while self.step < self.steps:
            metrics.append((yield self))
            done = self.step = self.step + 1
            if waiting is not None:  # the device is busy with this step meanwhile
                self._write(waiting)
                waiting = None
            stop = should_stop() and done < self.steps
            if self._is_logged(done):
                evaluation = self._start_evaluation() if done in self.evaluate_after else None
                waiting, metrics = _Row(done, metrics, evaluation), []
            if stop or done == self.steps or self._ends_trunk(done) or self._wants_checkpoint(done):
                if waiting is not None:  # a saved state has its rows behind it
                    self._write(waiting)
                    waiting = None
                _check_finite(metrics, done)
                state = self.place.state()
                if not _is_finite((state.parameters, state.optimizer)):
                    raise _Diverged("state", done)
                self.directory.flush()
                self.checkpoints.save(done, state)
                del state  # the next update may have its memory
                self.saved = time.perf_counter()
                self._share(done)
            if stop:
                self.checkpoints.wait()
                self._finish("saved", done, reason=f"stopped by a signal at step {done}")
                return Exit.SAVED
        self.checkpoints.wait()
        self._finish("done", self.steps)
        return Exit.DONE

    def _is_logged(self, done: int) -> bool:
        return done % self.config.execution.log_every == 0 or done in self.evaluate_after or done == self.steps

    def _ends_trunk(self, done: int) -> bool:
        return self.trunk is not None and done == self.trunk.step

    def _share(self, done: int) -> None:
        """Leave the state at the end of the trunk for longer runs before going on: whoever is beyond it has left it."""
        if self.trunk is None or not self._ends_trunk(done):
            return
        self.checkpoints.wait()
        if processes.is_first():
            rows = read_text(self.directory.curve_path) or ""
            share(self.trunk, self.sweep, self.checkpoints.directory / str(done), rows, self.directory.guard)

    def _wants_checkpoint(self, done: int) -> bool:
        if processes.several() and not self._is_logged(done):  # the clocks differ: the first process's counts, now and then
            return False
        return bool(processes.decide(lambda: time.perf_counter() - self.saved > self.config.execution.checkpoint_every_seconds))

    def _start_evaluation(self) -> Callable[[], dict[str, np.ndarray]]:
        """Dispatch `Program.evaluate` of each source's held-out text; the returned function waits for the sums over it."""
        sums = {name: self._start_sum(part) for name, part in self.validation.parts.items()}
        return lambda: {name: each() for name, each in sums.items()}

    def _start_sum(self, validation: ValidationSet) -> Callable[[], np.ndarray]:
        window_WxL1, size = validation.window_WxL1, self.config.micro_batch
        sums = []
        for first in range(0, len(window_WxL1), size):
            rows = window_WxL1[first : first + size]
            padded_BxL1 = np.pad(rows, ((0, size - len(rows)), (0, 0)))
            sums.append(self.place.evaluate(padded_BxL1, (np.arange(size) < len(rows)).astype(np.float32)))
        return lambda: np.stack([np.atleast_1d(each()) for each in sums]).sum(axis=0, dtype=np.float64)

    def _write(self, row: _Row) -> None:
        """Record a logged step."""
        _check_finite(row.metrics, row.step)
        sums = row.evaluation() if row.evaluation else {}
        losses = {name: float(sums[name][0]) / part.tokens for name, part in self.validation.parts.items() if sums}
        loss = self.validation.mean(losses) if losses else None
        if loss is not None and not math.isfinite(loss):
            raise _Diverged("held-out loss", row.step)
        elapsed, self.row_time = row.started - self.row_time, row.started
        tokens = row.step * self.config.training.batch_tokens
        metrics = row.metrics[-1]()
        columns = {
            "step": row.step,
            "tokens": tokens,
            "flops": self.specification.facts["flops_per_token"] * tokens,
            "train_loss": float(metrics.loss),
            "loss": loss,
            "bits_per_byte": None if loss is None else self.validation.bits_per_byte(loss),
            **{f"loss_{name}": losses.get(name) for name in self.validation.parts if name},
            **(self._pair_columns(sums) if self.config.objective == "next_sentence" else {}),
            "learning_rate": float(metrics.learning_rate),
            "gradient_norm": float(metrics.gradient_norm),
            **_noise_columns(metrics),
            "skipped_updates": int(metrics.skipped_updates),
            "seconds": elapsed,
        }
        self.directory.append(columns)
        if self.mirror:
            self.mirror.write(columns)
        changes: dict[str, Any] = {name: columns[name] for name in ("step", "train_loss", "skipped_updates")}
        if self.first_row is None:
            self.first_row = row
        else:  # the first interval holds the compilation
            trained = (row.step - self.first_row.step) * self.config.training.batch_tokens
            changes["tokens_per_second"] = trained / (row.started - self.first_row.started)
        self._update(**changes, seconds=self._seconds(), **({} if loss is None else {"loss": loss}))

    def _pair_columns(self, sums: dict[str, np.ndarray]) -> dict[str, float | None]:
        """Of next-sentence prediction: means over the held-out pairs."""
        names = ("next_sentence_loss", "next_sentence_accuracy")
        if not sums:
            return dict.fromkeys(names)
        means = sums[""][1:] / len(self.validation.parts[""].window_WxL1)
        return dict(zip(names, means.tolist(), strict=True))

    def _seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.begun

    def _finish(self, state: str, step: int, reason: str | None = None) -> None:
        facts = {"seconds": self._seconds(), "cohort": self.place.members, **peak_memory()}
        self._update(state=state, step=step, reason=reason, **facts)

    def _update(self, **changes: Any) -> None:
        self.directory.update_status(**changes, checkpoint=self.checkpoints.newest)


def _noise_columns(metrics: Metrics) -> dict[str, float | None]:
    scale = math.nan if metrics.noise_scale is None else float(metrics.noise_scale)
    parts = (math.nan, math.nan) if metrics.noise is None else tuple(map(float, metrics.noise))
    return {
        "gradient_noise_scale": scale if 0 < scale < math.inf else None,
        "gradient_squared_norm": parts[0] if math.isfinite(parts[0]) else None,
        "gradient_covariance_trace": parts[1] if math.isfinite(parts[1]) else None,
    }


@jax.jit
def _is_finite(tree: Any) -> jax.Array:
    """Whether a state may be kept: finite gradients can still drive parameters or moments out of range."""
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]).all()


def _check_finite(metrics: list[Reading], last: int) -> None:
    """Raise `_Diverged` for the first of the steps that end with `last` whose loss or gradient was not finite."""
    numbers = jax.device_get([(each.loss, each.gradient_norm) for each in (reading() for reading in metrics)])
    for step, pair in enumerate(numbers, start=last - len(metrics) + 1):
        for what, value in zip(("loss", "gradient"), pair, strict=True):
            if not math.isfinite(value):
                raise _Diverged(what, step)

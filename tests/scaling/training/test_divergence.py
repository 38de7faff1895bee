"""A run whose loss, gradient or state is not finite ends as diverged, and no such state is ever saved."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainer import FIELDS

from scaling.config import RunConfig, build
from scaling.errors import Exit
from scaling.training import loop
from scaling.training.checkpoints import restore
from scaling.training.program import make_program


def _poisoned(monkeypatch, at, what):
    """The program with one number of step `at` (from 1 on) made NaN, and what the update would have made of it."""
    original = make_program

    def poisoned(*arguments):
        program = original(*arguments)

        def step(state, tokens_BxL1, hyper):
            now = int(state.step) + 1 == at
            state, metrics = program.step(state, tokens_BxL1, hyper)
            if now:
                bad = jax.tree.map(lambda leaf: leaf * jnp.nan, state.parameters)
                state = state._replace(parameters=bad)
                metrics = metrics._replace(**{what: jnp.float32(np.nan)}) if what != "parameters" else metrics
            return state, metrics

        return dataclasses.replace(program, step=step)

    monkeypatch.setattr(loop, "make_program", poisoned)


@pytest.mark.parametrize(("field", "word"), [("loss", "loss"), ("gradient_norm", "gradient"), ("parameters", "state")])
@pytest.mark.parametrize("log_every", [1, 1000])
def test_the_reason_names_what_was_not_finite_the_step_and_the_last_good_checkpoint(
    trainer, monkeypatch, field, word, log_every
):
    run = trainer("run")
    settings = (f"execution.log_every={log_every}", "execution.evaluations=1")
    assert run(*settings, stop_after=9) is Exit.SAVED
    _poisoned(monkeypatch, 15, field)
    assert run(*settings, "execution.checkpoint_every_seconds=0") is Exit.DIVERGED
    status = run.directory.status
    assert status["state"] == "diverged"
    assert (status["step"], status["checkpoint"]) == (15, 14)
    assert status["reason"] == f"the {word} was not finite at step 15; the last good checkpoint is of step 14"
    assert run.checkpoints == [13, 14]
    config = build(RunConfig, FIELDS)
    restored, _ = restore(
        run.directory.path / "checkpoints", make_program(config.model, 256, 16, config.execution.program).abstract_state
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(restored.state)))
    assert all(row["step"] < 15 or word == "state" for row in run.rows)  # whose last loss and gradient were finite


def test_without_a_checkpoint_the_reason_says_so(trainer, monkeypatch):
    _poisoned(monkeypatch, 3, "gradient_norm")
    run = trainer("run")
    assert run() is Exit.DIVERGED
    assert run.directory.status["reason"] == "the gradient was not finite at step 3; there is no checkpoint"

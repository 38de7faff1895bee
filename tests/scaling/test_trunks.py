"""Where trunks end, and at which steps the runs on them are evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config import RunConfig, build
from scaling.specification import Specification
from scaling.training.optimizer import hyperparameters, learning_rate
from scaling.trunks import evaluation_steps, trunk_of


def _run(steps, decay=0.2, kind="wsd", **schedule):
    fields = {
        "model": {"width": 16, "layers": 1, "heads": 1},
        "data": {"sequence_length": 16},
        "training": {"tokens": 16 * steps, "batch_tokens": 16},
        "optimizer": {"learning_rate": 3e-3},
        "schedule": {"kind": kind, "decay_fraction": decay, "warmup_tokens": 16 * 7.5, **schedule},
        "execution": {"evaluations": 5},
    }
    config = build(RunConfig, fields)
    return Specification("", {name: dict(config.model_dump()[name]) for name in ("training", "schedule")}, {}, config)


def _rates(run, last):
    hyper = hyperparameters(run.config)
    return np.asarray(jax.vmap(lambda step: learning_rate(hyper, step))(jnp.arange(last)))


@pytest.mark.parametrize("decay", [0.05, 0.1, 0.2, 1 / 3, 0.37, 0.9])
@pytest.mark.parametrize("shape", ["linear", "1-sqrt"])
def test_up_to_its_end_the_rate_is_that_of_a_run_of_any_length_and_soon_after_it_is_not(decay, shape):
    longest = _rates(_run(5000, decay, decay_shape=shape), 400)
    for steps in range(40, 400, 7):
        run = _run(steps, decay, decay_shape=shape)
        trunk = trunk_of(run)
        rates = _rates(run, steps)
        np.testing.assert_array_equal(rates[: trunk.step], longest[: trunk.step])
        assert rates[trunk.step + 2] < longest[trunk.step + 2]


def test_the_end_is_one_update_before_the_decay():
    assert trunk_of(_run(100, 0.2)).step == 79
    assert trunk_of(_run(100, kind="constant")).step == 99
    assert trunk_of(_run(100, kind="cosine")) is None
    assert trunk_of(_run(8, 0.8)) is None


def test_the_length_and_the_decay_are_no_part_of_a_trunk_and_all_else_is():
    one = trunk_of(_run(100)).id
    assert one == trunk_of(_run(101)).id == trunk_of(_run(100, 0.5, decay_shape="1-sqrt")).id
    assert one != trunk_of(_run(100, final_fraction=0.2)).id
    assert one != trunk_of(_run(100, kind="constant")).id


def test_runs_of_a_trunk_are_evaluated_at_the_same_steps():
    assert sorted(evaluation_steps(_run(100).config)) == [8, 16, 32, 64, 100]
    grid = evaluation_steps(_run(10_000).config)
    for steps in range(9, 1000, 13):
        found = evaluation_steps(_run(steps).config)
        assert found - {steps} == {step for step in grid if step < steps}
        assert steps in found


@pytest.mark.parametrize("kind", ["cosine", "linear"])
def test_other_runs_are_evaluated_evenly(kind):
    assert sorted(evaluation_steps(_run(100, kind=kind).config)) == [20, 40, 60, 80, 100]

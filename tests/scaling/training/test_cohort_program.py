"""The step of a cohort is the step of each of its runs, on one device and over several."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config import RunConfig, build, override
from scaling.errors import ScalingError
from scaling.preflight.collectives import find_collectives
from scaling.preflight.compilers import step_arguments
from scaling.preflight.hlo import Module
from scaling.preflight.programs import shape_of
from scaling.training.optimizer import hyperparameters
from scaling.training.program import make_program

VOCABULARY, LENGTH, BATCH, STEPS = 32, 16, 4, 12
FIELDS = {
    "model": {"width": 16, "layers": 1, "heads": 2},
    "training": {"tokens": BATCH * LENGTH * STEPS, "batch_tokens": BATCH * LENGTH},
    "data": {"sequence_length": LENGTH},
    "optimizer": {"learning_rate": 1e-2},
}
MEMBERS = [
    ("seed=2",),
    ("seed=3", "optimizer.weight_decay=0.3"),
    ("optimizer.learning_rate=3e-3", "schedule={kind: wsd, warmup_tokens: 200}"),
    ("optimizer.beta1=0.5", "model.z_loss=0.01"),
]
HELD_OUT_WEIGHTS = np.array([1, 1, 1, 0], np.float32)


@functools.cache
def _batches(number):
    jumps = np.random.default_rng(number).choice([1, 2, 5], size=(STEPS, BATCH, LENGTH + 1))
    return (np.cumsum(jumps, axis=-1) % VOCABULARY).astype(np.int32)


def _program(config, **extra):
    shape = shape_of(config, VOCABULARY + config.extra_tokens)
    fields = (shape.model, shape.vocabulary, LENGTH, shape.program, shape.optimizer, shape.skip_spikes, shape.objective)
    return make_program(*fields, **extra), shape


@functools.cache
def _alone(member, assignments):
    """Losses and gradient norms [2, steps], and the held-out loss after them."""
    config = build(RunConfig, override(FIELDS, (*MEMBERS[member], *assignments)))
    (program, _), hyper, rows = _program(config), hyperparameters(config), []
    state = program.initialise(hyper, jnp.uint32(config.seed))
    for tokens_BxL1 in _batches(member):
        state, metrics = program.step(state, tokens_BxL1, hyper)
        rows.append((metrics.loss, metrics.gradient_norm))
    return np.array(rows).T, program.evaluate(state.parameters, _batches(9)[0], HELD_OUT_WEIGHTS)


@pytest.mark.parametrize(
    ("devices", "assignments"),
    [
        pytest.param(2, (), id="two on each of two devices"),
        pytest.param(1, (), id="one device", marks=pytest.mark.slow),
        pytest.param(4, (), id="four devices", marks=pytest.mark.slow),
        pytest.param(
            2,
            ("optimizer.name=muon", "training.skip_spikes={window: 20}", "training.objective=masked"),
            id="muon, hidden tokens",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            2,
            ("model.experts=2", "model.balance_loss=0.01", "execution.micro_batch=2"),
            id="experts",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_each_member_has_the_curve_that_it_has_alone(devices, assignments):
    """Within 2e-5, the order of summation apart: what other meshes keep of a curve (`test_equality`) and as much again."""
    configs = [build(RunConfig, override(FIELDS, (*member, *assignments))) for member in MEMBERS]
    hyper_R = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(hyperparameters, configs))
    batches_RxS = np.stack([_batches(member) for member in range(len(configs))])
    program, _ = _program(configs[0], members=len(configs), devices=tuple(jax.devices()[:devices]))
    assert dict(program.mesh.shape) == {"run": devices}
    state = program.initialise(hyper_R, jnp.array([config.seed for config in configs], jnp.uint32))
    rows = []
    for step in range(STEPS):
        state, metrics = program.step(state, batches_RxS[:, step], hyper_R)
        rows.append((metrics.loss, metrics.gradient_norm))
    evaluated_R = program.evaluate(state.parameters, _batches(9)[0], HELD_OUT_WEIGHTS)
    for leaf, promised in zip(jax.tree.leaves(state), jax.tree.leaves(program.abstract_state), strict=True):
        assert leaf.shape == promised.shape
        assert leaf.sharding.is_equivalent_to(promised.sharding, leaf.ndim)
    for member in range(len(configs)):
        curve, evaluated = _alone(member, assignments)
        np.testing.assert_allclose(np.array(rows)[:, :, member].T, curve, rtol=2e-5)
        np.testing.assert_allclose(evaluated_R[member], evaluated, rtol=2e-5)


def test_the_devices_of_a_cohort_have_nothing_to_tell_each_other():
    """Compiled from shapes alone, as a cohort is checked for a machine that is not here."""
    program, shape = _program(build(RunConfig, FIELDS), members=6, devices=tuple(jax.devices()[:4]))
    assert dict(program.mesh.shape) == {"run": 3}  # the most of four devices that six runs divide into equal parts for
    compiled = program.step.lower(*step_arguments(program, shape)).compile()
    assert not find_collectives(Module(compiled.as_text()), 3, 1)


def test_a_run_that_is_split_over_devices_is_in_no_cohort():
    config = build(RunConfig, override(FIELDS, ["execution.mesh.data=2"]))
    with pytest.raises(ScalingError, match=r"on one device each, and execution\.mesh data 2 splits them"):
        _program(config, members=2)

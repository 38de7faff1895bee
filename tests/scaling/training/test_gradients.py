"""The gradient noise scale against models whose gradient covariance is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config import RunConfig, build, override
from scaling.training.gradients import Noise, SmoothedNoise, batch_gradient, estimate_noise, smooth
from scaling.training.optimizer import hyperparameters
from scaling.training.program import make_program

WIDTH, ROWS = 20, 16
FIELDS = {
    "model": {"width": 16, "layers": 1, "heads": 2},
    "data": {"sequence_length": 8},
    "training": {"tokens": 16 * 8, "batch_tokens": 16 * 8},
    "optimizer": {"learning_rate": 1e-2},
}


def _objective(parameters, sample_BxD):
    """(w - x)^2 / 2 summed over dimensions, mean over samples: the gradient of a sample is w - x, its covariance that of x."""
    loss = 0.5 * jnp.square(parameters[None] - sample_BxD).sum(axis=1).mean()
    return loss, loss


@pytest.mark.parametrize(("groups", "accumulation"), [(1, 4), (1, 16)])
def test_both_estimates_are_unbiased_on_a_quadratic(groups, accumulation):
    """Samples of covariance diag(s^2) about 0: |G|^2 is |w|^2, the trace of the covariance the sum of s^2.

    The sample here is a row of WIDTH numbers, which counts as WIDTH - 1 tokens. Of 4,000 batches the mean of each estimate
    must lie within four of its own standard errors.
    """
    rng = np.random.default_rng(0)
    scale_D, w_D = rng.uniform(0.5, 2.0, WIDTH), rng.normal(size=WIDTH)
    samples = (rng.normal(size=(4000, ROWS, WIDTH)) * scale_D).astype(np.float32)

    def estimates(sample_BxD):
        tokens = ROWS * (WIDTH - 1)
        noise = batch_gradient(_objective, jnp.float32(w_D), sample_BxD, tokens, groups=groups, accumulation=accumulation).noise
        return noise.squared_norm, noise.covariance_trace / (WIDTH - 1)

    for found, truth in zip(jax.jit(jax.vmap(estimates))(samples), (np.sum(w_D**2), np.sum(scale_D**2)), strict=True):
        error = np.std(found) / np.sqrt(len(found))
        assert abs(np.mean(found) - truth) < 4 * error
        assert error < 0.02 * truth


def test_the_gradient_is_the_mean_whatever_the_parts():
    sample = jax.random.normal(jax.random.key(0), (ROWS, WIDTH))
    w = jnp.ones(WIDTH)
    for accumulation in (1, 2, 16):
        gradient = batch_gradient(_objective, w, sample, ROWS, accumulation=accumulation)
        np.testing.assert_allclose(gradient.mean, w - sample.mean(axis=0), atol=1e-6)
        assert float(gradient.cross_entropy) == pytest.approx(float(_objective(w, sample)[0]), rel=1e-6)
        assert (gradient.noise is None) == (accumulation == 1)


def test_two_sizes_give_both_parts():
    """Without noise both norms are |G|^2; with parts of b tokens E|G_b|^2 is |G|^2 + tr / b."""
    for square, trace in ((2.0, 0.0), (3.0, 40.0)):
        noise = estimate_noise(square + trace / 8, square + trace / 64, 8, 64)
        assert float(noise.squared_norm) == pytest.approx(square)
        assert float(noise.covariance_trace) == pytest.approx(trace, abs=1e-12)


def test_the_averages_forget():
    averages = SmoothedNoise(jnp.float32(0), jnp.float32(0), jnp.float32(0))
    for value in [5.0] * 200 + [7.0] * 1000:
        averages = smooth(averages, estimate_noise(jnp.float32(value), jnp.float32(value), 1, 2))
    assert float(averages.squared_norm / averages.weight) == pytest.approx(7.0, rel=1e-3)
    assert float(averages.weight) == pytest.approx(1.0, abs=1e-4)
    assert smooth(averages, Noise(jnp.float32(1.0), jnp.float32(jnp.nan))) == averages


@pytest.mark.parametrize(
    "execution", [{"mesh": {"data": 4}}, {"micro_batch": 4}, {"mesh": {"data": 2, "fsdp": 2}, "micro_batch": 8}]
)
def test_the_noise_of_a_model_is_that_of_the_gradients_of_its_parts(execution):
    """Each part's gradient norm is taken apart here, from a program that has that part as its whole batch."""
    tokens_BxL1 = np.random.default_rng(0).integers(0, 32, (16, 9)).astype(np.int32)

    def metrics(rows_bxL1, **changes):
        config = build(RunConfig, override(FIELDS, [f"execution.{name}={value}" for name, value in changes.items()]))
        program, hyper = make_program(config.model, 32, 8, config.execution.program), hyperparameters(config)
        return program.step(program.initialise(hyper, jnp.uint32(0)), jnp.asarray(rows_bxL1), hyper)[1]

    found = metrics(tokens_BxL1, **execution)
    if "mesh" not in execution:
        parts = [tokens_BxL1[first::4] for first in range(4)]
    elif "micro_batch" not in execution:
        parts = [tokens_BxL1[4 * group : 4 * group + 4] for group in range(4)]
    else:  # two groups of eight sequences, every second of which is a micro-batch
        parts = [tokens_BxL1[8 * group + first : 8 * group + 8 : 2] for group in range(2) for first in range(2)]
    part_square = np.mean([float(metrics(part, micro_batch=4).gradient_norm) ** 2 for part in parts])
    whole = metrics(tokens_BxL1, micro_batch=16)
    assert whole.noise is None
    assert whole.noise_scale is None
    expected = estimate_noise(part_square, float(whole.gradient_norm) ** 2, 4 * 8, 16 * 8)
    rounding = 1e-6 * part_square  # of the float32 numbers whose difference each estimate is
    assert float(found.noise.squared_norm) == pytest.approx(expected.squared_norm, abs=rounding)
    assert float(found.noise.covariance_trace) == pytest.approx(expected.covariance_trace, abs=rounding * 2 * 4 * 8)
    assert float(found.noise_scale) == pytest.approx(float(found.noise.covariance_trace / found.noise.squared_norm), rel=1e-5)


def test_a_cpu_alone_takes_two_halves_where_nothing_is_said():
    config = build(RunConfig, FIELDS)
    program, hyper = make_program(config.model, 32, 8, config.execution.program), hyperparameters(config)
    state, tokens_BxL1 = program.initialise(hyper, jnp.uint32(0)), jnp.zeros((16, 9), jnp.int32)
    assert jax.eval_shape(program.step, state, tokens_BxL1, hyper)[1].noise is not None
    assert jax.eval_shape(program.step, state, tokens_BxL1[:15], hyper)[1].noise is None

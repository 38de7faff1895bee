"""The gradient over a batch from its parts: groups of devices side by side, micro-batches one after another.

How the gradients of the parts differ is the noise of the gradient, at no cost but their norms.
B is the batch, G groups, A micro-batches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

Array = jax.Array

Objective = Callable[[Any, Any], tuple[Array, Array]]
"""(parameters, sequences) -> what is minimised and the cross entropy, both means over the predicted tokens.

Sequences are an array, or a tree of them, whose first dimension is the batch."""

GROUP_AXES = ("replica", "data")
"""Mesh axes whose devices hold the same parameters: the gradient of each is summed over its own sequences first."""


class Noise(NamedTuple):
    """Estimates from one batch, each of them unbiased; the ratio of their means is the simple noise scale in tokens."""

    squared_norm: Array
    """|G|^2 of the true gradient."""
    covariance_trace: Array
    """tr(Sigma), Sigma the covariance of the gradient of a single token."""


class Gradient(NamedTuple):
    """Of what is minimised, a tree like the parameters, and what else is known of the batch."""

    mean: Any
    cross_entropy: Array
    noise: Noise | None
    """None where the batch has one part only."""


def batch_gradient(
    objective: Objective,
    parameters: Any,
    sequences: Any,
    tokens: int,
    *,
    groups: int = 1,
    accumulation: int = 1,
    shardings: Any = None,
) -> Gradient:
    """The exact mean gradient over a batch, in float32.

    Args:
        objective: of the sequences of one part.
        parameters: a tree of float32 arrays.
        sequences: of the batch, a number divisible by groups x accumulation.
        tokens: how many are predicted in the batch, an equal number in each sequence.
        groups: devices along `GROUP_AXES` of the mesh; their gradients are added up once, after the last micro-batch.
        accumulation: micro-batches of each group.
        shardings: of the parameters, which the gradients are then kept in; None on one device.
    """

    def part(some: Any) -> tuple[Any, Array, Array]:
        (_, cross_entropy), gradient = jax.value_and_grad(objective, has_aux=True)(parameters, some)
        if shardings is not None:
            gradient = jax.lax.with_sharding_constraint(gradient, shardings)
        return gradient, cross_entropy, optax.tree.norm(gradient, squared=True)

    def of_group(some: Any) -> tuple[Any, Array, Array]:
        if accumulation == 1:
            return part(some)
        parts = micro_batches(some, accumulation)
        shapes = jax.eval_shape(part, jax.tree.map(lambda leaf: leaf[0], parts))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        sums, _ = jax.lax.scan(lambda sums, each: (jax.tree.map(jnp.add, sums, part(each)), None), zeros, parts)
        return jax.tree.map(lambda leaf: leaf / accumulation, sums)

    if groups == 1:
        mean, cross_entropy, part_square = of_group(sequences)
    else:
        by_group = jax.tree.map(lambda leaf: leaf.reshape(groups, -1, *leaf.shape[1:]), sequences)
        of_each = jax.vmap(of_group, spmd_axis_name=GROUP_AXES)(by_group)
        mean, cross_entropy, part_square = jax.tree.map(lambda leaf: leaf.mean(axis=0), of_each)
    parts = groups * accumulation
    if parts == 1:
        return Gradient(mean, cross_entropy, None)
    square = optax.tree.norm(mean, squared=True)
    return Gradient(mean, cross_entropy, estimate_noise(part_square, square, tokens / parts, tokens))


def micro_batches(sequences: Any, accumulation: int) -> Any:
    """Of each array [B, ...] one [A, B / A, ...]: each part has every A-th sequence, and so an equal share of those on each
    device.
    """
    return jax.tree.map(lambda leaf: leaf.reshape(-1, accumulation, *leaf.shape[1:]).swapaxes(0, 1), sequences)


def estimate_noise(part_square: Array, square: Array, part_tokens: float, tokens: float) -> Noise:
    """McCandlish et al. 2018, arXiv 1812.06162, appendix A.1.

    The squared norm of a gradient over b tokens is on average |G|^2 + tr(Sigma) / b: two sizes give both.

    Args:
        part_square: mean squared norm of the gradients of the parts, of `part_tokens` tokens each.
        square: squared norm of the gradient of the whole batch, of `tokens` tokens.
    """
    return Noise(
        squared_norm=(tokens * square - part_tokens * part_square) / (tokens - part_tokens),
        covariance_trace=(part_square - square) / (1 / part_tokens - 1 / tokens),
    )


class SmoothedNoise(NamedTuple):
    """Exponential moving averages, begun at zero, of both estimates and of the number 1: what each is to be divided by.

    They are averaged apart: the ratio of two noisy numbers is biased, that of their averages hardly (appendix A.1).
    """

    squared_norm: Array
    covariance_trace: Array
    weight: Array


SMOOTHING = 0.99
"""What is left of an average after one step: about the last hundred steps count."""


def smooth(before: SmoothedNoise, noise: Noise) -> SmoothedNoise:
    """The averages with one more step in them; a step whose gradient is not finite leaves them as they are."""
    values = (*noise, jnp.float32(1.0))
    finite = jnp.isfinite(noise.squared_norm) & jnp.isfinite(noise.covariance_trace)
    averages = (SMOOTHING * old + (1 - SMOOTHING) * new for old, new in zip(before, values, strict=True))
    return SmoothedNoise(*(jnp.where(finite, new, old) for old, new in zip(before, averages, strict=True)))

"""Loss spikes skipped by rule: an update far out of line with the steps before it is not applied.

The rule is that of OLMo-core (`SkipStepOptimizer`): no update where the loss or the gradient norm lies more than `deviations`
standard deviations above its mean over the last `window` steps, once max(20, window / 2) of them are there; both are noted of
skipped steps too, so that a lasting change of level is soon the new normal. (OLMo-core skips falls of that size as well.)
It does without a restart what Chowdhery et al. 2022 (PaLM, arXiv 2204.02311, section 5.1) did by hand: go back and leave
out the batches around a spike. Shape suffix: W window.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scaling.optimization import SpikeConfig

Array = jax.Array


class Spikes(NamedTuple):
    """What the rule remembers, part of the training state."""

    losses_W: Array
    """float32, the losses of the last W steps, that of step s at s modulo W."""
    gradient_norms_W: Array
    skipped: Array
    """Updates skipped so far, int32."""


def no_spikes(rule: SpikeConfig) -> Spikes:
    """Before the first step."""
    return Spikes(jnp.zeros(rule.window), jnp.zeros(rule.window), jnp.int32(0))


def skip_spike(
    rule: SpikeConfig, before: Spikes, step: Array, loss: Array, gradient_norm: Array, old: Any, new: Any
) -> tuple[Any, Spikes]:
    """`old`, where this step's update is to be skipped, else `new`; and what the rule then remembers.

    Args:
        before: the memory before this step.
        step: updates before this one, int32.
        loss: of this step's batch; a non-finite one is no spike but the end of the run, which is for the loop to see.
        gradient_norm: before clipping.
        old: parameters and optimizer state before the update.
        new: and after it.
    """
    count = jnp.minimum(step, rule.window)
    known = count >= max(20, rule.window // 2)
    outlier = _is_outlier(rule, before.losses_W, count, loss) | _is_outlier(rule, before.gradient_norms_W, count, gradient_norm)
    skip = known & outlier
    kept = jax.tree.map(lambda was, becomes: jnp.where(skip, was, becomes), old, new)
    place = step % rule.window
    losses_W, norms_W = before.losses_W.at[place].set(loss), before.gradient_norms_W.at[place].set(gradient_norm)
    return kept, Spikes(losses_W, norms_W, before.skipped + skip)


def _is_outlier(rule: SpikeConfig, values_W: Array, count: Array, value: Array) -> Array:
    there_W = jnp.arange(rule.window) < count
    mean = jnp.where(there_W, values_W, 0.0).sum() / jnp.maximum(count, 1)
    variance = jnp.where(there_W, jnp.square(values_W - mean), 0.0).sum() / jnp.maximum(count - 1, 1)
    return value > mean + rule.deviations * jnp.sqrt(variance)

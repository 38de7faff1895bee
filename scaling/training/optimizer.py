"""AdamW and its learning-rate schedules, with every hyperparameter traced: one compiled step serves all of them."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from scaling.config import RunConfig
from scaling.training.mesh import match_rules

SCHEDULES = ("cosine", "wsd", "constant")

WEIGHT_DECAY: tuple[tuple[str, bool], ...] = (
    (r".*/kernel", True),
    (r".*/embedding", False),
    (r".*/(bias|scale)", False),
)


class Hyperparameters(NamedTuple):
    """Scalars that change no shape, in the order of the configuration. Tokens are float32: exact up to 2^24 batches."""

    learning_rate: Any
    beta1: Any
    beta2: Any
    epsilon: Any
    weight_decay: Any
    gradient_clip: Any
    schedule: Any
    """Index into `SCHEDULES`."""
    warmup_steps: Any
    steps: Any
    final_fraction: Any
    decay_fraction: Any
    z_loss: Any
    balance_loss: Any


def hyperparameters(config: RunConfig) -> Hyperparameters:
    """The traced scalars of a run."""
    optimizer, schedule = config.optimizer, config.schedule
    scalars = Hyperparameters(
        learning_rate=optimizer.learning_rate,
        beta1=optimizer.beta1,
        beta2=optimizer.beta2,
        epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        gradient_clip=optimizer.gradient_clip,
        schedule=SCHEDULES.index(schedule.kind),
        warmup_steps=schedule.warmup_tokens / config.training.batch_tokens,
        steps=config.steps,
        final_fraction=schedule.final_fraction,
        decay_fraction=schedule.decay_fraction,
        z_loss=config.model.z_loss,
        balance_loss=config.model.balance_loss,
    )
    return Hyperparameters(*(jnp.float32(value) for value in scalars))


def learning_rate(hyper: Hyperparameters, step: jax.Array) -> jax.Array:
    """The rate of update `step` (0-based): linear warmup, then the schedule down to `final_fraction` of the peak.

    cosine: Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, one period to the end of the run.
    wsd: constant, then linear over the last `decay_fraction` (Haegele et al. 2024, arXiv 2405.18392, section 3).
    """
    position = step.astype(jnp.float32) + 1.0
    warmup = jnp.minimum(1.0, position / jnp.maximum(hyper.warmup_steps, 1.0))
    progress = jnp.clip((position - hyper.warmup_steps) / jnp.maximum(hyper.steps - hyper.warmup_steps, 1.0), 0.0, 1.0)
    cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    decay = jnp.clip((hyper.steps - position) / jnp.maximum(hyper.decay_fraction * hyper.steps, 1.0), 0.0, 1.0)
    shape = jnp.stack([cosine, decay, jnp.float32(1.0)])[hyper.schedule.astype(jnp.int32)]
    return hyper.learning_rate * warmup * (hyper.final_fraction + (1.0 - hyper.final_fraction) * shape)


def make_optimizer(hyper: Hyperparameters, step: jax.Array) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2) after clipping the global gradient norm."""
    return optax.chain(
        optax.clip_by_global_norm(hyper.gradient_clip),
        optax.scale_by_adam(hyper.beta1, hyper.beta2, hyper.epsilon),
        optax.add_decayed_weights(hyper.weight_decay, mask=lambda tree: match_rules(WEIGHT_DECAY, tree)),
        optax.scale(-learning_rate(hyper, step)),
    )

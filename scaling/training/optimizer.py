"""Optimizers and their learning-rate schedules, with every hyperparameter traced: one compiled step serves all of one kind.

An update is rate x (f direction + decay w): the direction is optax's, of gradients clipped by their global norm; f is the
parametrization's factor of the parameter's kind. The decay does not have it, which is what `1/f` in the parametrizations'
tables of weight decay says.
"""

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from scaling.config import RunConfig
from scaling.errors import ScalingError
from scaling.models.parametrization import KINDS, Kind, Rules
from scaling.optimization import Structure
from scaling.training.mesh import match_rules

SCHEDULES = ("cosine", "linear", "constant", "wsd linear", "wsd 1-sqrt")

DECAYED: tuple[Kind, ...] = ("hidden", "router", "head")
"""The kinds that weight decay is for, where the configuration does not say otherwise."""

MUON_SIZE = 0.2
"""Root mean square of Muon's updates: about that of AdamW's (Liu et al. 2025, arXiv 2502.16982)."""


class Hyperparameters(NamedTuple):
    """Scalars that change no shape; float32, 0 where the optimizer has no such. Tokens are exact up to 2^24 batches."""

    learning_rate: Any
    beta1: Any
    beta2: Any
    epsilon: Any
    momentum: Any
    weight_decay: Any
    gradient_clip: Any
    learning_rate_multipliers: tuple[Any, ...]
    weight_decay_multipliers: tuple[Any, ...]
    """In the order of the patterns in `Structure`."""
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
    schedule, fields = config.schedule, config.optimizer.model_dump()
    scalars = Hyperparameters(
        **{name: fields.get(name, 0.0) for name in Hyperparameters._fields[:7]},
        learning_rate_multipliers=tuple(fields["learning_rate_multipliers"].values()),
        weight_decay_multipliers=tuple(fields["weight_decay_multipliers"].values()),
        schedule=SCHEDULES.index(f"wsd {schedule.decay_shape}" if schedule.kind == "wsd" else schedule.kind),
        warmup_steps=schedule.warmup_tokens / config.training.batch_tokens,
        steps=config.steps,
        final_fraction=schedule.final_fraction,
        decay_fraction=schedule.decay_fraction,
        z_loss=config.model.z_loss,
        balance_loss=config.model.balance_loss,
    )
    return jax.tree.map(jnp.float32, scalars)


def no_hyperparameters(structure: Structure) -> Hyperparameters:
    """Zeros in place of all scalars, for what depends on shapes alone."""
    rates, decays = ((0.0,) * len(patterns) for patterns in (structure.learning_rate_patterns, structure.weight_decay_patterns))
    fields: dict[str, Any] = dict.fromkeys(Hyperparameters._fields, 0.0)
    fields |= {"learning_rate_multipliers": rates, "weight_decay_multipliers": decays}
    return jax.tree.map(jnp.float32, Hyperparameters(**fields))


def learning_rate(hyper: Hyperparameters, step: jax.Array) -> jax.Array:
    """The rate of update `step` (0-based): linear warmup, then the schedule down to `final_fraction` of the peak.

    cosine: Loshchilov & Hutter 2017, arXiv 1608.03983, eq. 5, one period to the end of the run.
    linear: a straight line to the end of the run.
    wsd: constant, then over the last `decay_fraction` a straight line, or 1 - sqrt(part of the decay that is over)
    (Haegele et al. 2024, arXiv 2405.18392, section 3).
    """
    position = step.astype(jnp.float32) + 1.0
    warmup = jnp.minimum(1.0, position / jnp.maximum(hyper.warmup_steps, 1.0))
    progress = jnp.clip((position - hyper.warmup_steps) / jnp.maximum(hyper.steps - hyper.warmup_steps, 1.0), 0.0, 1.0)
    cosine = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
    decay = jnp.clip((hyper.steps - position) / jnp.maximum(hyper.decay_fraction * hyper.steps, 1.0), 0.0, 1.0)
    shapes = jnp.stack([cosine, 1.0 - progress, jnp.float32(1.0), decay, 1.0 - jnp.sqrt(1.0 - decay)])
    shape = shapes[hyper.schedule.astype(jnp.int32)]
    return hyper.learning_rate * warmup * (hyper.final_fraction + (1.0 - hyper.final_fraction) * shape)


def make_optimizer(structure: Structure, rules: Rules, hyper: Hyperparameters, step: jax.Array) -> optax.GradientTransformation:
    """The optimizer of update `step`, on trees of parameters of which each is matched by one pattern of `KINDS`.

    Raises (when it is used):
        ScalingError: a parameter of no kind, or matched by two patterns of the configuration; a pattern that matches none.
    """
    by_name: dict[str, Callable[[], optax.GradientTransformation]] = {
        "adamw": lambda: optax.scale_by_adam(hyper.beta1, hyper.beta2, hyper.epsilon),
        "lion": lambda: optax.scale_by_lion(hyper.beta1, hyper.beta2),
        "adafactor": lambda: optax.chain(optax.scale_by_factored_rms(min_dim_size_to_factor=1), optax.clip_by_block_rms(1.0)),
        "muon": lambda: _muon(hyper),
    }
    rates = rules.learning_rate
    if structure.name == "muon":
        rates = {**rates, "hidden": rules.orthogonal_learning_rate}
    # Adam's direction m / (sqrt(v) + f epsilon) is that of gradients divided by f with epsilon itself
    inverse_epsilon = {kind: 1.0 / factor for kind, factor in rules.epsilon.items()}
    return optax.chain(
        optax.chain(optax.clip_by_global_norm(hyper.gradient_clip), _scale(lambda tree: _by_kind(inverse_epsilon, tree))),
        by_name[structure.name](),
        _scale(lambda tree: _by_kind(rates, tree)),
        _decay(structure, hyper),
        _scale(
            lambda tree: _by_pattern("learning_rate", structure.learning_rate_patterns, hyper.learning_rate_multipliers, tree)
        ),
        optax.scale(-learning_rate(hyper, step)),
    )


def _muon(hyper: Hyperparameters) -> optax.GradientTransformation:
    """Muon with Nesterov's momentum and five Newton-Schulz iterations on hidden matrices, Adam on all else."""

    def dimensions(tree: Any) -> Any:
        return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(-2, -1), tree)

    def size(tree: Any) -> Any:  # an orthogonal matrix of n x m has a mean square of 1 / max(n, m)
        return jax.tree.map(lambda leaf: MUON_SIZE * max(leaf.shape[-2:]) ** 0.5, tree)

    muon = optax.chain(contrib.scale_by_muon(beta=hyper.momentum, weight_dimension_numbers=dimensions), _scale(size))
    adam = optax.scale_by_adam(hyper.beta1, hyper.beta2, hyper.epsilon)
    return optax.partition(
        {"muon": muon, "adam": adam},
        lambda tree: jax.tree.map(lambda kind: "muon" if kind == "hidden" else "adam", match_rules(KINDS, tree)),
    )


def _scale(factors: Callable[[Any], Any]) -> optax.GradientTransformation:
    """Multiply each update by its factor."""
    return optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors(updates)))


def _decay(structure: Structure, hyper: Hyperparameters) -> optax.GradientTransformation:
    """Add weight decay x parameter, with the configuration's factors in place of 1 for matrices and 0 for the rest."""

    def update(updates: Any, parameters: Any) -> Any:
        usual = jax.tree.map(lambda kind: kind in DECAYED, match_rules(KINDS, parameters))
        factors = _by_pattern(
            "weight_decay", structure.weight_decay_patterns, hyper.weight_decay_multipliers, parameters, usual
        )
        return jax.tree.map(
            lambda u, w, factor: u if factor is False else u + hyper.weight_decay * factor * w, updates, parameters, factors
        )

    return optax.stateless(update)


def _by_kind(factors: Mapping[Kind, float], tree: Any) -> Any:
    return jax.tree.map(lambda kind: factors.get(kind, 1.0), match_rules(KINDS, tree))


def _by_pattern(field: str, patterns: tuple[str, ...], factors: tuple[Any, ...], tree: Any, usual: Any = None) -> Any:
    """For each leaf the factor of the pattern that matches its path, else its `usual` one, or 1.

    Raises:
        ScalingError: a leaf that two patterns match; a pattern that matches none, with the nearest paths.
    """
    usual = jax.tree.map(lambda _: 1.0, tree) if usual is None else usual
    used: set[str] = set()
    names: list[str] = []

    def factor(path: Any, otherwise: float) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        names.append(name)
        found = [(pattern, value) for pattern, value in zip(patterns, factors, strict=True) if re.fullmatch(pattern, name)]
        used.update(pattern for pattern, _ in found)
        if len(found) > 1:
            both = " and ".join(repr(pattern) for pattern, _ in found[:2])
            raise ScalingError(f"optimizer.{field}_multipliers: both {both} match the parameter {name}")
        return found[0][1] if found else otherwise

    tree = jax.tree_util.tree_map_with_path(factor, usual)
    for pattern in patterns:
        if pattern not in used:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.0)
            raise ScalingError(
                f"optimizer.{field}_multipliers: {pattern!r} matches the whole path of no parameter; near: {', '.join(near)}"
            )
    return tree

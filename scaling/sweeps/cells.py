"""From the labels of a cell to the configuration of its run.        (no jax)"""

from collections.abc import Mapping
from typing import Any

from scaling.config import DataConfig, RunConfig, build, set_path
from scaling.counting import count_flops, count_parameters
from scaling.errors import ScalingError
from scaling.families import AnyRun, build_run
from scaling.models.ladder import rung
from scaling.quantities import format_quantity, parse_quantity
from scaling.sweeps.grid import Labels
from scaling.sweeps.rules import Chooser, choose, size_of

AXES = {
    "model": "mappings of model fields, names of presets, or non-embedding parameters for the ladder",
    "rung": "mappings of whole sections, for what goes with a size: {model: {width: 64}, optimizer: {learning_rate: 3e-3}}",
    "budget": "model FLOPs: the tokens that spend them",
    "tokens_per_parameter": "the tokens are this many times all parameters that a token uses (N of Hoffmann et al. 2022)",
}
"""Axes that are more than a field of a run."""

_TOKENS = ("budget", "tokens_per_parameter")


def configure(base: Mapping[str, Any], labels: Labels, rule: Chooser | None = None) -> AnyRun:
    """The run of a cell: the base with its labels, and with the batch size and the rate of the rule where there is one.

    Raises:
        ScalingError: labels that contradict each other or the rule; not a valid run.
    """
    chosen = [path for path in (*_TOKENS, "training.tokens") if path in labels]
    if len(chosen) > 1:
        raise ScalingError(f"{' and '.join(chosen)} of a cell both choose its tokens; leave one out")
    if rule is None:
        return _run(merge(base, labels), labels)
    reference = None if rule.reference is None else network(configure(base, rule.reference), "the reference of a rule")
    return _by_rule(rule, reference, base, labels)


def network(config: AnyRun, what: str) -> RunConfig:
    """The run, where it is a network's; a `ScalingError` says that something is for networks alone."""
    if not isinstance(config, RunConfig):
        raise ScalingError(f"{what} is for networks: an n-gram model has no FLOPs, no batch and no learning rate")
    return config


def merge(base: Mapping[str, Any], labels: Labels) -> dict[str, Any]:
    """The fields of the base with those of the labels, all but what stands for a number of tokens."""
    fields: dict[str, Any] = dict(base)
    for path, value in labels.items():
        if path == "model" and not isinstance(value, Mapping):
            value = _shape(value, fields.get("model", {}))
        for inner_path, inner in value.items() if path == "rung" else [(path, value)]:
            if inner_path not in _TOKENS:
                fields = set_path(fields, inner_path, inner)
    return fields


def _by_rule(rule: Chooser, reference: RunConfig | None, base: Mapping[str, Any], labels: Labels) -> RunConfig:
    stated = merge({}, labels)
    for section, field in (("training", "batch_tokens"), ("optimizer", "learning_rate")):
        if field in stated.get(section, {}):
            raise ScalingError(f"{section}.{field} of a cell is chosen by the rule {rule.name}; leave it or the rule out")
    fields = merge(base, labels)

    def run(fields: dict[str, Any], batch_tokens: float | None, rate: float) -> RunConfig:
        if batch_tokens is not None:
            fields = set_path(fields, "training.batch_tokens", batch_tokens)
        return network(_run(set_path(fields, "optimizer.learning_rate", rate), labels), f"the rule {rule.name}")

    length = build(DataConfig, fields.get("data", {})).sequence_length
    for_size = run({name: section for name, section in fields.items() if name != "execution"}, length, 0)
    return run(fields, *choose(rule, size_of(for_size, for_size.training.tokens), reference, length))


def _run(fields: dict[str, Any], labels: Labels) -> AnyRun:
    """The run of these fields, on as many tokens as a label stands for where one does."""
    for path, tokens in (("budget", _tokens_of_budget), ("tokens_per_parameter", _tokens_of_ratio)):
        if labels.get(path) is not None:
            fields = set_path(fields, "training.tokens", tokens(fields, parse_quantity(labels[path])))
    return build_run(fields)


def _shape(value: Any, base: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's name or a number of parameters as model fields."""
    try:
        parameters = int(parse_quantity(value))
    except ValueError:
        return {"preset": value}
    return dict(rung(parameters, base).fields)


def _tokens_of_budget(fields: dict[str, Any], budget: float) -> int:
    """The whole batches whose training costs `budget` model FLOPs."""
    config = _one_batch(fields, "a budget")
    batch, objective = config.training.batch_tokens, config.objective
    per_token = count_flops(config.model, _vocabulary(config), config.data.sequence_length, objective).model
    batches = int(budget / per_token / batch)
    if batches < 1:
        spent = format_quantity(budget)
        raise ScalingError(f"the budget of {spent} FLOPs is less than one batch: {batch} tokens at {per_token:.3g} FLOPs")
    return batches * batch


def _tokens_of_ratio(fields: dict[str, Any], ratio: float) -> int:
    """The whole batches next to `ratio` times the parameters, at least one."""
    config = _one_batch(fields, "tokens_per_parameter")
    batch = config.training.batch_tokens
    parameters = count_parameters(config.model, _vocabulary(config), config.data.sequence_length).active
    return max(1, round(ratio * parameters / batch)) * batch


def _vocabulary(config: RunConfig) -> int:
    return config.data.tokenizer.vocabulary + config.extra_tokens


def _one_batch(fields: dict[str, Any], what: str) -> RunConfig:
    """The run of these fields on one batch, whatever tokens they state; a warmup beyond it does not matter yet."""
    fields = set_path(fields, "training.tokens", parse_quantity(fields.get("training", {}).get("batch_tokens")))
    return network(build_run(set_path(fields, "schedule.warmup_tokens", 0)), what)

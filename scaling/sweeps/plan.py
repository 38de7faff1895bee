"""A sweep file becomes a plan: the ordered cells to train, each a whole run configuration.        (no jax)

Axes are `path: [values]`; their product is the grid. Three axes are more than a field of a run:
`model`   mappings of model fields, names of presets, or numbers of parameters for the ladder;
`rung`    mappings of whole sections, for what goes with a size: `{model: {width: 64}, optimizer: {learning_rate: 3e-3}}`;
`budget`  FLOPs: stands for the `training.tokens` that spend them.
A cell of `cells` or `holdouts` names one value of each axis it needs: `{model: 1M, training.tokens: 20M}`.
A `rule` (`rules.py`) fills the batch size and the learning rate of every cell.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from scaling.config import DataConfig, RunConfig, Section, build, override, read_yaml, set_path
from scaling.counting import count_flops
from scaling.data.prepare import Dataset, prepare
from scaling.errors import ScalingError
from scaling.models.ladder import rung
from scaling.quantities import format_quantity, parse_quantity
from scaling.record import RunDirectory, now, read_json, write_json
from scaling.specification import Specification, specify
from scaling.sweeps.rules import Rule, choose, size_of


class SweepConfig(Section):
    """A sweep file: a base run, the axes that vary it, cells beside their grid, and runs kept out of the fit to be forecast."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: dict[str, Any]
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    cells: list[dict[str, Any]] = Field(default_factory=list)
    holdouts: list[dict[str, Any]] = Field(default_factory=list)
    rule: Rule | None = None
    launcher: str = "local"
    """Where the runs go to; `--launcher` on the command line goes before it."""
    resources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a run gets there, by the launcher's name: the fields of its `Config` in `scaling/sweeps/launchers/`."""


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    role: Literal["fit", "holdout"]
    labels: dict[str, Any]
    specification: Specification

    def record(self) -> dict[str, Any]:
        """The cell in `plan.json`."""
        facts, record = self.specification.facts, self.specification.record()
        numbers = {"parameters": facts["parameters"], "tokens": facts["tokens"], "flops": facts["flops"]}
        return {"run_id": record["run_id"], "role": self.role, "labels": self.labels, **numbers, "config": record["config"]}


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep in the order of training: held-out runs last, larger models first."""

    name: str
    cells: list[Cell]
    rule: Rule | None = None
    """What chose the batch size and the learning rate of the cells."""

    def write(self, directory: Path) -> None:
        """Write `plan.json` into the sweep's directory, and each run's `run.json` into its own."""
        cells = [cell.record() for cell in self.cells]
        present = read_json(directory / "plan.json")
        if present is None or present["cells"] != cells:
            write_json(directory / "plan.json", {"sweep": self.name, "created": now(), "cells": cells})
        for cell in self.cells:
            RunDirectory(directory / cell.specification.run_id).create(cell.specification.record())


def read_sweep(path: Path, overrides: Iterable[str] = ()) -> SweepConfig:
    """The sweep file with overrides; `section.field=value` of a run's section changes the base run."""
    sections = tuple(RunConfig.model_fields)
    moved = [f"base.{each}" if each.split(".")[0].split("=")[0] in sections else each for each in overrides]
    return build(SweepConfig, override(read_yaml(path), moved))


def make_plan(sweep: SweepConfig) -> Plan:
    """Every cell of the sweep, specified; the same file, data and code give the same plan.

    Raises:
        ScalingError: no cells, two cells that are the same run, a cell that is not a valid run, data that cannot carry one.
    """
    datasets: dict[tuple[Any, Path], Dataset] = {}
    chosen = sweep.rule.reference if sweep.rule else None
    reference = None if chosen is None else _configure(sweep.base, chosen)

    def cell(role: Literal["fit", "holdout"], labels: dict[str, Any]) -> Cell:
        config = _configure(sweep.base, labels) if sweep.rule is None else _apply(sweep.rule, reference, sweep.base, labels)
        key = (config.data, config.execution.data_directory)
        if key not in datasets:
            datasets[key] = prepare(config.data, config.execution.data_directory)
        return Cell(role, labels, specify(config, datasets[key]))

    fitted = [cell("fit", labels) for labels in (*_grid(sweep.axes), *sweep.cells)]
    held_out = [cell("holdout", labels) for labels in sweep.holdouts]
    if not fitted:
        raise ScalingError(f"the sweep {sweep.name} yields no cells: it needs `cells`, or `axes` with a value each")
    ids: dict[str, dict[str, Any]] = {}
    for each in [*fitted, *held_out]:
        other = ids.setdefault(each.specification.run_id, each.labels)
        if other is not each.labels:
            raise ScalingError(f"two cells of the sweep {sweep.name} are the same run: {other} and {each.labels}")
    fitted.sort(key=lambda each: (-each.specification.facts["parameters"], -each.specification.facts["tokens"]))
    return Plan(sweep.name, [*fitted, *held_out], sweep.rule)


def _grid(axes: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    if not axes:
        return
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _configure(base: Mapping[str, Any], labels: Mapping[str, Any]) -> RunConfig:
    return _run(_merge(base, labels), labels.get("budget"))


def _apply(rule: Rule, reference: RunConfig | None, base: Mapping[str, Any], labels: Mapping[str, Any]) -> RunConfig:
    """The run with the batch size and the rate that the rule chooses; a `ScalingError` where its labels choose them too."""
    stated = _merge({}, labels)
    for section, field in (("training", "batch_tokens"), ("optimizer", "learning_rate")):
        if field in stated.get(section, {}):
            raise ScalingError(f"{section}.{field} of a cell is chosen by the rule {rule.name}; leave it or the rule out")

    fields, budget = _merge(base, labels), labels.get("budget")

    def run(fields: dict[str, Any], batch_tokens: float, rate: float) -> RunConfig:
        fields = set_path(fields, "training.batch_tokens", batch_tokens)
        return _run(set_path(fields, "optimizer.learning_rate", rate), budget)

    length = build(DataConfig, fields.get("data", {})).sequence_length
    for_size = run({name: section for name, section in fields.items() if name != "execution"}, length, 0)
    return run(fields, *choose(rule, size_of(for_size, for_size.training.tokens), reference, length))


def _run(fields: dict[str, Any], budget: Any) -> RunConfig:
    """The run of these fields, of as many tokens as the budget pays for where there is one."""
    if budget is not None:
        fields = set_path(fields, "training.tokens", _tokens_of_budget(fields, budget))
    return build(RunConfig, fields)


def _merge(base: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the base with those of the labels, all but a budget."""
    fields: dict[str, Any] = dict(base)
    for path, value in labels.items():
        if path == "model" and not isinstance(value, Mapping):
            value = _shape(value, fields.get("model", {}))
        for inner_path, inner in value.items() if path == "rung" else [(path, value)]:
            if inner_path != "budget":
                fields = set_path(fields, inner_path, inner)
    return fields


def _shape(value: Any, base: Mapping[str, Any]) -> dict[str, Any]:
    """A preset's name or a number of parameters as model fields."""
    try:
        parameters = int(parse_quantity(value))
    except ValueError:
        return {"preset": value}
    return dict(rung(parameters, base).fields)


def _tokens_of_budget(fields: dict[str, Any], budget: Any) -> int:
    """The whole batches whose training costs `budget` model FLOPs."""
    batch = parse_quantity(fields.get("training", {}).get("batch_tokens"))
    config = build(RunConfig, set_path(fields, "training.tokens", batch))
    per_token = count_flops(config.model, config.data.tokenizer.vocabulary, config.data.sequence_length).model
    batches = int(parse_quantity(budget) / per_token / batch)
    if batches < 1:
        spent = format_quantity(parse_quantity(budget))
        raise ScalingError(f"the budget of {spent} FLOPs is less than one batch: {batch} tokens at {per_token:.3g} FLOPs")
    return int(batches * batch)

"""A sweep file becomes a plan: the ordered runs to train, each with all that its worker needs to know.        (no jax)"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scaling.data.prepare import Data, prepare
from scaling.errors import ScalingError
from scaling.specification import Specification, specify
from scaling.sweeps.cells import configure
from scaling.sweeps.chains import Link, link
from scaling.sweeps.estimates import Hardware, memory
from scaling.sweeps.grid import Labels, SweepConfig, fitted_labels
from scaling.sweeps.optima import Tuned
from scaling.sweeps.rules import Chooser


@dataclass(frozen=True)
class Cell:
    """One run of a sweep."""

    role: Literal["fit", "holdout"]
    labels: Labels
    specification: Specification
    link: Link | None = None
    """Its place in the chain of its trunk."""

    @property
    def flops_to_train(self) -> float:
        """Model FLOPs of what it does not begin with."""
        facts = self.specification.facts
        return float(facts["flops"] * (1 - (self.link.start if self.link else 0) / facts["steps"]))

    def record(self, hardware: Hardware | None = None) -> dict[str, Any]:
        """The cell in `plan.json`."""
        facts, flops = self.specification.facts, self.flops_to_train
        numbers: dict[str, Any] = {name: facts[name] for name in ("parameters", "tokens", "flops")}
        numbers |= {"flops_to_train": flops, "memory": memory(self.specification.config, facts["vocabulary"])}
        if hardware is not None:
            numbers |= {"device_seconds": hardware.seconds(flops), "cost": hardware.cost(flops)}
        branch = {} if self.link is None else self.link._asdict()
        chain = {"trunk": branch.pop("after", None), "branch": branch or None}
        return {"role": self.role, "labels": self.labels, **numbers, **chain, **self.specification.record()}


@dataclass(frozen=True)
class Plan:
    """All cells of a sweep in the order of training: held-out runs last, larger models first, along each trunk the shorter."""

    sweep: SweepConfig
    cells: list[Cell]
    hardware: Hardware | None = None
    chooser: Chooser | None = None
    """What chose the rate of each cell, and its batch."""

    @property
    def name(self) -> str:
        """Of the sweep."""
        return self.sweep.name

    def record(self) -> dict[str, Any]:
        """The content of `plan.json`."""
        rule = None if self.chooser is None else self.chooser.name
        hardware = None if self.hardware is None else {"name": self.sweep.hardware, **self.hardware.model_dump(mode="json")}
        return {
            "sweep": self.name,
            "rule": rule,
            "hardware": hardware,
            "launcher": self.sweep.launcher,
            "resources": self.sweep.resources,
            "cells": [cell.record(self.hardware) for cell in self.cells],
        }


def make_plan(sweep: SweepConfig, hardware: Hardware | None = None, tuned: Tuned | None = None) -> Plan:
    """Every cell of the sweep, specified; the same file, data and code give the same plan.

    Args:
        sweep: the sweep file.
        hardware: what times and costs are estimated for.
        tuned: what its tuning stage found, where it has one.

    Raises:
        ScalingError: no cells, two cells that are the same run, a cell that is not a valid run, data that cannot carry one.
    """
    datasets: dict[tuple[str, Path], Data] = {}
    chooser: Chooser | None = tuned or sweep.rule

    def cell(role: Literal["fit", "holdout"], labels: Labels) -> Cell:
        config = configure(sweep.base, labels, chooser)
        key = (config.data.model_dump_json(), config.execution.data_directory)
        if key not in datasets:
            datasets[key] = prepare(config.data, config.execution.data_directory)
        return Cell(role, labels, specify(config, datasets[key]))

    fitted = [cell("fit", labels) for labels in fitted_labels(sweep)]
    held_out = [cell("holdout", labels) for labels in sweep.holdouts]
    if not fitted:
        raise ScalingError(f"the sweep {sweep.name} yields no cells: it needs `cells`, or `axes` with a value each")
    ids: dict[str, Labels] = {}
    for each in [*fitted, *held_out]:
        other = ids.setdefault(each.specification.run_id, each.labels)
        if other is not each.labels:
            raise ScalingError(f"two cells of the sweep {sweep.name} are the same run: {other} and {each.labels}")
    links = link([(each.role, each.specification) for each in (*fitted, *held_out)])
    cells = [
        Cell(each.role, each.labels, each.specification, links.get(each.specification.run_id)) for each in (*fitted, *held_out)
    ]
    return Plan(sweep, sorted(cells, key=_order), hardware, chooser)


def _order(cell: Cell) -> tuple[Any, ...]:
    if cell.role == "holdout":
        return (1,)
    facts, place = cell.specification.facts, cell.link
    length = (place.id, place.step, facts["tokens"]) if place else ("", -facts["tokens"], 0)
    return (0, -(facts["parameters"] or 0), *length)

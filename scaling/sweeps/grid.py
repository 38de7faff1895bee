"""A sweep file, and the cells that its axes mean.        (no jax)

```yaml
name: mine
base: {...}                            # a run, but for what varies
axes:                                  # their product
  model: [1M, 4M]
  tokens_per_parameter: [5, 10, 20]
  seed: [0, 1]
zips:                                  # each is one more axis, of paths that vary together
  - {optimizer.weight_decay: [0.1, 0.2], optimizer.learning_rate: [1e-3, 2e-3]}
exclude:                               # cells of the grid to leave out: all that have these values
  - {model: 4M, tokens_per_parameter: [10, 20]}
cells: [{model: 8M, tokens_per_parameter: 5}]      # beside the grid
holdouts: [{model: 16M, training.tokens: 1B}]      # kept out of the fit and forecast before they are trained
tune: {...}                            # where learning rates come from, `scaling.sweeps.tuning`; or rule: {...}, `...rules`
hardware: v5e                          # what times and costs are estimated for
```

An axis is the path of any field of a run that is part of its identity, or one of `scaling.sweeps.cells.AXES`.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from scaling.config import RunConfig, Section, build, override, read_yaml
from scaling.errors import ScalingError
from scaling.quantities import Count, parse_quantity
from scaling.sweeps.rules import Rule

Labels = dict[str, Any]
"""The value of each axis at a cell."""


class Tune(Section):
    """The tuning stage, `scaling.sweeps.tuning`."""

    rungs: list[Labels] = Field(min_length=1)
    rates: list[float] = Field(min_length=3)
    """Peak learning rates that each rung begins with."""
    batches: list[Count] | None = Field(None, min_length=3)
    """Batch sizes in tokens; null for the base's."""


class SweepConfig(Section):
    """A sweep file: a base run, what varies it, cells beside the grid, and runs kept out of the fit to be forecast."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    base: dict[str, Any]
    axes: dict[str, list[Any]] = Field(default_factory=dict)
    zips: list[dict[str, list[Any]]] = Field(default_factory=list)
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    cells: list[Labels] = Field(default_factory=list)
    holdouts: list[Labels] = Field(default_factory=list)
    rule: Rule | None = None
    tune: Tune | None = None
    hardware: str | None = None
    """A device of `hardware.yaml`, for the plan's times and costs."""
    launcher: str = "local"
    """Where the runs go to; `--launcher` on the command line goes before it."""
    resources: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What a run gets there, by the launcher's name: the fields of its `Config` in `scaling/sweeps/launchers/`."""

    @model_validator(mode="after")
    def _check(self) -> "SweepConfig":
        if self.rule is not None and self.tune is not None:
            raise ValueError(f"rule {self.rule.name} and tune both choose the learning rate; leave one out")
        return self


def read_sweep(path: Path, overrides: Iterable[str] = ()) -> SweepConfig:
    """The sweep file with overrides; `section.field=value` of a run's section changes the base run."""
    sections = tuple(RunConfig.model_fields)
    moved = [f"base.{each}" if each.split(".")[0].split("=")[0] in sections else each for each in overrides]
    return build(SweepConfig, override(read_yaml(path), moved))


def fitted_labels(sweep: SweepConfig) -> list[Labels]:
    """The labels of all cells that are fitted: the grid without what is excluded, then the cells beside it.

    Raises:
        ScalingError: paths of a zip of different lengths, a path in two places, an exclusion that leaves nothing out.
    """
    axes = [[{path: value} for value in values] for path, values in sweep.axes.items()]
    axes += [_zipped(number, paths) for number, paths in enumerate(sweep.zips, start=1)]
    _check_paths(sweep)
    grid = [_joined(parts) for parts in itertools.product(*axes)] if axes else []
    for exclusion in sweep.exclude:
        kept = [labels for labels in grid if not _matches(labels, exclusion)]
        if len(kept) == len(grid):
            raise ScalingError(f"exclude: no cell of the grid of {sweep.name} has {_text(exclusion)}")
        grid = kept
    return [*grid, *sweep.cells]


def _zipped(number: int, paths: Mapping[str, list[Any]]) -> list[Labels]:
    lengths = {path: len(values) for path, values in paths.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{path} {length}" for path, length in lengths.items())
        raise ScalingError(f"zips: the paths of one zip need as many values each; zip {number} has {counts}")
    return [dict(zip(paths, values, strict=True)) for values in zip(*paths.values(), strict=True)]


def _check_paths(sweep: SweepConfig) -> None:
    seen: set[str] = set()
    for path in itertools.chain(sweep.axes, *sweep.zips):
        if path in seen:
            raise ScalingError(f"{path} is varied in two places of axes and zips; leave one out")
        seen.add(path)
    for path in itertools.chain(*sweep.exclude):
        if path not in seen:
            raise ScalingError(f"exclude: {path} is not varied; known: {', '.join(sorted(seen)) or 'nothing'}")


def _joined(parts: Iterable[Labels]) -> Labels:
    return {path: value for part in parts for path, value in part.items()}


def _matches(labels: Labels, exclusion: Labels) -> bool:
    return all(
        any(_same(labels[path], value) for value in (values if isinstance(values, list) else [values]))
        for path, values in exclusion.items()
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal as quantities, so that 20M is 20000000."""
    try:
        return parse_quantity(one) == parse_quantity(other)
    except ValueError:
        return bool(one == other)


def _text(labels: Labels) -> str:
    return ", ".join(f"{path} {value}" for path, value in labels.items())

"""Verbs that check a method on this machine: coordinate-check."""

from pathlib import Path
from typing import Annotated

import typer

from scaling.cli.app import Overrides, Runs, app, show

SMALLEST = {
    "model": {"width": 32, "layers": 2, "heads": 2},
    "data": {"sequence_length": 64},
    "training": {"tokens": 512, "batch_tokens": 512},
    "optimizer": {"learning_rate": 8e-3},
}


@app.command("coordinate-check")
def coordinate_check(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="a run's YAML file: its model is the smallest; else one 32 wide")
    ] = None,
    overrides: Overrides = None,
    wider: Annotated[int, typer.Option(min=2, help="the greatest factor of the width, a power of two")] = 8,
    deeper: Annotated[int, typer.Option(min=2, help="the greatest factor of the layers, a power of two")] = 4,
    steps: Annotated[int, typer.Option(min=1, help="how many are taken before the changes are measured")] = 10,
    runs: Runs = Path("runs"),
) -> None:
    """Train a few steps at growing width and depth: do activations and their changes keep their size?"""
    from scaling.config import RunConfig, build, override, read_yaml

    assignments = overrides or []
    if config is not None and "=" in config.name:  # no file, only changes
        config, assignments = None, [str(config), *assignments]
    run = build(RunConfig, override(SMALLEST if config is None else read_yaml(config), assignments))

    import pandas as pd

    from analysis.figures import coordinates, save
    from scaling.models.parametrization import NAMES
    from scaling.tables import slope_table
    from scaling.training.coordinates import Axis, check, slopes

    greatest: dict[Axis, int] = {"width": wider, "layers": deeper}
    sizes = []
    for parametrization in NAMES:
        for axis, factor in greatest.items():
            factors = [2**power for power in range(factor.bit_length())]
            for each in check(run, parametrization, axis, factors, steps):
                sizes.append(each)
            show(f"{parametrization}: {axis} up to {sizes[-1].at}")
    show(slope_table(slopes(sizes)))
    for path in save(coordinates(pd.DataFrame(sizes)), runs / "coordinate-check", "coordinates"):
        show(str(path))

"""Verbs of a sweep: sweep, work."""

import os
from pathlib import Path
from typing import Annotated

import typer

from scaling.cli.app import (
    Coordinator,
    Distributed,
    Overrides,
    Processes,
    ProcessId,
    Runs,
    SweepPath,
    app,
    leave,
    show,
    stop_signal,
)
from scaling.cli.sources import fit_path, print_comparison
from scaling.errors import Exit, ScalingError
from scaling.stores import is_bucket


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="a sweep's YAML file")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="stop after the plan")] = False,
) -> None:
    """Plan a sweep, train what is missing, forecast the held-out runs and only then train them."""
    import signal

    from scaling.sweeps.plan import make_plan, read_sweep
    from scaling.sweeps.status import exit_code, read_status, status_table, summary
    from scaling.tables import plan_summary, plan_table

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan = make_plan(read_sweep(config, overrides or []))
    show(plan_table(plan, runs / plan.name))
    show(plan_summary(plan, runs / plan.name), style="bold")
    if dry_run:
        return
    path = runs / plan.name
    if is_bucket(path) and any(cell.role == "holdout" for cell in plan.cells):
        raise ScalingError(
            f"{path}: the forecast of held-out runs is kept in a directory; keep the runs of this sweep in one, "
            "or leave `holdouts` out"
        )
    plan.write(path)
    try:
        _train_role(path, "fit")
        if any(cell.role == "holdout" for cell in plan.cells):
            _forecast(path)
            _train_role(path, "holdout")
            print_comparison(path)
    except KeyboardInterrupt:
        show(f"\nstopped, everything is saved ({summary(read_status(path))}); the same command goes on")
        raise typer.Exit(Exit.SAVED) from None
    show(status_table(read_status(path)))
    raise typer.Exit(exit_code(read_status(path)))


@app.command()
def work(
    path: SweepPath,
    role: Annotated[str, typer.Option(help="fit or holdout")] = "fit",
    cores: Annotated[str, typer.Option(help="CPU cores to keep to, such as 0,1")] = "",
    launcher: Annotated[int | None, typer.Option(help="stop when this parent process is gone")] = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
) -> None:
    """Claim and train the free cells of a planned sweep, one after another in this process."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})  # before jax makes its threads
    stop = stop_signal(launcher, distributed, coordinator, processes, process_id)
    from scaling.sweeps.worker import work

    leave(work(path, role, stop))


def _forecast(path: Path) -> None:
    """Write the forecast of the held-out runs, unless one from before they began is there."""
    import pandas as pd

    from analysis.forecasting import forecast
    from analysis.results import read_forecast, write_fit, write_forecast
    from analysis.tables import forecast_table
    from scaling.record import RunDirectory
    from scaling.sweeps.status import read_status

    held_out = [each for each in read_status(path) if each.cell["role"] == "holdout"]
    ids = {each.cell["run_id"] for each in held_out}
    if (path / "forecast.json").exists() and ids <= {each.run for each in read_forecast(path).predictions}:
        return
    begun = [each.cell["run_id"] for each in held_out if each.has_begun]
    if begun:
        raise ScalingError(
            f"the held-out run {begun[0]} began before a forecast of it was written: "
            f"a forecast now would not be one; move {path / begun[0]} away, or hold out another run"
        )
    targets = [RunDirectory(path / run).specification or {} for run in sorted(ids)]
    fitted = fit_path(path)
    write_fit(fitted, path)
    forecast_made = forecast(fitted, pd.DataFrame([{"run": each["run_id"], **each["facts"]} for each in targets]))
    write_forecast(forecast_made, path)
    show(forecast_table(forecast_made))


def _train_role(path: Path, role: str) -> None:
    """Train the cells of a role with live progress; stops the command where one of them did not end well."""
    from rich.console import Console

    from scaling.sweeps.live import watch
    from scaling.sweeps.local import Launcher
    from scaling.sweeps.status import exit_code, failures, read_status

    cells = [each.cell for each in read_status(path) if each.cell["role"] == role]
    watch(Launcher(path, role, cells), path, role, Console())
    ended = [each for each in read_status(path) if each.cell["role"] == role]
    for line in failures(path, ended):
        show(line, style="red")
    if any(each.state not in ("done", "diverged") for each in ended):
        show("the same command trains what is missing")
        raise typer.Exit(exit_code(ended))

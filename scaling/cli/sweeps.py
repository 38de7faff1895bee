"""Verbs of a sweep: sweep, work, status."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.cli.app import Coordinator, Distributed, Overrides, Processes, ProcessId, Runs, app, leave, show, stop_signal
from scaling.cli.sources import fit_path, print_comparison
from scaling.errors import Exit, ScalingError

if TYPE_CHECKING:
    from scaling.sweeps.launchers.launcher import Launcher
    from scaling.sweeps.status import CellStatus

SweepPath = Annotated[Path, typer.Argument(metavar="PATH", help="a sweep's directory, runs/NAME")]


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="a sweep's YAML file")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    launcher: Annotated[str | None, typer.Option(help="where to: local, slurm, kubernetes, tpu-vm or a plug-in's")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="stop after the plan and what would be submitted")] = False,
) -> None:
    """Plan a sweep, train what is missing, forecast the held-out runs and only then train them."""
    import signal

    from scaling.sweeps.launchers.launcher import open_launcher
    from scaling.sweeps.plan import make_plan, read_sweep
    from scaling.sweeps.status import read_status, status_table, summary
    from scaling.tables import plan_summary, plan_table

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep_config = read_sweep(config, overrides or [])
    plan = make_plan(sweep_config)
    show(plan_table(plan, runs / plan.name))
    show(plan_summary(plan, runs / plan.name), style="bold")
    path = runs / plan.name
    engine = open_launcher(launcher or sweep_config.launcher, path, sweep_config.resources)
    rendered = engine.render([cell.record() for cell in plan.cells])  # says what cannot run before anything is submitted
    if dry_run:
        print(rendered, end="")
        return
    plan.write(path)
    try:
        _train_role(engine, "fit")
        if any(cell.role == "holdout" for cell in plan.cells):
            _forecast(path)
            _train_role(engine, "holdout")
            print_comparison(path)
    except KeyboardInterrupt:
        went_on = f"the runs go on in {engine.name}" if engine.detached else "stopped, everything is saved"
        show(f"\n{went_on} ({summary(read_status(path))}); the same command goes on")
        raise typer.Exit(Exit.SAVED) from None
    show(status_table(read_status(path)))
    raise typer.Exit(_sweep_code(read_status(path)))


@app.command()
def work(
    path: SweepPath,
    role: Annotated[str, typer.Option(help="fit or holdout")] = "fit",
    cores: Annotated[str, typer.Option(help="CPU cores to keep to, such as 0,1")] = "",
    parent: Annotated[int | None, typer.Option(help="stop when this parent process is gone")] = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
) -> None:
    """Claim and train the free cells of a planned sweep, one after another in this process."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})  # before jax makes its threads
    stop = stop_signal(parent, distributed, coordinator, processes, process_id)
    from scaling.sweeps.worker import work

    leave(work(path, role, stop))


@app.command()
def status(path: SweepPath) -> None:
    """Show how far a sweep is."""
    from scaling.sweeps.status import failures, read_status, status_table, summary, warnings

    cells = read_status(path)
    show(status_table(cells))
    show(summary(cells), style="bold")
    for line in failures(path, cells):
        show(line, style="red")
    for line in warnings(cells):
        show(line, style="yellow")


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
    begun = [each.cell["run_id"] for each in held_out if each.state != "planned"]
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


def _train_role(launcher: "Launcher", role: str) -> None:
    """Train the cells of a role with live progress; stops the command where one of them did not end well."""
    from rich.console import Console

    from scaling.sweeps.live import watch
    from scaling.sweeps.status import failures, read_status
    from scaling.sweeps.submission import Submission

    path = launcher.sweep
    cells = [each.cell for each in read_status(path) if each.cell["role"] == role]
    watch(Submission(launcher, path, cells), path, role, Console())
    ended = [each for each in read_status(path) if each.cell["role"] == role]
    for line in failures(path, ended):
        show(line, style="red")
    if any(each.state not in ("done", "diverged") for each in ended):
        show("the same command trains what is missing")
        raise typer.Exit(_sweep_code(ended))


def _sweep_code(cells: "list[CellStatus]") -> Exit:
    states = {each.state for each in cells}
    if states <= {"done"}:
        return Exit.DONE
    if states <= {"done", "diverged"}:
        return Exit.DIVERGED
    return Exit.SAVED if states <= {"done", "diverged", "saved", "planned"} else Exit.FAILED

"""Verbs of a sweep: sweep, work."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from scaling.sweeps.launchers.launcher import Launcher


@app.command()
def sweep(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="a sweep's YAML file, or runs/NAME for the plan in it")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    launcher: Annotated[str | None, typer.Option(help="where to: local, slurm, kubernetes, tpu-vm or a plug-in's")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="stop after the plan, which is stored, and what would be submitted")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", help="go on in the background, also when this terminal is closed, and return")
    ] = False,
) -> None:
    """Plan a sweep, train what is missing, forecast the held-out runs and only then train them."""
    import signal

    from scaling.sweeps.status import exit_code, read_status, status_table
    from scaling.sweeps.studied import studied

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if detach:
        if dry_run:
            raise ScalingError("--detach trains and --dry-run does not; leave one out")
        return _detach(config, overrides or [], runs, launcher)
    try:
        path, plan = _plan(config, overrides or [], runs, launcher, dry_run)
        engine = _accept(path, plan, launcher, dry_run)
        if engine is None:
            return
        _train_role(engine, "fit")
        if any(cell["role"] == "holdout" for cell in plan["cells"]):
            with studied(path) as here:
                _forecast(path, here)
            _train_role(engine, "holdout")
            with studied(path) as here:
                print_comparison(here)
    except KeyboardInterrupt:
        show("the same command goes on")
        raise typer.Exit(Exit.SAVED) from None
    show(status_table(read_status(path)))
    raise typer.Exit(exit_code(read_status(path)))


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


def _detach(config: Path, overrides: list[str], runs: Path, launcher: str | None) -> None:
    """Have the same command go on by itself, once it was seen that it can: mistakes are said where someone reads them."""
    from scaling.sweeps.detached import start
    from scaling.sweeps.grid import read_sweep

    file = None if _is_plan(config) else read_sweep(config, overrides)
    if file is not None and file.tune is not None:  # its plan is made of what it trains first
        path = runs / file.name
    else:
        path, plan = _plan(config, overrides, runs, launcher, dry_run=False)
        _accept(path, plan, launcher, dry_run=False)
    options = ["--runs", str(runs), *(["--launcher", launcher] if launcher else [])]
    pid, log = start(path, ["sweep", str(config), *overrides, *options])
    print(f"process {pid} goes on by itself; it prints to {log}")
    print(f"  scaling watch {path}    and `scaling status` follow it")
    print(f"  scaling cancel {path}   ends its runs, their state saved")
    print(f"  kill {pid}   saves and stops it: the same command goes on")


def _is_plan(config: Path) -> bool:
    return config.is_dir() or config.name == "plan.json"


def _plan(config: Path, overrides: list[str], runs: Path, launcher: str | None, dry_run: bool) -> tuple[Path, dict[str, Any]]:
    """The directory of a sweep and its plan: made from a sweep file, once what it tunes is tuned, or read as it was stored."""
    from scaling.sweeps.estimates import read_hardware
    from scaling.sweeps.grid import read_sweep
    from scaling.sweeps.plan import make_plan
    from scaling.sweeps.stored import read_plan
    from scaling.sweeps.tuning import tune

    if _is_plan(config):
        if overrides:
            raise ScalingError(f"{config} is a plan, which is trained as it is: {overrides[0]!r} can change a sweep file only")
        path = config if config.is_dir() else config.parent
        return path, read_plan(path)
    file = read_sweep(config, overrides)
    hardware = None if file.hardware is None else read_hardware(file.hardware, config.parent)
    path, tuned = runs / file.name, None
    if file.tune is not None:
        tuned = tune(file, file.tune, path, lambda cohorts, home: _train_cohorts(cohorts.record(), home, launcher, dry_run))
        if tuned is None:
            show("the runs that are tuned for are planned when these have been trained")
            raise typer.Exit(Exit.DONE)
    return path, make_plan(file, hardware, tuned).record()


def _train_cohorts(plan: dict[str, Any], home: Path, launcher: str | None, dry_run: bool) -> bool:
    """Train the next runs of a tuning stage; False where only their plan is wanted."""
    engine = _accept(home, plan, launcher, dry_run)
    if engine is not None:
        _train_role(engine, "fit")
    return engine is not None


def _accept(path: Path, plan: dict[str, Any], launcher: str | None, dry_run: bool) -> "Launcher | None":
    """Show a plan and keep it, with the directories of its runs; None where only that it be shown and kept is wanted.

    What cannot run with the launcher is said here, before anything is submitted.
    """
    from scaling.sweeps.launchers.launcher import open_launcher
    from scaling.sweeps.stored import create_runs, write_plan
    from scaling.tables import plan_summary, plan_table

    show(plan_table(plan, path))
    show(plan_summary(plan, path), style="bold")
    engine = open_launcher(launcher or plan.get("launcher", "local"), path, plan.get("resources", {}))
    rendered = engine.render(plan["cells"])
    if dry_run:
        _store(path, plan)
        print(rendered, end="")
        return None
    write_plan(path, plan)
    create_runs(path, plan)
    return engine


def _store(path: Path, plan: dict[str, Any]) -> None:
    """Keep a plan that is not trained yet, where it is not in the way of one that is being trained."""
    from scaling.sweeps.stored import has_begun, read_plan, write_plan

    stored = path / "plan.json"
    if has_begun(path):
        present = read_plan(path)
        if any(present.get(name) != plan[name] for name in plan):
            show(f"{stored} is of runs that have begun, and stays; without --dry-run this plan takes its place")
            return
    write_plan(path, plan)
    show(f"stored as {stored}; `scaling sweep {path}` trains it")


def _forecast(path: Path, here: Path) -> None:
    """Write the forecast of the held-out runs, unless one from before they began is there, or from all that there is by now.

    Args:
        path: the sweep's directory.
        here: as it is `studied`.
    """
    import pandas as pd

    from analysis.forecasting import forecast
    from analysis.results import read_forecast, write_fit, write_forecast
    from analysis.tables import forecast_table
    from scaling.record import RunDirectory
    from scaling.sweeps.status import read_status

    cells = read_status(path)
    held_out = [each for each in cells if each.cell["role"] == "holdout"]
    ids = {each.cell["run_id"] for each in held_out}
    begun = [each.cell["run_id"] for each in held_out if each.has_begun]
    if (here / "forecast.json").exists():
        made = read_forecast(here)
        done = {each.cell["run_id"] for each in cells if each.cell["role"] == "fit" and each.state == "done"}
        if ids <= {each.run for each in made.predictions} and (begun or done <= set(made.origin.runs)):
            return
    if begun:
        raise ScalingError(
            f"the held-out run {begun[0]} began before a forecast of it was written: "
            f"a forecast now would not be one; move {path / begun[0]} away, or hold out another run"
        )
    targets = [RunDirectory(path / run).specification or {} for run in sorted(ids)]
    fitted = fit_path(here)
    write_fit(fitted, here)
    forecast_made = forecast(fitted, pd.DataFrame([{"run": each["run_id"], **each["facts"]} for each in targets]))
    write_forecast(forecast_made, here)
    show(forecast_table(forecast_made))


def _train_role(engine: "Launcher", role: str) -> None:
    """Train the cells of a role with live progress; stops the command where one of them did not end well."""
    from rich.console import Console

    from scaling.sweeps.live import watch
    from scaling.sweeps.status import exit_code, failures, read_status, summary
    from scaling.sweeps.stored import read_plan
    from scaling.sweeps.submission import Submission

    path = engine.sweep
    cells = [cell for cell in read_plan(path)["cells"] if cell["role"] == role]
    try:
        watch(Submission(engine, path, cells), Console())
    except KeyboardInterrupt:
        went_on = f"the runs go on in {engine.name}" if engine.detached else "stopped, everything is saved"
        show(f"\n{went_on} ({summary(read_status(path))})")
        raise
    ended = [each for each in read_status(path) if each.cell["role"] == role]
    for line in failures(path, ended):
        show(line, style="red")
    if any(each.state not in ("done", "diverged") for each in ended):
        show("the same command trains what is missing")
        raise typer.Exit(exit_code(ended))

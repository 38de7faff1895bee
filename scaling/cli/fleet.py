"""Verbs of what is under way, from its run directories alone: status, cancel, retry, logs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from scaling.cli.app import RunPath, SweepPath, app, show
from scaling.cli.documents import print_json
from scaling.cli.sources import Json
from scaling.errors import ScalingError
from scaling.stores import locate

LINES = 100
"""More runs than that are a wall of text: those that tell most are shown, and the rest counted."""

RunOrSweep = Annotated[
    Path,
    typer.Argument(metavar="RUN|SWEEP", parser=locate, help="a run's directory, runs/NAME/ID, or a sweep's, runs/NAME"),
]


@app.command()
def status(
    path: SweepPath,
    check: Annotated[
        bool,
        typer.Option("--check", help="end with 0 all done, 3 some diverged, 1 some failed or cancelled, 75 not yet at an end"),
    ] = False,
    json: Json = False,
) -> None:
    """Show how far each run of a sweep is, and why those that do not train do not."""
    from scaling.sweeps.status import exit_code, failures, most_telling, notes, read_status, status_table, summary, warnings

    cells = read_status(path)
    if json:
        print_json(sweep=str(path), summary=summary(cells), runs=[each.document() for each in cells])
    else:
        shown = most_telling(cells, LINES)
        show(status_table(shown))
        if len(shown) < len(cells):
            show(f"and {len(cells) - len(shown)} more; --json has all")
        show(summary(cells), style="bold")
        for lines, style in ((failures(path, shown), "red"), (warnings(shown), "yellow"), (notes(shown), "dim")):
            for line in lines:
                show(line, style=style)
    if check:
        raise typer.Exit(exit_code(cells))


@app.command()
def cancel(path: RunOrSweep) -> None:
    """End a run, or all of a sweep that are not at their end: those that train save their state first."""
    from scaling.lease import HEARTBEAT_SECONDS
    from scaling.sweeps.requests import cancel

    asked = [run for run in _runs(path, lambda each: not each.has_ended) if cancel(run)]
    if asked:
        _cancel_in_engine(asked)
    show(f"{len(asked)} cancelled; one that trains saves its state and ends within {HEARTBEAT_SECONDS:.0f} s or a step")


@app.command()
def retry(path: RunOrSweep) -> None:
    """Give a failed or cancelled run, or all such of a sweep, a new chance, from the newest checkpoint."""
    from scaling.sweeps.requests import retry

    again = [run for run in _runs(path, lambda each: each.state in ("failed", "cancelled")) if retry(run)]
    show(f"{len(again)} to be tried again, by whatever trains the sweep: `scaling sweep CONFIG`, `scaling work SWEEP`")


@app.command()
def logs(
    run: RunPath,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="go on with what is printed from now, to the run's end")
    ] = False,
) -> None:
    """Print what the workers of a run have printed."""
    import sys

    from scaling.record import RunDirectory
    from scaling.run_logs import read_log
    from scaling.sweeps.status import read_cell

    record = RunDirectory(run).specification
    if record is None:
        raise ScalingError(f"{run} is not a run directory: it holds no run.json")

    def has_ended() -> bool:
        return read_cell(run.parent, {"run_id": run.name}).has_ended

    for part in read_log(run, until=has_ended if follow else lambda: True):
        sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()


def _cancel_in_engine(runs: list[Path]) -> None:
    """Take the runs of a sweep out of the engine that it was submitted to, where that is another than this machine."""
    from scaling.record import read_json
    from scaling.sweeps.launchers.launcher import open_launcher

    sweep = runs[0].parent
    plan = read_json(sweep / "plan.json") or {}
    engine = open_launcher(plan.get("launcher", "local"), sweep, plan.get("resources", {}))
    if engine.detached:
        engine.cancel(run.name for run in runs)


def _runs(path: Path, wanted: Any) -> list[Path]:
    """A run itself, or those of a sweep that are wanted."""
    from scaling.record import read_json
    from scaling.sweeps.status import read_status

    if read_json(path / "run.json") is not None:
        return [path]
    if read_json(path / "plan.json") is None:
        raise ScalingError(f"{path} is neither a sweep nor a run: it holds no plan.json and no run.json")
    return [path / each.cell["run_id"] for each in read_status(path) if wanted(each)]

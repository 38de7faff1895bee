"""The Typer application, and what its verbs share."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scaling.errors import Exit
from scaling.stores import locate

if TYPE_CHECKING:
    from scaling.stopping import Stop

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[section.field=value]...", help="changes to the file")]
Runs = Annotated[
    Path, typer.Option(metavar="PATH", parser=locate, help="where run directories are kept: a directory, gs:// or s3://")
]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", parser=locate, help="a run directory, runs/NAME/ID")]
SweepPath = Annotated[Path, typer.Argument(metavar="PATH", parser=locate, help="a sweep's directory, runs/NAME")]
Distributed = Annotated[
    bool, typer.Option("--distributed", help="be one process of a run on several: of a Slurm step, Kubernetes job or TPU slice")
]
Coordinator = Annotated[
    str | None, typer.Option(envvar="JAX_COORDINATOR_ADDRESS", help="HOST:PORT of the first process, where none of these is")
]
Processes = Annotated[int | None, typer.Option(min=1, envvar="JAX_NUM_PROCESSES", help="how many, with --coordinator")]
ProcessId = Annotated[int | None, typer.Option(min=0, envvar="JAX_PROCESS_ID", help="which one, from 0, with --coordinator")]


def show(*content: object, style: str | None = None) -> None:
    """Print tables and lines to the terminal; a path stays in one piece."""
    from rich.console import Console

    console = Console()
    for each in content:
        if isinstance(each, str):
            console.print(each, style=style, highlight=False, soft_wrap=len(each.split()) < 3)
        else:
            console.print(each)


def stop_signal(
    launcher: int | None, distributed: bool, coordinator: str | None, processes: int | None, process_id: int | None
) -> "Stop":
    """What tells this process to save and go; it has joined the others of its run, where there are any."""
    if distributed or coordinator or processes or process_id is not None:
        from scaling.training.processes import AgreedStop, join

        join(coordinator, processes, process_id)
        return AgreedStop()
    from scaling.stopping import StopSignal

    return StopSignal(launcher)


def leave(code: int) -> NoReturn:
    """End now: Orbax's threads would wait five minutes for the signal of a save that failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    if code in (Exit.DONE, Exit.SAVED, Exit.DIVERGED):  # where all processes of a run end alike
        from scaling.training.processes import leave

        leave()
    os._exit(code)

"""The Typer application, and what its verbs share."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[section.field=value]...", help="changes to the file")]
Runs = Annotated[Path, typer.Option(help="where run directories are kept")]


def show(*content: object, style: str | None = None) -> None:
    """Print tables and lines to the terminal; a path stays in one piece."""
    from rich.console import Console

    console = Console()
    for each in content:
        if isinstance(each, str):
            console.print(each, style=style, highlight=False, soft_wrap=len(each.split()) < 3)
        else:
            console.print(each)


def leave(code: int) -> NoReturn:
    """End now: Orbax's threads would wait five minutes for the signal of a save that failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

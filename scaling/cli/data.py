"""Verbs of the data: prepare it, show it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.cli.app import Overrides, app, show

if TYPE_CHECKING:
    from scaling.config import DataConfig
    from scaling.data.parts import Workforce

data = typer.Typer(no_args_is_help=True, help="Prepare data before it is trained on, and show what it is.")
app.add_typer(data, name="data")

What = Annotated[
    str, typer.Argument(metavar="CONFIG|CORPUS", help="a run's or a sweep's YAML file, or a corpus such as files:PATTERN")
]
Workers = Annotated[int, typer.Option(min=0, help="processes that work; 0 is one for each core")]


@data.command("prepare")
def prepare_verb(what: What, overrides: Overrides = None, workers: Workers = 0) -> None:
    """Read, survey and tokenise a corpus; the same command again goes on where it stopped, and finds what is whole."""
    config, directory = _configured(what, overrides or [])
    from scaling.data.prepare import prepare

    with _workforce(workers) as workforce:
        dataset = prepare(config, directory, workforce)
    for line in dataset.report:
        show(line)


@data.command("show")
def show_verb(
    what: What,
    overrides: Overrides = None,
    samples: Annotated[int, typer.Option(min=0, help="how many training documents to print the beginning of")] = 3,
    workers: Workers = 0,
) -> None:
    """Print a corpus' counts, statistics of its tokens, and samples of its text."""
    config, directory = _configured(what, overrides or [])
    from rich.markup import escape
    from rich.rule import Rule
    from rich.table import Table
    from rich.text import Text

    from scaling.data.dataset import Mixture
    from scaling.data.prepare import prepare
    from scaling.data.statistics import beginnings, statistics
    from scaling.data.streaming import Streamed

    with _workforce(workers) as workforce:
        dataset = prepare(config, directory, workforce)
    for line in dataset.report:
        show(line)
    if isinstance(dataset, Streamed):
        return
    sources = dataset.sources if isinstance(dataset, Mixture) else {"": dataset}
    for name, source in sources.items():
        table = Table(title=f"training tokens {f'of {name}' if name else ''}", title_justify="left", show_header=False)
        for row in statistics(source).items():
            table.add_row(*map(escape, row))
        show("", table)
        for number, text in enumerate(beginnings(source, samples), start=1):
            show("", Rule(f"document {number}", align="left"), Text(text))


def _configured(what: str, overrides: list[str]) -> "tuple[DataConfig, Path]":
    """The data section of a file, or that of a corpus, and where its data are kept."""
    from scaling.config import ExecutionConfig, build, override, read_yaml
    from scaling.data.configuration import DataConfig

    fields = {"data": {"corpus": what}}
    if Path(what).suffix in (".yaml", ".yml"):
        content = read_yaml(what)
        fields = content.get("base", content)
    fields = override(fields, overrides)
    return build(DataConfig, fields.get("data", {})), build(ExecutionConfig, fields.get("execution", {})).data_directory


@contextmanager
def _workforce(workers: int) -> "Iterator[Workforce]":
    """So many processes, with a progress bar on stderr for what takes long."""
    import os

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from scaling.data.parts import Workforce

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=total)
            progress.update(tasks[stage], completed=done, total=total)

        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        yield Workforce(workers or cores, report)

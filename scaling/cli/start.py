"""Verbs of the first minutes: init, doctor."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import app, show
from scaling.cli.documents import print_json
from scaling.cli.sources import Json
from scaling.errors import ScalingError

if TYPE_CHECKING:
    from rich.table import Table


@app.command()
def init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="the sweep file to write")] = Path("sweep.yaml"),
    minutes: Annotated[float, typer.Option(min=0.1, help="that the sweep may take on this machine, about")] = 10,
    corpus: Annotated[str, typer.Option(help="what is read, as data.corpus takes it")] = "stdlib",
) -> None:
    """Write a commented sweep file that suits this machine and the time there is."""
    from scaling.machine import look, products_per_second
    from scaling.quantities import format_quantity
    from scaling.sweeps.first import for_time, sweep_file

    if file.exists():
        raise ScalingError(f"{file} is there already; name another file, or move it away")
    name = file.stem
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ScalingError(f"{file}: a sweep is named by its file, in letters, digits, '.', '_' and '-'")
    machine = look()
    speed = products_per_second(machine)
    found, share, seconds = for_time(60 * minutes, speed, machine)
    took = seconds / 60
    what = f"{machine.cores} cores" if machine.backend == "cpu" else f"{len(machine.devices)} x {machine.devices[0]}"
    comment = [
        f"A first sweep for {what}: about {took:.2g} minutes of training.",
        f"  command   scaling sweep {file}          (--dry-run stops after the plan)",
        f"  watch     scaling watch runs/{name}          (--web for a page)",
        f"  report    scaling report runs/{name}",
        f"Planned: {found.flops:.2g} FLOPs at {share:.0%} of the {speed:.2g} FLOPs/s of large products here, and compilation.",
    ]
    file.write_text(sweep_file(found, name, corpus, comment), encoding="utf-8")
    runs = len(found.shapes) * len(found.tokens)
    largest = format_quantity(found.shapes[-1].parameters)
    show(f"{file}: {runs} runs of up to {largest} parameters, and one to forecast, in about {took:.2g} minutes")
    show(f"next: scaling sweep {file} --dry-run")


@app.command()
def doctor(
    cache: Annotated[Path, typer.Option(help="execution.cache_directory of the runs to come")] = Path(".cache"),
    json: Json = False,
) -> None:
    """Say what is installed, which devices there are, what is cached, and how to get what is missing."""
    from importlib.metadata import version

    from scaling.machine import look

    machine = look()
    packages = {name: version(name) for name in ("scaling-lab", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")}
    extras = _extras()
    kept = {name: _size(cache / name) for name in ("jax", "data")}
    if json:
        return print_json(machine=machine, packages=packages, extras=extras, cache={"directory": cache, "bytes": kept})
    show(_facts(machine, packages, cache, kept), _extras_table(extras))


def _extras() -> dict[str, list[str]]:
    """Each optional part of the installation, with the packages of it that are missing."""
    from importlib.metadata import PackageNotFoundError, distribution, metadata, requires

    missing: dict[str, list[str]] = {name: [] for name in metadata("scaling-lab").get_all("Provides-Extra") or []}
    for line in requires("scaling-lab") or []:
        if not (of_extra := re.search(r"extra == ['\"]([^'\"]+)['\"]", line)):
            continue
        match = re.match(r"([A-Za-z0-9._-]+)(?:\[([^\]]+)\])?", line)
        assert match is not None, line
        name, part = match.groups()
        try:
            distribution(name)
            absent = [f"{name}[{part}]"] if part and not _has_part(name, part) else []
        except PackageNotFoundError:
            absent = [name]
        missing[of_extra[1]] += absent
    return missing


def _has_part(name: str, part: str) -> bool:
    """Whether every package that an extra of another package needs is there."""
    from importlib.metadata import PackageNotFoundError, distribution, requires

    try:
        for line in requires(name) or []:
            if re.search(rf"extra == ['\"]{re.escape(part)}['\"]", line) and (found := re.match(r"[A-Za-z0-9._-]+", line)):
                distribution(found[0])
    except PackageNotFoundError:
        return False
    return True


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())


def _facts(machine: Any, packages: dict[str, str], cache: Path, kept: dict[str, int]) -> "Table":
    from rich.table import Table

    memory = f"{machine.memory / 2**30:.0f} GiB" if machine.memory else "unknown"
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    table.add_row("system", machine.system)
    table.add_row("machine", f"{machine.cores} cores, {memory} of memory")
    table.add_row("devices", f"{len(machine.devices)} x {machine.devices[0]}, by jax's backend {machine.backend}")
    table.add_row("packages", ", ".join(f"{name} {number}" for name, number in packages.items()))
    programs, data = (f"{kept[name] / 2**20:.0f} MiB" for name in ("jax", "data"))
    table.add_row("cache", f"{cache}: {programs} of compiled programs, {data} of prepared data")
    return table


def _extras_table(extras: dict[str, list[str]]) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="optional parts", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("extra", "state", "how to get it"):
        table.add_column(name, overflow="fold")
    for name, missing in extras.items():
        state = f"[yellow]lacks {escape(', '.join(missing))}[/]" if missing else "[green]installed[/]"
        table.add_row(name, state, escape(f"uv pip install -e '.[{name}]'") if missing else "")
    return table

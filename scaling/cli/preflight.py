"""The verb that looks before it is paid for: preflight."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from scaling.cli.app import Overrides, Runs, app, show
from scaling.cli.documents import print_json
from scaling.cli.sources import Json, accepted
from scaling.errors import Exit, ScalingError

if TYPE_CHECKING:
    from scaling.preflight.choice import Wish
    from scaling.preflight.hardware import Target
    from scaling.preflight.planned import Planned
    from scaling.preflight.preflight import Preflight
    from scaling.preflight.programs import PlannedProgram
    from scaling.preflight.report import Finding
    from scaling.sweeps.plan import Plan


@app.command()
def preflight(
    config: Annotated[Path, typer.Argument(metavar="SWEEP", help="a sweep's YAML file")],
    overrides: Overrides = None,
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="NAME", help="v5e-16, v5p:4x4x4, 2xv6e-256, 8xh100; may be repeated")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full/--quick", help="compile as the run will, or at level 0: a fifth of the time")
    ] = False,
    choose: Annotated[
        str | None,
        typer.Option(metavar="fastest|cheapest", help="find the mesh of each run, and write it into the plan"),
    ] = None,
    warm: Annotated[bool, typer.Option("--warm", help="fill the compile cache for the devices of this machine")] = False,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Compile every run of a sweep for hardware that is not here: what fits, how fast it can be, what it will cost.

    Ends with 0 where all runs fit, 4 where one does not, 2 where one is refused as it is, 1 where a compiler failed.
    """
    from scaling.preflight.hardware import TABLE, parse_target
    from scaling.preflight.planned import planned
    from scaling.preflight.pool import has_compiler, install_command
    from scaling.preflight.programs import distinct
    from scaling.preflight.report import exit_code, rows
    from scaling.sweeps.grid import read_sweep

    if bool(on) == warm:
        raise ScalingError("say what to compile for: --on NAME, such as --on v5e-16, or --warm for the devices of this machine")
    if choose is not None:
        accepted("--choose", choose, ("fastest", "cheapest"))
    table = config.parent / "hardware.yaml"
    targets = [parse_target(name, table if table.is_file() else TABLE) for name in on or []]
    absent = [target for target in targets if not has_compiler(target.platform)]
    if choose is not None and absent:
        commands = " and ".join(dict.fromkeys(install_command(target.platform) for target in absent))
        raise ScalingError(f"--choose compiles, and there is no compiler for {absent[0].platform} here: {commands}")
    sweep = read_sweep(config, overrides or [])
    known = planned(sweep, runs / sweep.name)
    if choose is not None and known.trials:
        raise ScalingError(
            f"--choose writes the plan, and what {config} tunes is not known yet: `scaling sweep {config}` trains its "
            f"{len(known.trials)} trials; preflight without --choose compiles them"
        )
    programs = distinct(known.cells)
    compiled = {cell.specification.run_id for program in programs for cell in program.cells}
    counted = [run for cell in known.cells if (run := cell.specification.run_id) not in compiled]
    if not programs:
        raise ScalingError(f"{config} has n-gram models alone, which are counted on the host: there is nothing to compile")
    if counted and not json:
        show(f"not compiled, since n-grams are counted on the host: {', '.join(counted)}")
    if known.trials and not json:
        show(_of_trials(known))
    cache = Path(known.cells[0].specification.config.execution.cache_directory)
    if warm:
        return _warm(programs, cache / "jax")
    directory = cache / "preflight"
    if choose is None:
        findings = [each for target in targets for each in _check(target, programs, directory, full, json)]
    else:
        findings = _choose(known.plan, targets, programs, directory, choose, runs, json)  # type: ignore[arg-type]
    if json:
        print_json(runs=rows(findings, known.unnamed))
    code = exit_code(findings)
    if choose is not None and sum(len(each.program.cells) for each in findings) < len(compiled):
        code = Exit.OUT_OF_MEMORY
    raise typer.Exit(code)


def _of_trials(known: "Planned") -> str:
    """What is said where a tuning stage is not done."""
    first = f"{len(known.trials)} trials tune the runs of this sweep"
    if not known.plan.cells:
        return (
            f"{first}, their batches too: what the runs compile to is known when the trials are trained; these are the trials"
        )
    return f"{first}: their programs are known, their learning rates and so their ids are not; the ids of these are made up"


def _warm(programs: "list[PlannedProgram]", cache: Path) -> None:
    from scaling.preflight.warm import warm

    warm(programs, cache)
    show(f"{len(programs)} programs are compiled; runs on such devices read them from the cache")


def _check(target: "Target", programs: "list[PlannedProgram]", directory: Path, full: bool, quiet: bool) -> "list[Finding]":
    """What there is to say of each program as it is planned."""
    from scaling.preflight.pool import has_compiler, install_command
    from scaling.preflight.report import cost_table, describe

    present = has_compiler(target.platform)
    effort = ("full" if full else "quick") if present else "lower"
    with _compiling(target, directory, effort, len(programs)) as (check, finished):
        findings = check.findings(programs, finished)
    if not quiet:
        for finding in findings:
            show(describe(finding), "")
        show(cost_table(findings))
        if not present:
            lowered = f"nothing was compiled: the programs were traced and lowered for {target.platform}, no more"
            show(escape(f"{lowered}; {install_command(target.platform)} brings the compiler"))
        _point_to_log(findings, directory)
    return findings


def _choose(
    plan: "Plan",
    targets: "list[Target]",
    programs: "list[PlannedProgram]",
    directory: Path,
    wish: "Wish",
    runs: Path,
    quiet: bool,
) -> "list[Finding]":
    """The choice for each program, written into the plan."""
    from scaling.preflight.choice import choose, chosen_plan
    from scaling.preflight.report import Finding, cost_table, describe

    by_target = []
    for target in targets:
        with _compiling(target, directory, "quick", len(programs)) as (check, finished):
            by_target.append(check.choices(programs, finished))
    found = {each.run: choose([choices[each.run] for choices in by_target if each.run in choices], wish) for each in programs}
    chosen = {run: choice for run, choice in found.items() if choice is not None}
    findings = [
        Finding(
            each._replace(shape=chosen[each.run].fitting.shape), chosen[each.run].target, chosen[each.run].fitting.compilation
        )
        for each in programs
        if each.run in chosen
    ]
    written = _write(chosen_plan(plan, chosen, programs), runs / plan.name)
    if quiet:
        return findings
    for finding in findings:
        show(f"on {finding.target.name}", describe(finding), "")
    for target in targets:
        here = [each for each in findings if each.target == target]
        if here:
            show(cost_table(here))
    for each in programs:
        if each.run not in chosen:
            show(
                f"{each.run} fits on none of {', '.join(target.name for target in targets)} and keeps its execution",
                style="red",
            )
    show(f"stored; `scaling sweep {written.parent}` trains it")
    return findings


def _write(plan: "Plan", sweep: Path) -> Path:
    """Keep a plan; one whose runs have begun is not replaced."""
    from scaling.sweeps.stored import has_begun, write_plan

    if has_begun(sweep):
        raise ScalingError(f"{sweep / 'plan.json'} is of runs that have begun: rename the sweep, or move {sweep} away")
    return write_plan(sweep, plan.record())


@contextmanager
def _compiling(
    target: "Target", directory: Path, effort: str, programs: int
) -> "Iterator[tuple[Preflight, Callable[[], None]]]":
    """A preflight with a progress bar on stderr, and what moves the bar on by a program."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from scaling.preflight.pool import Compilers
    from scaling.preflight.preflight import Preflight

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        TimeElapsedColumn(),
    )
    with (
        Compilers(target, directory / "log.txt") as compilers,
        Progress(*columns, console=Console(stderr=True), transient=True) as bar,
    ):
        task, compiled = bar.add_task(f"{target.name}: programs", total=programs), 0

        def done() -> None:
            nonlocal compiled
            compiled += 1
            bar.update(task, description=f"{target.name}: {compiled} compilations, programs")

        yield Preflight(compilers, effort, directory, done), lambda: bar.advance(task)  # type: ignore[arg-type]


def _point_to_log(findings: "list[Finding]", directory: Path) -> None:
    failed = [each for each in findings if each.compilation.failure and each.compilation.failure.kind == "compiler"]
    if failed:
        show(f"all that the compiler said of {failed[0].program.run} is in {directory / 'log.txt'}")

"""The `scaling` command. Every verb imports what it needs when it is called, so that `--help` answers at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from scaling.errors import Exit, ScalingError

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from analysis.results import Fit
    from scaling.sweeps.status import CellStatus

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)

Overrides = Annotated[list[str] | None, typer.Argument(metavar="[section.field=value]...", help="changes to the file")]
Runs = Annotated[Path, typer.Option(help="where run directories are kept")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run directory, runs/NAME/ID")]
SweepPath = Annotated[Path, typer.Argument(metavar="PATH", help="a sweep's directory, runs/NAME")]


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="a run's YAML file, or a run directory to go on with")],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
) -> None:
    """Train one run; the same command again goes on where it stopped."""
    from scaling.stopping import StopSignal

    stop = StopSignal()
    from scaling.config import RunConfig, build, override, read_yaml
    from scaling.data.prepare import prepare
    from scaling.record import RunDirectory
    from scaling.specification import specify

    recorded = RunDirectory(config).specification if config.is_dir() else None
    if config.is_dir() and recorded is None:
        raise ScalingError(f"{config} is not a run directory: it holds no run.json")
    fields = recorded["config"] if recorded else read_yaml(config)
    run = build(RunConfig, override(fields, overrides or []))
    dataset = prepare(run.data, run.execution.data_directory)
    specification = specify(run, dataset)
    if recorded and recorded["run_id"] != specification.run_id:
        raise ScalingError(
            f"{config} records run {recorded['run_id']}, and this configuration and data are {specification.run_id}"
        )
    path = config if recorded else runs / config.stem / specification.run_id

    from scaling.training.attempt import attempt

    _console().print(f"run {specification.run_id} in {path}", highlight=False)
    code = attempt(path, specification, dataset, stop)
    if code is None:
        raise ScalingError(f"another worker is training {path}; `scaling status` shows its sweep")
    status = RunDirectory(path).status
    if code is Exit.USAGE:
        raise ScalingError(status["reason"])
    if status["state"] == "running":  # how it ended could not be written, and was said on stderr
        _leave(code)
    text = f"{status['state']} at step {status['step']} of {status['steps']}" if "steps" in status else status["state"]
    loss = "" if status.get("loss") is None else f", held-out loss {status['loss']:.4f} nats per token"
    reason = f": {status['reason']}" if status.get("reason") else ""
    _console().print(f"{text}{loss}{reason}", highlight=False)
    _leave(code)


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
    from scaling.sweeps.status import read_status, status_table, summary
    from scaling.tables import plan_summary, plan_table

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = _console()
    plan = make_plan(read_sweep(config, overrides or []))
    console.print(plan_table(plan, runs / plan.name))
    console.print(plan_summary(plan, runs / plan.name), style="bold", highlight=False)
    if dry_run:
        return
    path = runs / plan.name
    plan.write(path)
    try:
        _train_role(path, "fit", console)
        if any(cell.role == "holdout" for cell in plan.cells):
            _forecast(path, console)
            _train_role(path, "holdout", console)
            _print_comparison(path, console)
    except KeyboardInterrupt:
        console.print(f"\nstopped, everything is saved ({summary(read_status(path))}); the same command goes on")
        raise typer.Exit(Exit.SAVED) from None
    console.print(status_table(read_status(path)))
    raise typer.Exit(_sweep_code(read_status(path)))


@app.command()
def work(
    path: SweepPath,
    role: Annotated[str, typer.Option(help="fit or holdout")] = "fit",
    cores: Annotated[str, typer.Option(help="CPU cores to keep to, such as 0,1")] = "",
    launcher: Annotated[int | None, typer.Option(help="stop when this parent process is gone")] = None,
) -> None:
    """Claim and train the free cells of a planned sweep, one after another in this process."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})  # before jax makes its threads
    from scaling.stopping import StopSignal

    stop = StopSignal(launcher)
    from scaling.sweeps.worker import work

    _leave(work(path, role, stop))


@app.command()
def status(path: SweepPath) -> None:
    """Show how far a sweep is."""
    from scaling.sweeps.status import failures, read_status, status_table, summary, warnings

    cells = read_status(path)
    console = _console()
    console.print(status_table(cells))
    console.print(summary(cells), style="bold", highlight=False)
    for line in failures(path, cells):
        console.print(line, style="red", highlight=False)
    for line in warnings(cells):
        console.print(line, style="yellow", highlight=False)


@app.command()
def fit(path: SweepPath) -> None:
    """Fit the law to a sweep's runs (or to a CSV) and print it with its intervals; a sweep keeps it as fit.json."""
    from analysis.allocation import compute_optimal
    from analysis.results import write_fit
    from analysis.tables import allocation_table, fit_lines, fit_table

    fitted = _fit(path)
    console = _console()
    console.print(fit_table(fitted))
    for line in fit_lines(fitted):
        console.print(line, highlight=False)
    largest = fitted.origin.ranges["flops"][1]
    allocation = compute_optimal(fitted, [largest, 10 * largest, 100 * largest])
    console.print(allocation_table(allocation, fitted.level))
    if path.is_dir():
        console.print(f"written to {write_fit(fitted, path)}", highlight=False)


@app.command()
def plot(path: SweepPath) -> None:
    """Draw a sweep's figures as PNG and SVG."""
    from analysis.figures import draw_all

    for figure in draw_all(path):
        _console().print(str(figure), highlight=False)


@app.command()
def report(path: SweepPath) -> None:
    """Fit a sweep, draw its figures and write its report: one self-contained HTML file."""
    from analysis.figures import draw_all
    from analysis.report import write
    from analysis.results import write_fit

    write_fit(_fit(path), path)
    draw_all(path)
    console = _console()
    if (path / "forecast.json").exists():
        _print_comparison(path, console)
    console.print(f"report: {write(path)}", highlight=False, soft_wrap=True)


@app.command()
def count(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG|PRESET|N", help="a run's YAML file, a published model, or a number of parameters")
    ],
    overrides: Overrides = None,
) -> None:
    """Print a model's parameters and FLOPs in every convention."""
    from scaling.config import ModelConfig, RunConfig, build, override, read_yaml
    from scaling.counting import ModelCount
    from scaling.models.ladder import rung
    from scaling.models.presets import PRESETS
    from scaling.models.shapes import named
    from scaling.quantities import parse_quantity
    from scaling.tables import count_tables

    if Path(config).suffix in (".yaml", ".yml"):
        run = build(RunConfig, override(read_yaml(config), overrides or []))
        size = run.data.tokenizer.vocabulary, run.data.sequence_length, float(run.training.tokens)
        counted = ModelCount(run.model, *size)
    elif config[:1].isdigit():
        fields = override({}, overrides or [])
        model = build(ModelConfig, {**fields, **rung(int(parse_quantity(config)), fields).fields})
        counted = ModelCount(model, 256, 256, None)
    else:
        try:
            preset = named(PRESETS, "preset", config)
        except ValueError as error:
            raise ScalingError(str(error)) from None
        model = build(ModelConfig, override(preset.fields, overrides or []))
        counted = ModelCount(model, preset.vocabulary, preset.context, preset.tokens)
    for table in count_tables(counted):
        _console().print(table, "")


@app.command()
def sample(
    run: RunPath,
    prompt: Annotated[str, typer.Option(help="text to go on from; none is the beginning of a document")] = "",
    tokens: Annotated[
        int | None, typer.Option(min=0, help="how many tokens; as many as a training sequence has room for")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the most probable token each time")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="keep the k most probable tokens")] = None,
    top_p: Annotated[float, typer.Option(help="keep the fewest tokens whose probabilities sum to p")] = 1.0,
    seed: int = 0,
    top: Annotated[int, typer.Option(min=0, help="print the n most probable tokens after the prompt")] = 0,
) -> None:
    """Generate text from a run's last checkpoint."""
    from scaling.models.sampling import Rule, Sampler, continuation, most_probable
    from scaling.tables import probability_table
    from scaling.training.trained import load_trained

    rule = Rule(temperature, top_k, top_p)
    trained = load_trained(run)
    tokenizer = trained.tokenizer()
    sampler = Sampler(trained.transformer(), trained.config.data.sequence_length)
    logits_V, cache = sampler.read(prompt, tokenizer)
    print(prompt, end="")
    for text in continuation(sampler.generate(logits_V, cache, tokens, rule, seed), tokenizer):
        print(text, end="", flush=True)
    print()
    if top:
        _console().print(probability_table(most_probable(logits_V, top, tokenizer)))


@app.command()
def export(run: RunPath, directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="where to write")]) -> None:
    """Write a run's last weights as Hugging Face's GPT-2 or Llama: config.json and model.safetensors."""
    from scaling.models import interchange
    from scaling.training.trained import load_trained

    trained = load_trained(run)
    length = trained.config.data.sequence_length
    interchange.export(trained.parameters, trained.config.model, trained.facts["vocabulary"], length, directory)
    _console().print(f"the weights after step {trained.step} are in {directory}", highlight=False)


def main() -> NoReturn:
    """Run the command; a user's mistake is one line on stderr and exit code 2."""
    from analysis.errors import AnalysisError

    try:
        app()
    except (ScalingError, AnalysisError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(Exit.USAGE)
    sys.exit(Exit.DONE)


def _leave(code: int) -> NoReturn:
    """End now: Orbax's threads would wait five minutes for the signal of a save that failed."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _console() -> "Console":
    from rich.console import Console

    return Console()


def _points(path: Path) -> "pd.DataFrame":
    from analysis.curves import final_points, read

    return final_points(read(path))


def _fit(path: Path) -> "Fit":
    from analysis.chinchilla import fit_parametric

    points = _points(path)
    counted = "non_embedding_and_head_parameters"
    return fit_parametric(points, counted if points[counted].notna().any() else "parameters")


def _forecast(path: Path, console: "Console") -> None:
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
    fitted = _fit(path)
    write_fit(fitted, path)
    forecast_made = forecast(fitted, pd.DataFrame([{"run": each["run_id"], **each["facts"]} for each in targets]))
    write_forecast(forecast_made, path)
    console.print(forecast_table(forecast_made))


def _print_comparison(path: Path, console: "Console") -> None:
    from analysis.results import compare_forecast, read_forecast
    from analysis.tables import comparison_table

    forecast = read_forecast(path)
    console.print(comparison_table(forecast, compare_forecast(forecast, _points(path))))


def _train_role(path: Path, role: str, console: "Console") -> None:
    """Train the cells of a role with live progress; stops the command where one of them did not end well."""
    from scaling.sweeps.live import watch
    from scaling.sweeps.local import Launcher
    from scaling.sweeps.status import failures, read_status

    cells = [each.cell for each in read_status(path) if each.cell["role"] == role]
    watch(Launcher(path, role, cells), path, role, console)
    ended = [each for each in read_status(path) if each.cell["role"] == role]
    for line in failures(path, ended):
        console.print(line, style="red", highlight=False)
    if any(each.state not in ("done", "diverged") for each in ended):
        console.print("the same command trains what is missing", highlight=False)
        raise typer.Exit(_sweep_code(ended))


def _sweep_code(cells: "list[CellStatus]") -> Exit:
    states = {each.state for each in cells}
    if states <= {"done"}:
        return Exit.DONE
    if states <= {"done", "diverged"}:
        return Exit.DIVERGED
    return Exit.SAVED if states <= {"done", "diverged", "saved", "planned"} else Exit.FAILED

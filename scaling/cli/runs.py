"""Verbs of one run or one model: train, sample, export, count."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from scaling.cli.app import (
    Coordinator,
    Distributed,
    Overrides,
    Processes,
    ProcessId,
    RunPath,
    Runs,
    app,
    leave,
    show,
    stop_signal,
)
from scaling.errors import Exit, ScalingError
from scaling.stores import is_bucket, locate


@app.command()
def train(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", parser=locate, help="a run's YAML file, or a run directory to go on with")
    ],
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    processes: Processes = None,
    process_id: ProcessId = None,
) -> None:
    """Train one run; the same command again goes on where it stopped."""
    stop = stop_signal(None, distributed, coordinator, processes, process_id)
    from scaling.config import override, read_yaml
    from scaling.data.prepare import prepare
    from scaling.families import build_run
    from scaling.record import RunDirectory, read_json
    from scaling.specification import specify
    from scaling.sweeps.stored import check_forecast, read_plan

    is_run = is_bucket(config) or config.is_dir()
    recorded = RunDirectory(config).specification if is_run else None
    if is_run and recorded is None:
        raise ScalingError(f"{config} is not a run directory: it holds no run.json")
    if recorded and read_json(config.parent / "plan.json") is not None:
        cells = read_plan(config.parent)["cells"]
        check_forecast(config.parent, (cell for cell in cells if cell["run_id"] == recorded["run_id"]))
    fields = recorded["config"] if recorded else read_yaml(config)
    run = build_run(override(fields, overrides or []))
    dataset = prepare(run.data, run.execution.data_directory)
    specification = specify(run, dataset)
    if recorded and recorded["run_id"] != specification.run_id:
        raise ScalingError(
            f"{config} records run {recorded['run_id']}, and this configuration and data are {specification.run_id}"
        )
    path = config if recorded else runs / config.stem / specification.run_id

    from scaling.lease import is_cancelled
    from scaling.training.attempt import attempt
    from scaling.training.processes import is_first

    if is_cancelled(path):
        raise ScalingError(f"{path} was cancelled; `scaling retry {path}` lets it go on")
    if is_first():
        show(f"run {specification.run_id} in {path}")
    code = attempt(path, specification, dataset, stop)
    if code is None:  # for an engine that started a second copy: once the first one is gone there may be more to train
        print(f"error: another worker is training {path}; `scaling status` shows its sweep", file=sys.stderr)
        leave(Exit.SAVED)
    if not is_first():
        leave(code)
    status = RunDirectory(path).status
    if code is Exit.USAGE:
        raise ScalingError(status["reason"])
    if status["state"] == "running":  # how it ended could not be written, and was said on stderr
        leave(code)
    text = f"{status['state']} at step {status['step']} of {status['steps']}" if "steps" in status else status["state"]
    loss = "" if status.get("loss") is None else f", held-out loss {status['loss']:.4f} nats per token"
    reason = f": {status['reason']}" if status.get("reason") else ""
    show(f"{text}{loss}{reason}")
    leave(code)


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
    """Generate text from a run: from its last checkpoint, or from the n-grams it counted."""
    from scaling.families import open_sampler
    from scaling.models.sampling import Rule, continuation, most_probable
    from scaling.tables import probability_table

    rule = Rule(temperature, top_k, top_p)
    sampler, tokenizer = open_sampler(run)
    logits_V, cache = sampler.read(prompt, tokenizer)
    print(prompt, end="")
    for text in continuation(sampler.generate(logits_V, cache, tokens, rule, seed), tokenizer):
        print(text, end="", flush=True)
    print()
    if top:
        show(probability_table(most_probable(logits_V, top, tokenizer)))


@app.command()
def export(run: RunPath, directory: Annotated[Path, typer.Argument(metavar="DIRECTORY", help="where to write")]) -> None:
    """Write a run's last weights as Hugging Face's GPT-2 or Llama: config.json and model.safetensors."""
    from scaling.models import interchange
    from scaling.training.trained import load_trained

    trained = load_trained(run)
    length = trained.config.data.sequence_length
    interchange.export(trained.parameters, trained.config.model, trained.facts["vocabulary"], length, directory)
    show(f"the weights after step {trained.step} are in {directory}")


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
        vocabulary, tokens = run.data.tokenizer.vocabulary + run.extra_tokens, float(run.training.tokens)
        counted = ModelCount(run.model, vocabulary, run.data.sequence_length, tokens, run.objective)
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
        show(table, "")

"""Verbs for worlds whose truth is known: parentheses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import app, show
from scaling.errors import ScalingError

if TYPE_CHECKING:
    from scaling.parentheses import Judgement


@app.command()
def parentheses(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a sweep, or one run, of a world of brackets")],
    documents: Annotated[int, typer.Option(min=1, help="fresh documents that each network is judged by")] = 500,
) -> None:
    """Judge networks by the grammar of brackets: closing at each depth, illegal continuations, completions."""
    import dataclasses

    import pandas as pd

    from analysis.figures import brackets, save
    from scaling.record import RunDirectory, write_json
    from scaling.tables import judgement_table

    single = (path / "run.json").is_file()
    runs = [path] if single else sorted(each.parent for each in path.glob("*/run.json"))
    done = [run for run in runs if RunDirectory(run).status["state"] == "done"]
    judged = [found for run in done if (found := _judge(run, documents)) is not None]
    if not judged:
        raise ScalingError(f"{path} holds no finished run of a network on dyck or brackets")
    judged.sort(key=lambda each: (each[0]["width"], each[0]["examples"], each[0]["blocks"]))
    show(judgement_table(judged))
    write_json(path / "parentheses.json", [{**facts, **dataclasses.asdict(found)} for facts, found in judged])
    depths = pd.DataFrame([{**facts, **dataclasses.asdict(row)} for facts, found in judged for row in found.depths])
    completions = pd.DataFrame([{**facts, **dataclasses.asdict(row)} for facts, found in judged for row in found.completions])
    for file in save(brackets(depths, completions), path / "figures", "parentheses"):
        show(str(file))


def _judge(run: Path, documents: int) -> "tuple[dict[str, Any], Judgement] | None":
    """What a run's network knows, and the facts of the run; None where it is no network of brackets."""
    from scaling.config import RunConfig
    from scaling.data.worlds import named_world
    from scaling.data.worlds.dyck import BalancedWords, BracketProcess
    from scaling.parentheses import judge
    from scaling.record import RunDirectory
    from scaling.training.trained import load_trained, read_run

    config, facts = read_run(run)
    world = named_world(config.data.corpus)
    if not isinstance(world, BalancedWords | BracketProcess) or not isinstance(config, RunConfig):
        return None
    if config.training.objective != "causal":
        return None
    about = {
        "run": run.name,
        "blocks": config.model.layers,
        "width": config.model.width,
        "examples": config.tokens // world.length,
        "excess": RunDirectory(run).status["loss"] - facts["entropy"],
    }
    return about, judge(world, load_trained(run).next_probabilities(), documents)

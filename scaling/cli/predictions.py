"""Verbs that look ahead: forecast, allocate, design."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import app, show
from scaling.cli.documents import print_json
from scaling.cli.sources import (
    Budgets,
    Columns,
    Convention,
    Derived,
    Json,
    LawName,
    Level,
    Source,
    accepted,
    fit_points,
    quantities,
    quantity,
    read_source,
)
from scaling.errors import ScalingError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from analysis.results import Fit
    from analysis.uncertainty import Quantity

GROWTH = 32.0  # the next runs may have so many times the most parameters and tokens so far, as the budget allows


@app.command()
def forecast(
    source: Source,
    at: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE,...", help="such as parameters=7B,tokens=140B")] = None,
    budget: Budgets = None,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    law: LawName = "chinchilla",
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Predict what runs of given sizes, or the compute-optimal runs of given budgets, will measure."""
    import pandas as pd

    from analysis.allocation import compute_optimal
    from analysis.curves import final_points
    from analysis.prediction import predict
    from analysis.tables import convention_line, prediction_table

    if not at and not budget:
        raise ScalingError("forecast needs --at parameters=7B,tokens=140B, or --budget 1e21")
    fitted = fit_points(final_points(read_source(source, column, derive)), source, law, parameters, level)
    rows = [place(text, fitted) for text in at or []]
    if budget:
        best = compute_optimal(fitted, quantities("--budget", budget))
        rows += [
            {fitted.columns[name]: row[name] for name in ("parameters", "tokens")}
            for row in best[["parameters", "tokens"]].to_dict("records")
        ]
    targets = pd.DataFrame(rows)
    predicted = pd.concat([targets, predict(fitted, targets)], axis=1)
    if json:
        return print_json(convention=convention(fitted), law_error=fitted.extrapolation.law_error, forecasts=predicted)
    show(prediction_table(fitted, predicted), convention_line(fitted))


@app.command()
def allocate(
    source: Source,
    budget: Budgets = None,
    tokens_per_parameter: Annotated[
        list[str] | None, typer.Option(metavar="M", help="cost of models trained on M tokens per parameter at the budgets")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(metavar="NATS", help="sizes that reach this loss, and the cheapest of them")
    ] = None,
    served: Annotated[
        list[str] | None, typer.Option(metavar="TOKENS", help="with --loss: the cheapest for so many tokens of inference")
    ] = None,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    law: LawName = "chinchilla",
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Say how to spend compute: best for training, over-trained, or counting inference."""
    from analysis.allocation import compute_optimal
    from analysis.curves import final_points
    from analysis.tables import (
        allocation_table,
        convention_line,
        inference_table,
        iso_loss_table,
        over_training_table,
    )
    from analysis.trade_offs import inference_aware, iso_loss, over_training

    if served and not loss:
        raise ScalingError("--served needs --loss: the loss that the served model must reach")
    fitted = fit_points(final_points(read_source(source, column, derive)), source, law, parameters, level)
    budgets = quantities("--budget", budget) or [fitted.largest * factor for factor in (1, 10, 100)]
    found: dict[str, pd.DataFrame] = {"compute_optimal": compute_optimal(fitted, budgets)}
    tables: dict[str, Callable[[pd.DataFrame, float], Table]] = {"compute_optimal": allocation_table}
    if tokens_per_parameter:
        found["over_training"] = over_training(fitted, budgets, quantities("--tokens-per-parameter", tokens_per_parameter))
        tables["over_training"] = over_training_table
    if loss:
        wanted = quantity("--loss", loss)
        found["inference"] = inference_aware(fitted, wanted, [0.0, *quantities("--served", served)])
        around = [found["inference"]["parameters"][0] * 2.0**step for step in range(-3, 4)]
        found["iso_loss"] = iso_loss(fitted, wanted, around)
        tables |= {"inference": inference_table, "iso_loss": iso_loss_table}
    if json:
        return print_json(convention=convention(fitted), **found)
    for name, table in found.items():
        show(tables[name](table, level))
    show(convention_line(fitted))


@app.command()
def design(
    source: Source,
    budget: Annotated[str, typer.Option(metavar="FLOPS", help="to be spent on the next runs, all together")],
    question: Annotated[
        str, typer.Option(help="loss or parameters (compute-optimal, --at a budget), or one of the law's")
    ] = "loss",
    at: Annotated[str | None, typer.Option(metavar="FLOPS", help="the budget that the question is about")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="the sweep file to write, such as sweep.yaml")] = None,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Choose the next runs: those that narrow the answer to a question most for their FLOPs."""
    from analysis import design as designs
    from analysis.curves import final_points
    from analysis.tables import convention_line, design_table

    points = final_points(read_source(source, column, derive))
    fitted = fit_points(points, source, "chinchilla", parameters, level)
    target = quantity("--at", at) if at else 100 * fitted.largest
    spend = quantity("--budget", budget)
    limits = []
    for name in ("parameters", "tokens"):
        low, high = fitted.origin.ranges[fitted.columns[name]]
        limits.append((low, high * GROWTH))
    found = designs.design(
        designs.Known.from_fit(fitted, points),
        asked(fitted, question, target),
        spend,
        *limits,
        level=level,
    )
    written = designs.write_sweep(found, out, out.stem) if out else None
    if json:
        return print_json(convention=convention(fitted), at=target, design=found, written_to=written)
    show(design_table(found), found.verdict, convention_line(fitted))
    if written:
        show(f"written to {written}")


def asked(fitted: "Fit", question: str, at: float) -> "Quantity":
    """The quantity that a question of `design` is about."""
    from analysis.uncertainty import optimal_loss, optimal_parameters, parameter

    about = {"loss": optimal_loss, "parameters": optimal_parameters}
    accepted("--question", question, (*about, *fitted.form.names))
    return about[question](fitted.form, at) if question in about else parameter(fitted.form, question)


def place(text: str, fitted: "Fit") -> dict[str, float]:
    """A point of the fit's columns from `parameters=7B,tokens=140B`."""
    given: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = (each.strip() for each in part.partition("="))
        if not equals:
            raise ScalingError(f"--at {text!r}: expected name=value,..., with {' and '.join(fitted.form.variables)}")
        accepted("--at", name, fitted.form.variables)
        given[fitted.columns[name]] = quantity("--at", value)
    lacking = [name for name in fitted.form.variables if fitted.columns[name] not in given]
    if lacking:
        raise ScalingError(f"--at {text!r}: the {fitted.law} law also needs {' and '.join(lacking)}")
    return given


def convention(fitted: "Fit") -> dict[str, Any]:
    """What every number of an answer was counted in, and how its interval was made."""
    return {
        "law": fitted.law,
        "columns": fitted.columns,
        "size": fitted.size_convention,
        "level": fitted.level,
        "interval_method": fitted.interval_method,
    }

"""Verbs of a study: fit, plot and report what the curves of a sweep, or anyone's, say."""

from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import app, show
from scaling.cli.documents import print_json
from scaling.cli.sources import (
    Columns,
    Convention,
    Derived,
    Json,
    LawName,
    Level,
    Source,
    Where,
    fit_path,
    fit_points,
    print_comparison,
    read_source,
    stored_forecast,
    try_to_fit,
)

if TYPE_CHECKING:
    from analysis.results import Fit


@app.command()
def fit(
    source: Source,
    column: Columns = None,
    derive: Derived = None,
    where: Where = None,
    parameters: Convention = None,
    law: LawName = "chinchilla",
    method: Annotated[str | None, typer.Option(help="of the intervals; the one that holds for so many runs")] = None,
    objective: Annotated[str, typer.Option(help="what is minimised")] = "huber-log",
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Fit a law, with its intervals, and the compute-optimal models; a whole sweep keeps the fit as fit.json."""
    from analysis.allocation import compute_optimal
    from analysis.curves import final_points, flags
    from analysis.results import write_fit
    from analysis.tables import allocation_table, fit_lines, fit_table, quality_table
    from analysis.truth import find_truth

    curves = read_source(source, column, derive, where)
    points = final_points(curves)
    fitted = fit_points(points, source, law, parameters, level, method, objective)
    truth = find_truth(fitted, points)
    odd = flags(curves)
    ahead = [fitted.largest * factor for factor in (1, 10, 100)]
    allocation = compute_optimal(fitted, ahead) if of_parameters_and_tokens(fitted) else None
    kept = write_fit(fitted, source) if Path(source).is_dir() and not where else None
    if json:
        return print_json(fit=summary(fitted), truth=truth, allocation=allocation, flags=odd, written_to=kept)
    show(fit_table(fitted), *([str(truth)] if truth else []), *fit_lines(fitted))
    if allocation is not None:
        show(allocation_table(allocation, fitted.level))
    if len(odd):
        show(quality_table(odd))
    if kept:
        show(f"written to {kept}")


@app.command()
def plot(
    source: Source,
    out: Annotated[Path | None, typer.Option(help="where to write; SOURCE/figures of a directory, else figures")] = None,
    column: Columns = None,
    derive: Derived = None,
    where: Where = None,
    parameters: Convention = None,
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Draw every figure that the curves allow as PNG, SVG and PDF, and say why the others are left out."""
    from analysis.curves import final_points
    from analysis.figures import collect, save_all
    from analysis.study import study

    curves = read_source(source, column, derive, where)
    fitted, reason = try_to_fit(final_points(curves), source, "chinchilla", parameters, level)
    found = study(curves, fitted, stored_forecast(source), reason)
    drawn = collect(found)
    written = save_all(drawn, out or (Path(source) / "figures" if Path(source).is_dir() else Path("figures")))
    if json:
        return print_json(figures=written, left_out=found.refused)
    show(*map(str, written))
    for what, why in found.refused.items():
        show(f"left out: {what}: {shorten(why, 240, placeholder=' …')}")


@app.command()
def report(path: Annotated[Path, typer.Argument(metavar="PATH", help="a sweep's directory, runs/NAME")]) -> None:
    """Fit a sweep, draw its figures and write its report: one self-contained HTML file."""
    from analysis import report
    from analysis.figures import collect, save_all
    from analysis.results import write_fit
    from analysis.study import study

    fitted = fit_path(path)
    write_fit(fitted, path)
    found = study(read_source(str(path)), fitted, stored_forecast(str(path)))
    drawn = collect(found)
    save_all(drawn, path / "figures")
    if found.forecast is not None:
        print_comparison(path)
    show(f"report: {report.write(path, found, drawn)}")


def of_parameters_and_tokens(fitted: "Fit") -> bool:
    """Whether the fit says how to spend compute."""
    return fitted.form.target == "loss" and set(fitted.form.variables) == {"parameters", "tokens"}


def summary(fitted: "Fit") -> dict[str, Any]:
    """The fit without its draws."""
    from dataclasses import fields

    drawn = ("draws", "noise_draws")
    return {"formula": fitted.form.formula} | {
        each.name: getattr(fitted, each.name) for each in fields(fitted) if each.name not in drawn
    }

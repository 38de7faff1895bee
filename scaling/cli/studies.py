"""Verbs of a study: fit, plot and report what the curves of a sweep, or anyone's, say."""

from pathlib import Path
from textwrap import shorten
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
    Where,
    accepted,
    fit_points,
    print_comparison,
    quantities,
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
def report(
    source: Source,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="where to write; report.html or .md in SOURCE if it is a directory, else here"),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", metavar="html|md", help="an interactive page, or Markdown; FILE's ending says it too")
    ] = "html",
    budget: Budgets = None,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    level: Level = 0.9,
) -> None:
    """Write what curves say as one self-contained page: law, forecast, interactive figures, checks, runs, methods."""
    from analysis import report as reports
    from analysis.curves import final_points
    from analysis.figures import collect, save_all
    from analysis.results import write_fit
    from analysis.study import study

    home = Path(source) if Path(source).is_dir() else None
    file = out or (home or Path()) / f"report.{form}"
    accepted("--out" if out else "--format", file.suffix[1:], reports.FORMATS)
    curves = read_source(source, column, derive)
    fitted, reason = try_to_fit(final_points(curves), source, "chinchilla", parameters, level)
    found = study(curves, fitted, stored_forecast(source), reason)
    if home is not None:
        if fitted is not None:
            write_fit(fitted, home)
        save_all(collect(found), home / "figures")
    if found.forecast is not None:
        print_comparison(Path(source))
    if reason:
        show(f"no fit: {reason}", style="red")
    name = home.resolve().name if home else Path(source).stem
    show(f"report: {reports.write(reports.gather(found, name, home, quantities('--budget', budget)), file)}")


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

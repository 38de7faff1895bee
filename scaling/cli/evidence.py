"""Verbs that doubt: check, compare."""

from typing import TYPE_CHECKING, Annotated

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
    default_convention,
    read_source,
    stored_forecast,
    try_to_fit,
)

if TYPE_CHECKING:
    import pandas as pd

    from analysis.laws import Law


@app.command()
def check(
    source: Source,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    law: LawName = "chinchilla",
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Look for the known ways to fool oneself: in the curves, and in the fit to them."""
    from analysis import checks
    from analysis.curves import final_points, flags
    from analysis.results import compare_forecast
    from analysis.tables import findings_table, quality_table

    curves = read_source(source, column, derive)
    points, odd = final_points(curves), flags(curves)
    fitted, reason = try_to_fit(points, source, law, parameters, level)
    stored = stored_forecast(source)
    found = checks.find(fitted, points, compare_forecast(stored, points) if stored else None)
    if json:
        return print_json(flags=odd, findings=found, refused=reason)
    if len(odd):
        show(quality_table(odd))
    if reason:
        show(f"no fit: {reason}", style="red")
    show(findings_table(found))


@app.command()
def compare(
    source: Source,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    law: Annotated[
        list[str] | None, typer.Option(metavar="NAME|EXPRESSION", help="laws to compare; all that the columns allow")
    ] = None,
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Score laws by how fits below cut-offs of size predict the runs beyond them."""
    from analysis.curves import final_points
    from analysis.laws import LAWS
    from analysis.laws import law as named
    from analysis.selection import compare as score
    from analysis.tables import laws_table, refused_lines

    points = final_points(read_source(source, column, derive))
    counted = parameters or default_convention(points)
    laws = [named(each) for each in law] if law else list(LAWS.values())
    lacking = {} if law else {each.name: lacks for each in laws if (lacks := _lacks(points, each, counted))}
    scored = score(points, [each for each in laws if each.name not in lacking], {"parameters": counted}, level=level)
    if json:
        return print_json(parameters_column=counted, level=level, laws=scored, lacking=lacking)
    show(laws_table(scored, level), *refused_lines(scored, lacking), f"N counts {counted}")


def _lacks(points: "pd.DataFrame", law: "Law", counted: str) -> list[str]:
    """The columns that a law needs and the points lack."""
    needed = [counted if name == "parameters" else name for name in (*law.variables, law.target)]
    return [name for name in needed if name not in points or points[name].isna().all()]

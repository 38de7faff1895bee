"""Verbs that doubt: check, compare."""

from typing import TYPE_CHECKING, Annotated

import typer

from scaling.cli.app import app, show
from scaling.cli.documents import print_json
from scaling.cli.predictions import convention
from scaling.cli.sources import (
    Columns,
    Convention,
    Derived,
    Json,
    LawName,
    Level,
    Source,
    default_convention,
    fit_points,
    quantities,
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
    other: Annotated[
        str | None, typer.Argument(metavar="[OTHER]", help="the baseline's curves: what is SOURCE's recipe worth in compute?")
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(metavar="FLOPS", help="where to compare; the largest run and 100 times it")
    ] = None,
    column: Columns = None,
    derive: Derived = None,
    parameters: Convention = None,
    law: Annotated[
        list[str] | None, typer.Option(metavar="NAME|EXPRESSION", help="laws to compare; all that the columns allow")
    ] = None,
    level: Level = 0.9,
    json: Json = False,
) -> None:
    """Score laws by rollouts, and show where procedures disagree; or hold SOURCE's recipe against that of OTHER."""
    from analysis.curves import final_points

    curves = read_source(source, column, derive)
    points = final_points(curves)
    budgets = quantities("--budget", budget)
    if other is None:
        return _on_one_source(curves, points, source, budgets, parameters, law, level, json)
    from analysis.multipliers import compute_multiplier
    from analysis.tables import convention_line, multiplier_table

    name = (law or ["chinchilla"])[0]
    candidate = fit_points(points, source, name, parameters, level)
    others = final_points(read_source(other, column, derive))
    baseline = fit_points(others, other, name, parameters, level, seed=1)  # draws of one seed would move together
    worth = compute_multiplier(candidate, baseline, budgets or [candidate.largest, 100 * candidate.largest])
    if json:
        return print_json(convention=convention(candidate), baseline=convention(baseline), multipliers=worth)
    show(multiplier_table(worth, level), convention_line(candidate))


def _on_one_source(
    curves: "pd.DataFrame",
    points: "pd.DataFrame",
    source: str,
    budgets: list[float],
    parameters: str | None,
    law: list[str] | None,
    level: float,
    json: bool,
) -> None:
    """Laws by rollout score, and procedures side by side."""
    from analysis import disagreement
    from analysis.conventions import Convention as Counting
    from analysis.curves import require
    from analysis.laws import LAWS
    from analysis.laws import law as named
    from analysis.selection import compare as score
    from analysis.tables import disagreement_table, laws_table, refused_lines, verdict_lines

    counted = parameters or default_convention(points)
    require(points, "loss", counted, "tokens", source=source)
    laws = [named(each) for each in law] if law else [each for each in LAWS.values() if each.target == "loss"]
    lacking = {} if law else {each.name: lacks for each in laws if (lacks := _lacks(points, each, counted))}
    scored = score(points, [each for each in laws if each.name not in lacking], {"parameters": counted}, level=level)
    if not budgets:
        largest = float((6 * points[counted] * points["tokens"])[points["excluded"] == ""].max())
        budgets = [largest, 100 * largest]
    fitted = curves[curves["run"].isin(points["run"][points["excluded"] == ""])]
    answers = disagreement.compare(points, budgets, Counting(counted), curves=fitted, level=level)
    if json:
        sides = {"answers": answers.table, "verdicts": answers.verdicts, "refused": answers.refused}
        return print_json(convention=str(answers.convention), level=level, laws=scored, lacking=lacking, procedures=sides)
    show(laws_table(scored, level), *refused_lines(scored, lacking))
    show(disagreement_table(answers, level), *verdict_lines(answers), str(answers.convention))


def _lacks(points: "pd.DataFrame", law: "Law", counted: str) -> list[str]:
    """The columns that a law needs and the points lack."""
    needed = [counted if name == "parameters" else name for name in (*law.variables, law.target)]
    return [name for name in needed if name not in points or points[name].isna().all()]

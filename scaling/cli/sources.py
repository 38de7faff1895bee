"""What the verbs of a study share: their options, and how any source of curves is read and fitted."""

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import show
from scaling.errors import ScalingError

if TYPE_CHECKING:
    import pandas as pd

    from analysis.results import Fit, Forecast

Source = Annotated[
    str, typer.Argument(metavar="SOURCE", help="a sweep, a run, a directory of curves or a table; local, gs:// or s3://")
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", metavar="NAME=SOURCE[:UNIT]", help="a column of other name or unit: tokens=D_billion:1e9"),
]
Where = Annotated[
    list[str] | None, typer.Option("--where", metavar="NAME=VALUE", help="keep the rows where a column has this value")
]
Derived = Annotated[list[str] | None, typer.Option("--derive", metavar="NAME", help="a column to compute from the others")]
Convention = Annotated[
    str | None, typer.Option("--parameters", metavar="COLUMN", help="the column N is read from: the convention of the answer")
]
LawName = Annotated[str, typer.Option("--law", metavar="NAME|EXPRESSION", help="the law to fit")]
Level = Annotated[float, typer.Option("--level", help="of the intervals, between 0 and 1")]
Budgets = Annotated[list[str] | None, typer.Option("--budget", metavar="FLOPS", help="of one run, such as 1e21")]
Json = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]


def read_source(
    source: str, columns: list[str] | None = None, derive: list[str] | None = None, conditions: list[str] | None = None
) -> "pd.DataFrame":
    """The curves of any source, or those of its rows where the conditions hold."""
    from analysis.curves import parse_columns, read, where

    try:
        return where(read(source, columns=parse_columns(columns or []), derive=derive or ()), conditions or ())
    except ImportError as error:  # a bucket's file system is an extra
        raise ScalingError(f"{source}: {error}") from None


def fit_points(
    points: "pd.DataFrame",
    source: str,
    law: str = "chinchilla",
    parameters: str | None = None,
    level: float = 0.9,
    method: str | None = None,
    objective: str = "huber-log",
    seed: int = 0,
) -> "Fit":
    """A law of final points; a column that it needs and the source lacks is named, with the nearest present."""
    from analysis import laws
    from analysis.curves import require
    from analysis.fits import fit_law
    from analysis.penalties import OBJECTIVES
    from analysis.uncertainty import METHODS

    if not 0 < level < 1:
        raise ScalingError(f"--level {level:g} is no level of an interval; give one between 0 and 1, such as 0.9")
    accepted("--objective", objective, OBJECTIVES)
    if method is not None:
        accepted("--method", method, METHODS)
    form = laws.law(law)
    names = {"parameters": parameters or default_convention(points)} if "parameters" in form.variables else {}
    require(points, *(names.get(name, name) for name in (*form.variables, form.target)), source=source)
    return fit_law(points, form, names, delta=OBJECTIVES[objective][0], level=level, method=method, seed=seed)


def default_convention(points: "pd.DataFrame") -> str:
    """Parameters that do the arithmetic, as our record counts them; all of them where the source knows no better."""
    counted = "non_embedding_and_head_parameters"
    return counted if points[counted].notna().any() else "parameters"


def try_to_fit(points: "pd.DataFrame", *arguments: Any) -> "tuple[Fit | None, str]":
    """The fit of `fit_points`, or why there is none: for verbs that have more to say."""
    from analysis.errors import AnalysisError

    try:
        return fit_points(points, *arguments), ""
    except AnalysisError as error:
        return None, str(error)


def fit_path(path: Path) -> "Fit":
    """The parametric law of a sweep."""
    from analysis.curves import final_points

    return fit_points(final_points(read_source(str(path))), str(path))


def stored_forecast(source: str) -> "Forecast | None":
    """The forecast that a sweep's directory holds, where it does."""
    from analysis.results import read_forecast

    path = Path(source) / "forecast.json"
    return read_forecast(path) if path.is_file() else None


def print_comparison(path: Path) -> None:
    """Show a sweep's forecast beside what was measured since."""
    from analysis.curves import final_points
    from analysis.results import compare_forecast, read_forecast
    from analysis.tables import comparison_table

    forecast = read_forecast(path)
    show(comparison_table(forecast, compare_forecast(forecast, final_points(read_source(str(path))))))


def quantity(option: str, text: str) -> float:
    """A positive number as people write it: 1e21, 7B."""
    from scaling.quantities import parse_quantity

    try:
        value = float(parse_quantity(text))
    except ValueError as error:
        raise ScalingError(f"{option} {text!r}: {error}") from None
    if not 0 < value < float("inf"):
        raise ScalingError(f"{option} {text!r}: expected a positive quantity")
    return value


def quantities(option: str, texts: list[str] | None) -> list[float]:
    """Each of a repeatable option's values."""
    return [quantity(option, text) for text in texts or []]


def accepted(option: str, given: str, known: Any) -> None:
    """Refuse a word that is none of the known, with the nearest of them."""
    if given not in known:
        nearest = get_close_matches(given, known, 1, 0.0)[0]
        raise ScalingError(f"{option} {given!r} is unknown; the nearest is {nearest!r}, all are: {', '.join(known)}")

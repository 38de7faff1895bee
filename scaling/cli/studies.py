"""Verbs of a study: what the curves of a sweep, or anyone's, say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scaling.cli.app import app, show

if TYPE_CHECKING:
    import pandas as pd

    from analysis.results import Fit

SweepPath = Annotated[Path, typer.Argument(metavar="PATH", help="a sweep's directory, runs/NAME")]


@app.command()
def fit(path: SweepPath) -> None:
    """Fit the law to a sweep's runs (or to a CSV) and print it with its intervals; a sweep keeps it as fit.json."""
    from analysis.allocation import compute_optimal
    from analysis.results import write_fit
    from analysis.tables import allocation_table, fit_lines, fit_table

    fitted = fit_path(path)
    show(fit_table(fitted))
    for line in fit_lines(fitted):
        show(line)
    largest = fitted.largest
    allocation = compute_optimal(fitted, [largest, 10 * largest, 100 * largest])
    show(allocation_table(allocation, fitted.level))
    if path.is_dir():
        show(f"written to {write_fit(fitted, path)}")


@app.command()
def plot(path: SweepPath) -> None:
    """Draw a sweep's figures as PNG and SVG."""
    from analysis.figures import draw_all

    for figure in draw_all(path):
        show(str(figure))


@app.command()
def report(path: SweepPath) -> None:
    """Fit a sweep, draw its figures and write its report: one self-contained HTML file."""
    from analysis.figures import draw_all
    from analysis.report import write
    from analysis.results import write_fit

    write_fit(fit_path(path), path)
    draw_all(path)
    if (path / "forecast.json").exists():
        print_comparison(path)
    show(f"report: {write(path)}")


def _points(path: Path) -> "pd.DataFrame":
    from analysis.curves import final_points, read

    return final_points(read(path))


def fit_path(path: Path) -> "Fit":
    """The parametric law of a sweep or a table."""
    from analysis.chinchilla import fit_parametric

    points = _points(path)
    counted = "non_embedding_and_head_parameters"
    return fit_parametric(points, counted if points[counted].notna().any() else "parameters")


def print_comparison(path: Path) -> None:
    """Show a sweep's forecast beside what was measured since."""
    from analysis.results import compare_forecast, read_forecast
    from analysis.tables import comparison_table

    forecast = read_forecast(path)
    show(comparison_table(forecast, compare_forecast(forecast, _points(path))))

"""Publication figures of curves, fits and forecasts.

Each function takes the data or the fit, draws into the Axes given or new ones, and returns them; `save` writes PNG and
SVG. Nothing here fits.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import curves as curve_tables
from analysis import results
from analysis.errors import AnalysisError
from analysis.figures.axes import PARAMETERS, save, short
from analysis.figures.budgets import allocation
from analysis.figures.curves import collapsed_curves, loss_curves
from analysis.figures.evidence import coverage, forecasts, parameter_pairs
from analysis.figures.laws import fitted_losses, residuals, surface

__all__ = [
    "PARAMETERS",
    "allocation",
    "collapsed_curves",
    "collect",
    "coverage",
    "draw_all",
    "fitted_losses",
    "forecasts",
    "loss_curves",
    "parameter_pairs",
    "residuals",
    "save",
    "short",
    "surface",
]


def draw_all(sweep_dir: str | Path) -> list[Path]:
    """Draw every figure that the sweep directory has the data for into its `figures/`; returns the files written.

    Raises:
        AnalysisError: no run there has logged a held-out loss.
    """
    sweep_dir = Path(sweep_dir)
    paths = []
    for name, ax in collect(sweep_dir).items():
        figure = ax.figure
        assert isinstance(figure, Figure)
        paths += save(figure, sweep_dir / "figures", name)
    return paths


def collect(sweep_dir: Path) -> dict[str, Axes]:
    """The figures that the sweep directory has the data for, by name."""
    curves = curve_tables.read(sweep_dir)
    if curves["loss"].isna().all():
        raise AnalysisError(f"{sweep_dir}: no run has logged a held-out loss yet; nothing to draw")
    points = curve_tables.final_points(curves)
    has_fit, has_forecast = ((sweep_dir / name).is_file() for name in ("fit.json", "forecast.json"))
    if not has_fit:
        return {"loss-curves": loss_curves(curves)}
    fit = results.read_fit(sweep_dir)
    drawn = {
        "loss-curves": loss_curves(curves, fit.parameters_column),
        "fitted-losses": fitted_losses(fit, points),
        "surface": surface(fit, points),
        "residuals": residuals(fit, points),
        "allocation": allocation(fit),
    }
    if has_forecast:
        forecast = results.read_forecast(sweep_dir)
        drawn["forecast"] = forecasts(results.compare_forecast(forecast, points), forecast.level)
    return drawn

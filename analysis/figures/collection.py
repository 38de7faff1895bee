"""The figures that a study has the data for."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.errors import AnalysisError
from analysis.figures.axes import save
from analysis.figures.baselines import baselines
from analysis.figures.budgets import allocation
from analysis.figures.compute import frontiers, isoflops
from analysis.figures.contours import iso_losses
from analysis.figures.curves import collapsed_curves, loss_curves
from analysis.figures.evidence import forecasts, parameter_pairs
from analysis.figures.laws import fitted_losses, residuals, surface
from analysis.figures.trust import profiles, rollouts
from analysis.study import Study


def collect(study: Study) -> dict[str, Figure]:
    """The figures by name; what a procedure refused is left out, with its reason in `Study.refused`."""
    fit, points, found = study.fit, study.points, study.frontiers
    drawn: dict[str, Axes | np.ndarray] = {"loss-curves": loss_curves(study.curves, study.convention, found.get("approach 1"))}
    if (study.curves["baseline"] != "").any():
        drawn["baselines"] = baselines(study.curves, points, study.convention.parameters)
    if "approach 2" in found:
        drawn["isoflops"] = isoflops(found["approach 2"], points)
    if fit is not None:
        drawn |= {
            "fitted-losses": fitted_losses(fit, points),
            "surface": surface(fit, points),
            "iso-losses": iso_losses(fit, points),
            "residuals": residuals(fit, points),
            "allocation": allocation(fit),
            "parameter-pairs": parameter_pairs(fit),
        }
        if found:
            drawn["frontiers"] = frontiers({**found, "approach 3": fit})
        try:
            drawn["collapsed-curves"] = collapsed_curves(fit, study.curves)
        except AnalysisError as error:
            study.refused["collapsed curves"] = str(error)
        if study.profiles is not None:
            drawn["profiles"] = profiles(fit, study.profiles)
        if study.rollouts is not None:
            drawn["rollouts"] = rollouts(fit, study.rollouts)
    if study.comparison is not None and study.forecast is not None:
        drawn["forecast"] = forecasts(study.comparison, study.forecast.level)
    return {name: _figure(axes) for name, axes in drawn.items()}


def save_all(figures: Mapping[str, Figure], directory: str | Path) -> list[Path]:
    """Write every figure as PNG, SVG and PDF; returns the files."""
    return [path for name, figure in figures.items() for path in save(figure, directory, name)]


def _figure(axes: Axes | np.ndarray) -> Figure:
    figure = (axes.flat[0] if isinstance(axes, np.ndarray) else axes).figure
    assert isinstance(figure, Figure)
    return figure

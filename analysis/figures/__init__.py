"""Publication figures of curves, fits and forecasts.

Each function takes the data or the fit, draws into the Axes given or new ones, and returns them; `save` writes PNG, SVG and
PDF, and `collect` draws all that a `study` has the data for. Nothing here fits.
"""

from analysis.figures.axes import FORMATS, PARAMETERS, save, short
from analysis.figures.baselines import baselines
from analysis.figures.brackets import brackets
from analysis.figures.budgets import allocation
from analysis.figures.collection import collect, save_all
from analysis.figures.compute import frontiers, isoflops
from analysis.figures.contours import iso_losses
from analysis.figures.coordinates import coordinates
from analysis.figures.curves import collapsed_curves, loss_curves
from analysis.figures.evidence import coverage, forecasts, parameter_pairs
from analysis.figures.laws import fitted_losses, residuals, surface
from analysis.figures.trust import profiles, rollouts

__all__ = [
    "FORMATS",
    "PARAMETERS",
    "allocation",
    "baselines",
    "brackets",
    "collapsed_curves",
    "collect",
    "coordinates",
    "coverage",
    "fitted_losses",
    "forecasts",
    "frontiers",
    "iso_losses",
    "isoflops",
    "loss_curves",
    "parameter_pairs",
    "profiles",
    "residuals",
    "rollouts",
    "save",
    "save_all",
    "short",
    "surface",
]

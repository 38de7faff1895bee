"""How far a fit can be trusted: draws and intervals by method, and rollouts that test its extrapolation.

`methods` lists the methods and chooses the default; `bootstraps`, `linear`, `posterior` and `profile` are they; `rollouts`
measures what none of them can know, the error of the law beyond its data.
"""

from analysis.uncertainty.methods import DRAWN, METHODS, default_method, draw, interval, interval_of
from analysis.uncertainty.problem import Draws, Problem
from analysis.uncertainty.quantities import Quantity, optimal_loss, optimal_parameters, parameter, prediction
from analysis.uncertainty.rollouts import LAW_ERROR, Rollouts, roll_out

__all__ = [
    "DRAWN",
    "LAW_ERROR",
    "METHODS",
    "Draws",
    "Problem",
    "Quantity",
    "Rollouts",
    "default_method",
    "draw",
    "interval",
    "interval_of",
    "optimal_loss",
    "optimal_parameters",
    "parameter",
    "prediction",
    "roll_out",
]

"""Everything that figures and a report show of one set of curves: the fit, and what the other procedures make of them.

A procedure that refuses these data leaves its part empty, and its reason in `refused`: that is a result too.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd

from analysis.conventions import PARAMETERS, SIMPLE, Convention
from analysis.curves import final_points
from analysis.envelope import fit_envelope
from analysis.errors import AnalysisError
from analysis.fits import counted
from analysis.frontier import Frontier
from analysis.isoflop import fit_isoflop
from analysis.laws import Law
from analysis.results import Fit, Forecast, compare_forecast
from analysis.selection import Candidate, roll_out
from analysis.truth import Truth, find_truth
from analysis.uncertainty import parameter
from analysis.uncertainty.profile import profile_interval

LEVELS = (0.02, 0.2, 0.4, 0.68, 0.8, 0.9, 0.95, 0.99)  # at which profiles are drawn
DRAWS = 400  # behind each interval of the other procedures
ROLLOUT_DRAWS = 100
BUDGET = "label.budget"  # of a sweep over budgets: these are recorded FLOPs, which 6ND scatters at small sizes
Found = TypeVar("Found")


@dataclass(frozen=True)
class Study:
    """What is known of a set of curves.

    Attributes:
        curves: the table of `curves.read`.
        points: of `curves.final_points`.
        convention: of N and C in all of it.
        fit: the parametric law.
        truth: its irreducible loss beside the entropy of the data, where that is known.
        frontiers: approaches 1 and 2, by name, as far as they found something.
        profiles: of `profile_table`.
        rollouts: of `selection.roll_out`.
        forecast: predictions written before their runs began.
        comparison: of `results.compare_forecast`.
        refused: what could not be had, and why.
    """

    curves: pd.DataFrame
    points: pd.DataFrame
    convention: Convention
    fit: Fit | None
    truth: Truth | None
    frontiers: dict[str, Frontier]
    profiles: pd.DataFrame | None
    rollouts: pd.DataFrame | None
    forecast: Forecast | None
    comparison: pd.DataFrame | None
    refused: dict[str, str]


def study(curves: pd.DataFrame, fit: Fit | None, forecast: Forecast | None = None, reason: str = "no fit was given") -> Study:
    """Run the other procedures on the curves that a fit was made of.

    Args:
        curves: from `curves.read`.
        fit: of their final points; its convention of N is that of everything.
        forecast: made from them earlier.
        reason: why there is no fit, where there is none.

    Raises:
        AnalysisError: no run has a loss yet.
    """
    if curves["loss"].isna().all():
        raise AnalysisError("no run has logged a held-out loss yet; there is nothing to study")
    points = final_points(curves)
    named = [fit.parameters_column] if fit else [PARAMETERS, "parameters"]
    convention = Convention(next(name for name in named if curves[name].notna().any() or name == named[-1]), SIMPLE)
    refused = {} if fit else {"the law": reason}

    def attempt(name: str, procedure: Callable[[], Found]) -> Found | None:
        try:
            return procedure()
        except AnalysisError as error:
            refused[name] = str(error)
            return None

    fitted = curves[curves["run"].isin(points["run"][points["excluded"] == ""])]
    level = fit.level if fit else 0.9
    in_budgets = Convention(convention.parameters, "flops") if BUDGET in points else convention
    frontiers = {
        "approach 1": attempt("approach 1", lambda: fit_envelope(fitted, convention, level=level, draws=DRAWS)),
        "approach 2": attempt("approach 2", lambda: fit_isoflop(points, in_budgets, level=level, draws=DRAWS)),
    }
    return Study(
        curves=curves,
        points=points,
        convention=convention,
        fit=fit,
        truth=find_truth(fit, points) if fit else None,
        frontiers={name: each for name, each in frontiers.items() if each is not None},
        profiles=attempt("profiles", lambda: profile_table(fit, points)) if fit else None,
        rollouts=attempt("rollouts", lambda: _rollouts(fit, points)) if fit else None,
        forecast=forecast,
        comparison=compare_forecast(forecast, points) if forecast else None,
        refused=refused,
    )


def profile_table(fit: Fit, points: pd.DataFrame, levels: tuple[float, ...] = LEVELS) -> pd.DataFrame:
    """The profile-likelihood interval of each parameter at several levels: together, the shape of its likelihood.

    Returns:
        One row per parameter and level: `parameter`, `level`, `low` and `high` (infinite, or zero, where no value is refused).

    Raises:
        AnalysisError: several points per run, whose noise is not independent.
    """
    law, logs, log_values, runs = logarithms(fit, points)
    if runs.duplicated().any():
        raise AnalysisError("a profile takes the noise of every point as independent, and runs here have several")
    rows = []
    for name in law.names:
        quantity = parameter(law, name)
        for level in levels:
            ends = profile_interval(law, logs, log_values[None], fit.theta[None], quantity, level)
            low, high = (float(quantity.value(end[0])) for end in ends)
            rows.append({"parameter": name, "level": level, "low": low, "high": high})
    return pd.DataFrame(rows)


def _rollouts(fit: Fit, points: pd.DataFrame) -> pd.DataFrame:
    law, logs, log_values, _ = logarithms(fit, points)
    sizes = law.sizes(np.exp(logs))
    rolled = roll_out(Candidate(law), logs, log_values, sizes, delta=fit.delta, level=fit.level, draws=ROLLOUT_DRAWS)
    if rolled.empty:
        raise AnalysisError("too few runs to fit the law without the largest of them")
    return rolled


def logarithms(fit: Fit, points: pd.DataFrame) -> tuple[Law, np.ndarray, np.ndarray, pd.Series]:
    """The law, logarithms of its variables (V, N) and target (N,) at the fitted points, and their runs."""
    rows, _ = counted(points, fit.form, fit.columns)
    logs = np.log(rows[[fit.columns[name] for name in fit.form.variables]].to_numpy(float).T)
    return fit.form, logs, np.log(rows[fit.columns[fit.form.target]].to_numpy(float)), rows["run"]

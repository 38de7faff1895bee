"""The known ways to fool oneself, looked for in the fit and the data at hand: one small function each."""

import pandas as pd

from analysis.checks import data, evidence, sensitivity
from analysis.checks.finding import SEVERITIES, Case, Finding
from analysis.results import Fit

__all__ = ["Case", "Finding", "find"]


def find(fit: Fit | None, points: pd.DataFrame, comparison: pd.DataFrame | None = None) -> list[Finding]:
    """What a reader has to know before believing the fit, the most severe first.

    Args:
        fit: the fit, or None where there is none yet.
        points: one row per run as it was given to the fit, with the reason in `excluded` where one does not count.
        comparison: forecasts beside measured losses, from `results.compare_forecast`.
    """
    found = [finding for check in data.CHECKS for finding in check(points)]
    if fit is None:
        found.append(Finding("no_fit", "serious", "There is no fit yet.", 0.0, "`scaling fit` writes one."))
    else:
        case = Case(fit, points, comparison)
        found += [finding for check in (*evidence.CHECKS, *sensitivity.CHECKS) for finding in check(case)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))

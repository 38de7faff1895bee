"""The known ways to fool oneself, looked for in the fit and the data at hand: one small function each."""

from collections.abc import Iterable
from inspect import getdoc

import pandas as pd

from analysis.checks import data, evidence, sensitivity
from analysis.checks.finding import SEVERITIES, Case, Finding, Verdict
from analysis.results import Fit

__all__ = ["Case", "Finding", "Verdict", "find", "severest_first", "verdicts"]


def find(fit: Fit | None, points: pd.DataFrame, comparison: pd.DataFrame | None = None) -> list[Finding]:
    """What a reader has to know before believing the fit, the most severe first; see `verdicts`."""
    return severest_first(verdicts(fit, points, comparison))


def severest_first(said: Iterable[Verdict]) -> list[Finding]:
    """The findings of all checks, the most severe first."""
    found = [finding for verdict in said for finding in verdict.findings]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def verdicts(fit: Fit | None, points: pd.DataFrame, comparison: pd.DataFrame | None = None) -> list[Verdict]:
    """What each check says, in their order.

    Args:
        fit: the fit, or None where there is none yet.
        points: one row per run as it was given to the fit, with the reason in `excluded` where one does not count.
        comparison: forecasts beside measured losses, from `results.compare_forecast`.
    """
    said = [_verdict(check, list(check(points))) for check in data.CHECKS]
    if fit is None:
        missing = Finding("no_fit", "serious", "There is no fit yet.", 0.0, "`scaling fit` writes one.")
        return [*said, Verdict("no_fit", "A fit to check.", [missing])]
    case = Case(fit, points, comparison)
    return [*said, *(_verdict(check, list(check(case))) for check in (*evidence.CHECKS, *sensitivity.CHECKS))]


def _verdict(check: object, findings: list[Finding]) -> Verdict:
    name = getattr(check, "__name__", "").replace("_", " ")
    return Verdict(f"sensitivity {name}" if name.startswith("to ") else name, (getdoc(check) or name).splitlines()[0], findings)

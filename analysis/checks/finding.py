"""What a check looks at and what it says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from analysis.laws import Array
from analysis.results import Fit

Severity = Literal["serious", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("serious", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One pitfall that the fit or the data stand in.

    Attributes:
        name: of the check.
        severity: `serious` where the answer may be wrong, `warning` where it may mislead, `note` where it is limited.
        text: what was found, in one sentence.
        figure: the number behind it, which grows with the trouble unless the text says otherwise.
        advice: what to do.
        shown_by: the function of `figures` that shows it, empty where none does.
    """

    name: str
    severity: Severity
    text: str
    figure: float
    advice: str
    shown_by: str = ""


@dataclass(frozen=True)
class Verdict:
    """What one check says.

    Attributes:
        name: of the check, in words.
        looks_for: the pitfall, in one sentence.
        findings: where the data or the fit stand in it; empty where they do not.
    """

    name: str
    looks_for: str
    findings: list[Finding]


@dataclass(frozen=True)
class Case:
    """A fit beside the points it was made from.

    Attributes:
        fit: the fit.
        points: the table of points, also those that do not count.
        comparison: forecasts beside measured losses, see `results.compare_forecast`; None without a forecast.
    """

    fit: Fit
    points: pd.DataFrame
    comparison: pd.DataFrame | None = None

    @cached_property
    def counted(self) -> pd.DataFrame:
        """The fitted points, one row each."""
        return counted(self.points)

    @cached_property
    def logs(self) -> Array:
        """Natural logarithms of the law's variables at the fitted points (V, N)."""
        columns = [self.fit.columns[name] for name in self.fit.form.variables]
        return np.log(self.counted[columns].to_numpy(float).T)

    @cached_property
    def log_values(self) -> Array:
        """Natural logarithms of the target at the fitted points (N,)."""
        return np.log(self.counted[self.fit.columns[self.fit.form.target]].to_numpy(float))

    @cached_property
    def sizes(self) -> Array:
        """How far each fitted point is (N,), see `Law.size`."""
        return self.fit.form.sizes(np.exp(self.logs))

    @cached_property
    def residuals(self) -> Array:
        """Measured minus fitted log target (N,)."""
        return self.log_values - self.fit.form.log_value(self.fit.theta, self.logs)


def counted(points: pd.DataFrame) -> pd.DataFrame:
    """The points that count in a fit."""
    return points[points["excluded"].fillna("") == ""] if "excluded" in points else points


PointsCheck = Callable[[pd.DataFrame], Iterator[Finding]]
FitCheck = Callable[[Case], Iterator[Finding]]

"""How an answer settles as runs come in: the same law fitted to the first runs that ended, then to more and more of them."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from analysis.allocation import compute_optimal
from analysis.errors import AnalysisError
from analysis.fits import fit_law
from analysis.laws import law
from analysis.results import Fit

PLACES = 6  # at how many numbers of runs the law is fitted
DRAWS = 200  # behind each interval


class Growth:
    """The law of the runs that have ended so far, and of those that had at earlier moments; fits are made once.

    Attributes:
        name: of the law.
        level: of the intervals.
    """

    def __init__(self, name: str = "chinchilla", level: float = 0.9):
        self.name, self.level = name, level
        self._fits: dict[tuple[str, ...], Fit | AnalysisError] = {}

    def follow(self, points: pd.DataFrame, parameters: str, order: Sequence[str], budget: float) -> dict[str, Any]:
        """The law now, and what it said of one budget with fewer runs.

        Args:
            points: of `curves.final_points`.
            parameters: the column that N is read from.
            order: ids of the runs in the order in which they ended.
            budget: FLOPs of the compute-optimal run whose loss is followed.

        Returns:
            `formula`, `level`, `budget`, `estimates` by name, and `history`: rows of `runs` (how many), `loss`, `low`, `high`.

        Raises:
            AnalysisError: the runs so far cannot carry the law, and why.
        """
        counted = points[points["excluded"] == ""].set_index("run", drop=False)
        ended = [run for run in order if run in counted.index]
        if not ended:
            raise AnalysisError("no run has ended")
        found = self._fit(counted.loc[ended], parameters)
        if isinstance(found, AnalysisError):
            raise found
        step = -(-len(ended) // PLACES)
        earlier = [(count, self._fit(counted.loc[ended[:count]], parameters)) for count in range(step, len(ended), step)]
        history = []
        for count, each in [*earlier, (len(ended), found)]:
            if isinstance(each, Fit):
                best = compute_optimal(each, [budget]).iloc[0]
                history.append({"runs": count, "loss": best["loss"], "low": best["loss_low"], "high": best["loss_high"]})
        return {
            "formula": found.form.formula,
            "level": self.level,
            "budget": budget,
            "estimates": {
                name: {"value": each.value, "low": each.low, "high": each.high} for name, each in found.estimates.items()
            },
            "history": history,
        }

    def _fit(self, points: pd.DataFrame, parameters: str) -> Fit | AnalysisError:
        key = (parameters, *sorted(points["run"]))
        if key not in self._fits:
            try:
                self._fits[key] = fit_law(points, law(self.name), {"parameters": parameters}, level=self.level, draws=DRAWS)
            except AnalysisError as error:
                self._fits[key] = error
        return self._fits[key]

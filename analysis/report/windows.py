"""Fits to the runs within a range of size, and what they say of the runs beyond it: all that a reader can brush.

Shapes: `N` fitted points.
"""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis import fitting
from analysis.results import Fit
from analysis.study import logarithms

EDGES = 10  # ends that a range can have: 45 fits
STARTS = 3  # of each of the many fits


def windows(fit: Fit, points: pd.DataFrame) -> dict[str, Any]:
    """The law of a fit, fitted again to the runs of every range between ten sizes of its points.

    Args:
        fit: whose law, columns and penalty count.
        points: that it was made from.

    Returns:
        `edges` (sizes, rising), `runs` and `sizes` of the points (N), and `fits`: for each range that carries the law, `low`
        and `high` (positions among the edges), `parameters` by name, and `errors`, per cent by which
        the measured target is above the predicted (N).
    """
    law, logs, log_values, runs = logarithms(fit, points)
    sizes = law.sizes(np.exp(logs))
    present = np.unique(sizes)
    edges = present[np.unique(np.linspace(0, len(present) - 1, min(EDGES, len(present))).round().astype(int))]
    fits = []
    for low, high in combinations(range(len(edges)), 2):
        seen = (sizes >= edges[low]) & (sizes <= edges[high])
        if not fitting.carries(law, logs[:, seen]):
            continue
        theta = fitting.fit(law, logs[:, seen], log_values[seen], delta=fit.delta, starts=STARTS).solution.theta[0]
        errors = 100 * np.expm1(log_values - law.log_value(theta, logs))
        parameters = dict(zip(law.names, law.to_parameters(theta).tolist(), strict=True))
        fits.append({"low": low, "high": high, "parameters": parameters, "errors": errors})
    return {"edges": edges, "runs": runs.tolist(), "sizes": sizes, "fits": fits}

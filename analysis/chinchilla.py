"""Approach 3 of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.3): a parametric loss fitted to all runs.

Approaches 1 and 2 are in `envelope` and `isoflop`.
"""

from dataclasses import replace

import pandas as pd

from analysis.errors import AnalysisError
from analysis.fits import DRAWS, fit_law
from analysis.laws import Chinchilla
from analysis.penalties import OBJECTIVES
from analysis.results import Fit


def fit_parametric(
    points: pd.DataFrame,
    parameters: str = "non_embedding_and_head_parameters",
    *,
    objective: str = "huber-log",
    delta: float | None = None,
    level: float = 0.9,
    draws: int = DRAWS,
    seed: int = 0,
) -> Fit:
    """Approach 3: E + A / N^alpha + B / D^beta, with N read from the column `parameters`; see `fits.fit_law`.

    Args:
        points: see `fits.fit_law`.
        parameters: the convention.
        objective: one of `penalties.OBJECTIVES`, which says who published it.
        delta: of its Huber loss; the published one where absent.
        level: see `fits.fit_law`.
        draws: see `fits.fit_law`.
        seed: see `fits.fit_law`.

    Raises:
        AnalysisError: an unknown objective, and all that `fits.fit_law` raises.
    """
    if objective not in OBJECTIVES:
        raise AnalysisError(f"objective must be one of {', '.join(OBJECTIVES)}, not {objective!r}")
    penalty = OBJECTIVES[objective][0]
    if delta is not None:
        penalty = replace(penalty, delta=delta)
    return fit_law(points, Chinchilla(), {"parameters": parameters}, delta=penalty, level=level, draws=draws, seed=seed)

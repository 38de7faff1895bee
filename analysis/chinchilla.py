"""The procedures of Hoffmann et al. 2022 (arXiv 2203.15556), built from the solver and the intervals."""

import pandas as pd

from analysis import fitting
from analysis.fits import DRAWS, fit_law
from analysis.laws import Chinchilla
from analysis.results import Fit


def fit_parametric(
    points: pd.DataFrame,
    parameters: str = "non_embedding_and_head_parameters",
    *,
    delta: float = fitting.DELTA,
    level: float = 0.9,
    draws: int = DRAWS,
    seed: int = 0,
) -> Fit:
    """Approach 3: E + A / N^alpha + B / D^beta, with N read from the column `parameters`; see `fits.fit_law`."""
    return fit_law(points, Chinchilla(), {"parameters": parameters}, delta=delta, level=level, draws=draws, seed=seed)

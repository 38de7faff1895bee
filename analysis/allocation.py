"""Where compute is best spent: N* and D* that minimise the loss at a budget, in closed form and with intervals."""

import numpy as np
import pandas as pd

from analysis import uncertainty
from analysis.errors import AnalysisError
from analysis.forecasting import law_errors
from analysis.laws import Array
from analysis.results import Fit

LOG_RANGE = (0.0, 230.0)  # from one parameter to 1e100: a draw without an interior optimum counts as the end it runs to


def compute_optimal(fit: Fit, budgets: Array | list[float]) -> pd.DataFrame:
    """Compute-optimal allocation under C = 6 N D (Hoffmann et al. 2022, eq. 4).

    N* = G (C/6)^(beta/(alpha+beta)), D* = (C/6)^(alpha/(alpha+beta)) / G, G = (alpha A / (beta B))^(1/(alpha+beta)).
    N is counted in the convention of the fit. Intervals hold the error of the parameters, and that of the loss also the
    law's error beyond the data (see `forecasting.forecast`); not the noise of a run.

    Args:
        fit: of the Chinchilla law.
        budgets: FLOPs (K,).

    Returns:
        One row per budget: `budget`, then `parameters`, `tokens`, `tokens_per_parameter` and `loss`, each with `_low`
        and `_high`, and `extrapolation`, the budget over the largest fitted run's FLOPs.

    Raises:
        AnalysisError: another law, or a budget that is not positive.
    """
    budgets = np.atleast_1d(np.asarray(budgets, float))
    if fit.law != "chinchilla":
        raise AnalysisError(f"no compute-optimal allocation of the {fit.law} law; it is known for the chinchilla law")
    if not (np.isfinite(budgets) & (budgets > 0)).all():
        raise AnalysisError(f"budgets are FLOPs and must be positive, not {budgets.tolist()}")
    log_n, log_d = _optimum(fit.theta, budgets)
    drawn_n, drawn_d = _optimum(fit.draws, budgets)
    log_loss = _loss(fit.theta, log_n, log_d)
    drawn_loss = _loss(fit.draws, drawn_n, drawn_d) + law_errors(fit, budgets)
    columns = {"budget": budgets}
    for name, value, draws in (
        ("parameters", log_n, drawn_n),
        ("tokens", log_d, drawn_d),
        ("tokens_per_parameter", log_d - log_n, drawn_d - drawn_n),
        ("loss", log_loss, drawn_loss),
    ):
        low, high = uncertainty.interval(draws, fit.level)
        columns |= {name: np.exp(value), f"{name}_low": np.exp(low), f"{name}_high": np.exp(high)}
    return pd.DataFrame(columns).assign(extrapolation=budgets / fit.largest)


def _optimum(theta: Array, budgets: Array) -> tuple[Array, Array]:
    """Logarithms of N* and D*, (..., K), for coordinates (..., P)."""
    _, a, b, alpha, beta = np.moveaxis(theta, -1, 0)[..., None]
    alpha, beta = np.maximum(alpha, 1e-9), np.maximum(beta, 1e-9)
    log_g = (np.log(alpha) + a - np.log(beta) - b) / (alpha + beta)
    log_nd = np.log(budgets / 6)
    log_n = log_g + log_nd * beta / (alpha + beta)
    return np.clip(log_n, *LOG_RANGE), np.clip(log_nd - log_n, *LOG_RANGE)


def _loss(theta: Array, log_n: Array, log_d: Array) -> Array:
    """Log loss at (..., K) optima, each under its own coordinates."""
    e, a, b, alpha, beta = np.moveaxis(theta, -1, 0)[..., None]
    return np.logaddexp(e, np.logaddexp(a - alpha * log_n, b - beta * log_d))

"""Where compute is best spent: the N* and D* that minimise the loss of any law in (N, D) at a budget, with intervals.

Shapes: `K` budgets, `R` draws, `P` parameters of the law, `G` places of a search; `...` any batch of coordinates.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis import uncertainty
from analysis.errors import AnalysisError
from analysis.forecasting import law_errors
from analysis.laws import Array, Law
from analysis.results import Fit

LOG_RANGE = (0.0, 230.0)  # from one parameter to 1e100: a draw without an interior optimum counts as the end it runs to
PLACES = 241
ZOOMS = 7


def compute_optimal(fit: Fit, budgets: Array | list[float], given: Mapping[str, float] | None = None) -> pd.DataFrame:
    """Compute-optimal allocation under C = 6 N D (Hoffmann et al. 2022, arXiv 2203.15556, eq. 4).

    For the Chinchilla law N* = G (C/6)^(beta/(alpha+beta)), D* = (C/6)^(alpha/(alpha+beta)) / G,
    G = (alpha A / (beta B))^(1/(alpha+beta)); for any other law of parameters and tokens by a search that no start can
    mislead. N is counted in the convention of the fit. Intervals hold the error of the parameters, and that of the loss
    also the law's error beyond the data (see `forecasting.forecast`); not the noise of a run.

    Args:
        fit: of a law of `parameters` and `tokens`.
        budgets: FLOPs (K,).
        given: values of the law's other variables, where it has any.

    Returns:
        One row per budget: `budget`, then `parameters`, `tokens`, `tokens_per_parameter` and `loss`, each with `_low`
        and `_high`, and `extrapolation`, the budget over the largest fitted run's FLOPs.

    Raises:
        AnalysisError: a law of something else, a variable without a value, or a budget that is not positive.
    """
    budgets = positive(budgets, "budgets are FLOPs and")
    log_n, log_d, log_loss = optimum(fit.form, fit.theta, budgets, given)
    drawn_n, drawn_d, drawn_loss = optimum(fit.form, fit.draws, budgets, given)
    columns = {"budget": budgets}
    for name, value, draws in (
        ("parameters", log_n, drawn_n),
        ("tokens", log_d, drawn_d),
        ("tokens_per_parameter", log_d - log_n, drawn_d - drawn_n),
        ("loss", log_loss, drawn_loss + law_errors(fit, budgets)),
    ):
        columns |= with_interval(name, value, draws, fit.level)
    return pd.DataFrame(columns).assign(extrapolation=budgets / fit.largest)


def optimum(law: Law, theta: Array, budgets: Array, given: Mapping[str, float] | None = None) -> tuple[Array, Array, Array]:
    """Logarithms of N*, D* and L*, (..., K), for coordinates (..., P) and budgets (K,)."""
    predict = predictor(law, given)
    log_nd = np.log(budgets / 6)
    if law.name == "chinchilla":
        _, a, b, alpha, beta = np.moveaxis(theta, -1, 0)[..., None]
        alpha, beta = np.maximum(alpha, 1e-9), np.maximum(beta, 1e-9)
        log_g = (np.log(alpha) + a - np.log(beta) - b) / (alpha + beta)
        log_n = np.clip(log_g + log_nd * beta / (alpha + beta), *LOG_RANGE)
    else:
        lanes = np.atleast_2d(theta)[:, None]
        low, high = np.zeros_like(log_nd)[:, None], np.maximum(log_nd, 0.0)[:, None]
        log_n = lowest(lambda x: predict(lanes, x, log_nd[:, None] - x), low, high, (len(lanes), len(budgets)))
        log_n = log_n.reshape(*theta.shape[:-1], len(budgets))
    log_d = np.clip(log_nd - log_n, *LOG_RANGE)
    log_loss = predict(theta[..., None, :], log_n[..., None], log_d[..., None])[..., 0]
    return log_n, log_d, log_loss


def lowest(height: Callable[[Array], Array], low: Array, high: Array, shape: tuple[int, ...]) -> Array:
    """The x of the least `height` between bounds, for each of `shape` lanes: a grid, then finer ones around its best.

    Args:
        height: of x (*shape, G), the same shape.
        low: of the search, broadcast against (*shape, 1).
        high: of it.
        shape: of the lanes.
    """
    low, high = (np.broadcast_to(bound, (*shape, 1)).astype(float) for bound in (low, high))
    share = np.linspace(0, 1, PLACES)
    for _ in range(ZOOMS):
        x = low + (high - low) * share
        best = np.take_along_axis(x, height(x).argmin(-1)[..., None], -1)
        step = (high - low) / (len(share) - 1)
        low, high = np.maximum(low, best - step), np.minimum(high, best + step)
        share = np.linspace(0, 1, 13)
    return best[..., 0]


def predictor(law: Law, given: Mapping[str, float] | None = None) -> Callable[[Array, Array, Array], Array]:
    """The law as a function of coordinates (..., P), log N and log D (..., G), with the other variables at given values.

    Raises:
        AnalysisError: a law without parameters and tokens, or a variable without a value.
    """
    if not {"parameters", "tokens"} <= set(law.variables) or law.target != "loss":
        raise AnalysisError(
            f"no allocation of the {law.name} law: it needs a loss of parameters and tokens, this is {law.target} of "
            f"{', '.join(law.variables)}"
        )
    missing = [name for name in law.variables if name not in {"parameters", "tokens", *(given or {})}]
    if missing:
        raise AnalysisError(
            f"the {law.name} law also needs {', '.join(missing)}: give a value, as in given={{{missing[0]!r}: 1e9}}"
        )

    def predict(theta: Array, log_n: Array, log_d: Array) -> Array:
        logs = {"parameters": log_n, "tokens": log_d, **{name: np.log(value) for name, value in (given or {}).items()}}
        return law.expression(list(np.moveaxis(theta, -1, 0)[..., None]), [logs[name] for name in law.variables])

    return predict


def positive(values: Array | list[float] | float, what: str) -> Array:
    """The values as an array (K,).

    Raises:
        AnalysisError: one is not positive and finite.
    """
    array = np.atleast_1d(np.asarray(values, float))
    if not (np.isfinite(array) & (array > 0)).all():
        raise AnalysisError(f"{what} must be positive, not {array.tolist()}")
    return array


def with_interval(name: str, value: Array, draws: Array, level: float) -> dict[str, Array]:
    """Columns of a quantity (K,) and its interval, from logarithms and draws of them (R, K)."""
    low, high = uncertainty.interval(draws, level)
    return {name: np.exp(value), f"{name}_low": np.exp(low), f"{name}_high": np.exp(high)}

"""Away from the compute-optimal point: equal losses, smaller models trained longer, and what serving them changes.

All of it for any law of parameters and tokens, under 6 N D FLOPs of training and 2 N FLOPs per token served.

Shapes: `K` rows asked for, `R` draws, `P` parameters of the law, `G` places of a search.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis.allocation import LOG_RANGE, lowest, optimum, positive, predictor, with_interval
from analysis.errors import AnalysisError
from analysis.forecasting import law_errors
from analysis.laws import Array, Law
from analysis.results import Fit

FRONTIER_PLACES = 61
NEVER = LOG_RANGE[1] - 1e-6
LARGEST = np.log(1e18)  # parameters that a search for the cheapest model looks at


def iso_loss(fit: Fit, loss: float, parameters: Array | list[float], given: Mapping[str, float] | None = None) -> pd.DataFrame:
    """The tokens that bring models of given sizes to one loss: a contour of the law.

    Args:
        fit: of a law of `parameters` and `tokens` that falls with tokens.
        loss: nats per token.
        parameters: sizes (K,).
        given: values of the law's other variables.

    Returns:
        One row per size that reaches the loss: `parameters`; `tokens` and `flops`, each with `_low` and `_high`
        (`_high` is beyond 1e99 where the interval holds a law by which the size never reaches it).

    Raises:
        AnalysisError: no size reaches the loss, and all that `allocation.predictor` raises.
    """
    log_n = np.log(positive(parameters, "parameters"))
    log_loss = np.log(positive(loss, "loss"))
    tokens = _tokens(fit.form, fit.theta[None], log_n[None], log_loss, given)[0]
    reached = tokens < NEVER
    if not reached.any():
        raise AnalysisError(
            f"no size of {np.exp(log_n).tolist()} reaches a loss of {loss:g} by this law, with any number of tokens"
        )
    log_n, tokens = log_n[reached], tokens[reached]
    drawn = _tokens(fit.form, fit.draws, np.broadcast_to(log_n, (len(fit.draws), len(log_n))), log_loss, given)
    cost = np.log(6) + log_n
    return pd.DataFrame(
        {"parameters": np.exp(log_n)}
        | with_interval("tokens", tokens, drawn, fit.level)
        | with_interval("flops", cost + tokens, cost + drawn, fit.level)
    )


def over_training(
    fit: Fit, budgets: Array | list[float], multipliers: Array | list[float], given: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """What small models trained long cost: at a budget and a token multiplier M = D/N (Gadre et al. 2024, arXiv 2403.08540).

    N = sqrt(C / 6M) and D = M N. `excess` is the loss over the compute-optimal one of the same budget, and `overhead` the
    compute over what the compute-optimal model of the same loss takes: both 1 at M*.

    Returns:
        One row per budget and multiplier: `budget`, `tokens_per_parameter`, `parameters`, `tokens`; `loss`, `excess` and
        `overhead`, each with `_low` and `_high`; the intervals are of paired draws, and hold no law error but the loss's.

    Raises:
        AnalysisError: a value that is not positive, and all that `allocation.predictor` raises.
    """
    budget, multiple = (
        axis.ravel() for axis in np.meshgrid(positive(budgets, "budgets"), positive(multipliers, "multipliers"), indexing="ij")
    )
    log_n = 0.5 * np.log(budget / (6 * multiple))
    log_d = log_n + np.log(multiple)
    places = np.linspace(np.log(budget.min()) - 20, np.log(budget.max()), FRONTIER_PLACES)
    found = []
    for theta in (fit.theta[None], fit.draws):
        log_loss = predictor(fit.form, given)(theta, log_n, log_d)
        best = optimum(fit.form, theta, budget, given)[2]
        found.append((log_loss, log_loss - best, np.log(budget) - budget_of_loss(fit.form, theta, log_loss, places, given)))
    (value, *ratios), (drawn, *drawn_ratios) = found
    columns = {"budget": budget, "tokens_per_parameter": multiple, "parameters": np.exp(log_n), "tokens": np.exp(log_d)}
    columns |= with_interval("loss", value[0], drawn + law_errors(fit, budget), fit.level)
    for name, ratio, draws in zip(("excess", "overhead"), ratios, drawn_ratios, strict=True):
        columns |= with_interval(name, ratio[0], draws, fit.level)
    return pd.DataFrame(columns)


def inference_aware(
    fit: Fit, loss: float, served: Array | list[float], given: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """The cheapest way to train to a loss and then serve tokens (Sardana et al. 2023, arXiv 2401.00448, section 2).

    Minimises 6 N D + 2 N D_served over N and D with L(N, D) = loss.

    Args:
        fit: of a law of `parameters` and `tokens` that falls with tokens.
        loss: nats per token that the model must reach.
        served: tokens of inference over its life (K,); 0 gives the compute-optimal model of that loss.
        given: values of the law's other variables.

    Returns:
        One row per number of served tokens: `served`; `parameters`, `tokens`, `flops` (of training and serving) and
        `saving` (the factor by which they exceed it if the compute-optimal model of that loss is served), each with
        `_low` and `_high`.

    Raises:
        AnalysisError: a negative number of tokens, a loss that no size reaches, and all that `allocation.predictor` raises.
    """
    served = np.atleast_1d(np.asarray(served, float))
    if not (np.isfinite(served) & (served >= 0)).all():
        raise AnalysisError(f"served tokens must be 0 or more, not {served.tolist()}")
    log_loss = np.log(positive(loss, "loss"))
    at_optimum, drawn = (_cheapest(fit.form, theta, log_loss, served, given) for theta in (fit.theta[None], fit.draws))
    if (at_optimum["tokens"] > NEVER).any():
        raise AnalysisError(f"no size reaches a loss of {loss:g} by this law, with any number of tokens")
    columns = {"served": served}
    for name, value in at_optimum.items():
        columns |= with_interval(name, value[0], drawn[name], fit.level)
    return pd.DataFrame(columns)


def _cheapest(law: Law, theta: Array, log_loss: Array, served: Array, given: Mapping[str, float] | None) -> dict[str, Array]:
    """Logarithms of N, D, lifetime FLOPs and the factor saved, (R, K)."""

    def training(log_n: Array) -> Array:
        return _tokens(law, theta, log_n, log_loss, given)

    def lifetime(log_n: Array, tokens: float) -> Array:
        return log_n + np.log(6 * np.exp(training(log_n)) + 2 * tokens)

    def cheapest(tokens: float) -> Array:
        return lowest(lambda log_n: lifetime(log_n, tokens), np.zeros(1), np.full(1, LARGEST), (len(theta),))[:, None]

    compute_optimal = cheapest(0.0)
    columns: dict[str, list[Array]] = {"parameters": [], "tokens": [], "flops": [], "saving": []}
    for tokens in served:
        best = cheapest(tokens)
        cost = lifetime(best, tokens)
        columns["parameters"].append(best)
        columns["tokens"].append(training(best))
        columns["flops"].append(cost)
        columns["saving"].append(lifetime(compute_optimal, tokens) - cost)
    return {name: np.concatenate(values, 1) for name, values in columns.items()}


def _tokens(law: Law, theta: Array, log_n: Array, log_loss: Array, given: Mapping[str, float] | None) -> Array:
    """Log D (R, G) at which sizes (R, G) reach a loss by coordinates (R, P), by bisection; above `NEVER` where they do not."""
    predict = predictor(law, given)
    low, high = np.full_like(log_n, LOG_RANGE[0]), np.full_like(log_n, LOG_RANGE[1])
    for _ in range(50):
        middle = 0.5 * (low + high)
        short = predict(theta, log_n, middle) > log_loss
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return high


def budget_of_loss(law: Law, theta: Array, log_loss: Array, places: Array, given: Mapping[str, float] | None = None) -> Array:
    """Log C of the compute-optimal model with each loss (R, K), sought between places of log C (G,) and at most the last."""
    frontier = optimum(law, theta, np.exp(places), given)[2]
    return np.stack([np.interp(-mine, -line, places) for mine, line in zip(log_loss, frontier, strict=True)])

"""The compute-optimal frontier as approaches 1 and 2 of Hoffmann et al. 2022 find it: optima at budgets, lines through them.

N* = k C^a, D* = k C^b and D*/N* = k C^(b - a) are straight lines in logarithms (their section 3.1); the loss there is
L*(C) = E + A / C^gamma. Every number has an interval from draws, which are refits of everything.

Shapes: `R` draws, `K` budgets.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import fitting
from analysis.allocation import positive
from analysis.conventions import Array, Convention
from analysis.fits import estimate
from analysis.laws import M2
from analysis.penalties import NEVER
from analysis.results import Estimate

QUANTITIES = ("parameters", "tokens", "tokens_per_parameter", "loss")
FEWEST_BUDGETS = 3


@dataclass(frozen=True)
class PowerLaw:
    """y = coefficient x C^exponent, a weighted least-squares line in logarithms.

    Attributes:
        coefficient: k, in the unit of y per FLOP^exponent. It moves against the exponent: use `at` for values.
        exponent: a.
        centre: log C where the two are least correlated.
        line: log y there, and the exponent (2,).
        draws: of `line` (R, 2).
    """

    coefficient: Estimate
    exponent: Estimate
    centre: float
    line: Array
    draws: Array

    def at(self, log_budgets: Array) -> tuple[Array, Array]:
        """Log y at budgets (K,), and its draws (R, K)."""
        away = log_budgets - self.centre
        return self.line[0] + self.line[1] * away, self.draws[:, :1] + self.draws[:, 1:] * away


@dataclass(frozen=True)
class LossCurve:
    """L*(C) = E + A / C^gamma.

    Attributes:
        estimates: E (nats per token), A and gamma.
        theta: coordinates of `laws.M2` in FLOPs.
        draws: of them (R, 3).
    """

    estimates: dict[str, Estimate]
    theta: Array
    draws: Array


@dataclass(frozen=True)
class Frontier:
    """What one of the two procedures found.

    Attributes:
        procedure: its name and settings, in words.
        convention: how N and C are counted.
        optima: one row per budget used: `budget` (FLOPs), and `parameters`, `tokens`, `tokens_per_parameter` and `loss`,
            each with `_low` and `_high`.
        excluded: budgets not used, each with the reason.
        laws: the power law of each of these four; that of the loss has nothing irreducible, as Kaplan et al. 2020 have it.
        loss: the frontier's loss with an irreducible part; None where there are too few budgets for its three parameters.
        notes: what a reader has to know before believing it.
        level: of every interval.
        interval_method: how the draws were made.
    """

    procedure: str
    convention: Convention
    optima: pd.DataFrame
    excluded: dict[float, str]
    laws: dict[str, PowerLaw]
    loss: LossCurve | None
    notes: list[str]
    level: float
    interval_method: str

    def predict(self, budgets: Array | list[float]) -> pd.DataFrame:
        """The columns of `allocation.compute_optimal` at budgets in FLOPs (K,); loss is missing where `loss` is None."""
        budgets = positive(budgets, "budgets are FLOPs and")
        found = {name: self.laws[name].at(np.log(budgets)) for name in QUANTITIES[:3]}
        if self.loss is None:
            found["loss"] = np.full(len(budgets), np.nan), np.full((1, len(budgets)), np.nan)
        else:
            logs = np.log(budgets)[None]
            found["loss"] = M2().log_value(self.loss.theta, logs), M2().log_value(self.loss.draws, logs)
        return _table(budgets, found, self.level).assign(extrapolation=budgets / self.optima["budget"].max())


def build(
    procedure: str,
    convention: Convention,
    budgets: Array,
    optima: dict[str, Array],
    drawn: dict[str, Array],
    *,
    weighted: bool,
    excluded: dict[float, str],
    notes: list[str],
    level: float,
    interval_method: str,
) -> Frontier:
    """Lines and loss curve through optima.

    Args:
        procedure: see `Frontier`.
        convention: see `Frontier`.
        budgets: FLOPs (K,).
        optima: logarithms of `parameters`, `tokens` and `loss` at each budget (K,).
        drawn: draws of the same (R, K), missing where a draw has no optimum at a budget. A draw with fewer than two has no
            line and does not count.
        weighted: whether a budget counts by the inverse variance of its draws, as Porian et al. 2024 do.
        excluded: see `Frontier`.
        notes: see `Frontier`.
        level: see `Frontier`.
        interval_method: see `Frontier`.
    """
    usable = (~np.isnan(drawn["parameters"])).sum(1) >= 2
    drawn = {name: values[usable] for name, values in drawn.items()}
    for each in (optima, drawn):
        each["tokens_per_parameter"] = each["tokens"] - each["parameters"]
    spread = np.nanstd(drawn["parameters"], axis=0)
    weights = 1 / np.maximum(spread, 1e-3 * spread.max() + 1e-12) ** 2 if weighted else np.ones(len(budgets))
    log_budgets = np.log(budgets)
    laws = {name: _line(log_budgets, optima[name], drawn[name], weights, level) for name in QUANTITIES}
    return Frontier(
        procedure=procedure,
        convention=convention,
        optima=_table(budgets, {name: (optima[name], drawn[name]) for name in QUANTITIES}, level),
        excluded=excluded,
        laws=laws,
        loss=_loss_curve(log_budgets, optima["loss"], drawn["loss"], level),
        notes=notes,
        level=level,
        interval_method=interval_method,
    )


def _line(log_budgets: Array, log_y: Array, drawn: Array, weights: Array, level: float) -> PowerLaw:
    centre = float(log_budgets @ weights / weights.sum())
    lines = _least_squares(log_budgets - centre, np.vstack([log_y[None], drawn]), weights)
    line, draws = lines[0], lines[1:]
    coefficients = np.exp(lines[:, 0] - lines[:, 1] * centre)
    return PowerLaw(
        coefficient=estimate(coefficients[0], coefficients[1:], level),
        exponent=estimate(line[1], draws[:, 1], level),
        centre=centre,
        line=line,
        draws=draws,
    )


def _least_squares(x: Array, y: Array, weights: Array) -> Array:
    """Level at x = 0 and slope (R, 2) of weighted lines through (K,) and each of (R, K); missing values weigh nothing."""
    weights = np.where(np.isnan(y), 0.0, weights)
    y = np.nan_to_num(y)
    total = weights.sum(1)
    mean_x, mean_y = (weights * x).sum(1) / total, (weights * y).sum(1) / total
    away = x - mean_x[:, None]
    slope = (weights * away * y).sum(1) / (weights * away**2).sum(1)
    return np.stack([mean_y - slope * mean_x, slope], 1)


def _loss_curve(log_budgets: Array, log_loss: Array, drawn: Array, level: float) -> LossCurve | None:
    law, logs = M2(), log_budgets[None]
    if len(log_budgets) <= len(law.parameters):
        return None
    theta = fitting.fit(law, logs, log_loss, delta=NEVER).solution.theta[0]
    weights = np.where(np.isnan(drawn), 0.0, 1.0)
    filled = np.where(np.isnan(drawn), log_loss, drawn)
    draws = fitting.refine(law, logs, filled, weights, theta[None], NEVER, continuation=(1.0,)).theta
    values, sampled = law.to_parameters(theta), law.to_parameters(draws)
    estimates = {name: estimate(values[i], sampled[:, i], level) for i, name in enumerate(("E", "A", "gamma"))}
    return LossCurve(estimates, theta, draws)


def _table(budgets: Array, found: dict[str, tuple[Array, Array]], level: float) -> pd.DataFrame:
    columns = {"budget": budgets}
    for name in QUANTITIES:
        value, draws = found[name]
        known = ~np.isnan(draws).all(axis=0)
        low, high = bounds = np.full((2, len(budgets)), np.nan)
        if known.any():
            bounds[:, known] = np.nanquantile(draws[:, known], [(1 - level) / 2, (1 + level) / 2], axis=0)
        columns |= {name: np.exp(value), f"{name}_low": np.exp(low), f"{name}_high": np.exp(high)}
    return pd.DataFrame(columns)

"""What a fitted law says, for any law: values with intervals, their inverse, and simulated points of a published law.

An interval of a value is for what one run measures: it holds the error of the parameters, the noise of a run, and beyond
the largest fitted point the law's own error. See `forecasting` for forecasts that are written down.

Shapes: `R` draws, `V` variables, `N` points.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import uncertainty
from analysis.errors import AnalysisError
from analysis.laws import Array, Law
from analysis.results import Fit

REACH = np.log(1e12)  # how far beyond the data an inverse is sought
BISECTIONS = 60


def predict(fit: Fit, table: pd.DataFrame) -> pd.DataFrame:
    """The law's target at each row of a table that has the columns the law was fitted on.

    Returns:
        The index of `table`, with `value`, `low` and `high` at the level of the fit, `statistical_low` and `statistical_high`
        of the interval without the law's own error, and `extrapolation`, the size of the row over that of the largest fitted
        point.

    Raises:
        AnalysisError: an absent column, or a value that is not positive.
    """
    values = columns(fit, table)
    sizes = fit.form.sizes(values)
    draws = log_draws(fit, values)
    low, high = np.exp(uncertainty.interval(draws, fit.level))
    return _with_interval(fit, fit.form.log_value(fit.theta, np.log(values)), draws + law_errors(fit, sizes), table).assign(
        statistical_low=low, statistical_high=high, extrapolation=sizes / fit.largest
    )


def chain(first: Fit, second: Fit, table: pd.DataFrame) -> pd.DataFrame:
    """A two-step forecast: the second law's target at what the first law predicts for each row of a table.

    As in Bhagia et al. 2024 (arXiv 2412.04403): a loss from parameters and tokens, then an accuracy from the loss. Returns
    `value`, `low` and `high` as `predict` does; the intervals hold the errors and the noise of both steps.

    Raises:
        AnalysisError: a second law that does not start from the first one's target; see `predict` too.
    """
    if second.form.variables != (first.form.target,):
        needs = " and ".join(second.form.variables)
        raise AnalysisError(f"the {second.law} law starts from {needs}, and the {first.law} law gives {first.form.target}")
    values = columns(first, table)
    between = first.form.log_value(first.theta, np.log(values))
    drawn = log_draws(first, values) + law_errors(first, first.form.sizes(values))
    count = min(len(drawn), len(second.draws))
    order = np.random.default_rng(2).permutation(len(second.draws))[:count]  # so that draws with one seed do not pair up
    form = second.form
    steps = form.expression(list(second.draws[order].T[..., None]), [drawn[:count]])
    steps = steps + second.noise_draws[order, None] * np.random.default_rng(3).standard_normal((count, 1))
    steps = steps + law_errors(second, form.sizes(np.exp(between)[None]))[order]
    return _with_interval(second, form.log_value(second.theta, between[None]), steps, table)


def invert(fit: Fit, target: float, variable: str, at: Mapping[str, float] | None = None) -> tuple[float, float, float]:
    """Where a variable must be for the law's target to have a given value: (value, low, high).

    The law is taken to rise or fall with the variable throughout, as it does between the ends of the search, a factor of
    1e12 beyond the data on both sides. Every draw is inverted, with its law error beyond the data; a draw that never gets
    there counts as infinity (or zero), so an end of the interval can be either. The noise of a run plays no part.

    Args:
        fit: any fit.
        target: value of its law's target.
        variable: one of the law's, which is sought.
        at: the others.

    Raises:
        AnalysisError: an unknown variable, a missing one, or a target that the law does not reach.
    """
    law, others = fit.form, dict(at or {})
    if variable not in law.variables or set(others) != set(law.variables) - {variable}:
        raise AnalysisError(
            f"to invert the {fit.law} law, name one of its variables and the values of the others: "
            f"{', '.join(law.variables)}; given: {variable} to seek, at {others or 'nothing'}"
        )
    if bad := {name: value for name, value in {**others, law.target: target}.items() if not 0 < value < np.inf}:
        raise AnalysisError(f"a law is inverted at positive values, not at {bad}")
    theta = np.concatenate([fit.theta[None], fit.draws])
    drift = np.concatenate([[0.0], _drift(fit)])

    def excess(log_x: Array) -> Array:
        """Log of what each lane predicts over the target (R + 1,), at `log_x` of its own."""
        logs = [log_x if name == variable else np.full_like(log_x, np.log(others[name])) for name in law.variables]
        value = np.broadcast_to(law.expression(list(theta.T[..., None]), [each[:, None] for each in logs]), (len(theta), 1))
        return value[:, 0] + drift * _beyond(fit, law.sizes(np.exp(np.stack(logs)))) - np.log(target)

    ends = np.log(fit.origin.ranges[fit.columns[variable]]) + np.array([-REACH, REACH])
    low, high = (np.full(len(theta), end) for end in ends)
    at_low, at_high = excess(low), excess(high)
    if at_low[0] * at_high[0] > 0:
        reached = sorted(target * np.exp([at_low[0], at_high[0]]))
        raise AnalysisError(
            f"the {fit.law} law does not reach a {law.target} of {target:g} at any {variable}: "
            f"it stays between {reached[0]:.6g} and {reached[1]:.6g}"
        )
    falling = at_low[0] > 0
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        right = (excess(middle) > 0) == falling  # the crossing lies to the right
        low, high = np.where(right, middle, low), np.where(right, high, middle)
    found = 0.5 * (low + high)
    found = np.where((at_high > 0) == falling, np.inf, np.where((at_low > 0) != falling, -np.inf, found))
    drawn = np.sort(found[1:])  # no interpolation between its quantiles: they can be infinite
    ends = drawn[[int((1 - fit.level) / 2 * (len(drawn) - 1)), -1 - int((1 - fit.level) / 2 * (len(drawn) - 1))]]
    return float(np.exp(found[0])), float(np.exp(ends[0])), float(np.exp(ends[1]))


def sample(law: Law, parameters: Mapping[str, float], table: pd.DataFrame, noise: float, seed: int) -> pd.DataFrame:
    """Simulated points of a law with known parameters, such as `law.published[...]`.

    Args:
        law: the functional form.
        parameters: by name, in their units.
        table: with a column for each of the law's variables.
        noise: standard deviation of the logarithm of the target.
        seed: of the noise.

    Returns:
        The table with the law's target as a column.
    """
    values = _positive(table, {name: name for name in law.variables}, law)
    value = law.log_value(law.to_coordinates(parameters), np.log(values))
    return table.assign(**{law.target: np.exp(value + noise * np.random.default_rng(seed).standard_normal(value.shape))})


def columns(fit: Fit, table: pd.DataFrame) -> Array:
    """The law's variables (V, N) from the columns of the fit.

    Raises:
        AnalysisError: an absent column, or a value that is not positive.
    """
    return _positive(table, {name: fit.columns[name] for name in fit.form.variables}, fit.form)


def log_draws(fit: Fit, values: Array) -> Array:
    """Draws (R, N) of the log target that a run measures where the law holds, at variables (V, N)."""
    noise = fit.noise_draws[:, None] * np.random.default_rng(0).standard_normal((len(fit.draws), 1))
    return fit.form.log_value(fit.draws, np.log(values)) + noise


def law_errors(fit: Fit, sizes: Array) -> Array:
    """Draws of the law's error in the log target (R, N) at (N,) sizes: a drift that begins at the largest fitted point."""
    return _drift(fit)[:, None] * _beyond(fit, sizes)


def _drift(fit: Fit) -> Array:
    return fit.extrapolation.law_error * np.random.default_rng(1).standard_normal(len(fit.draws))


def _beyond(fit: Fit, sizes: Array) -> Array:
    return np.log(np.maximum(1.0, sizes / fit.largest))


def _positive(table: pd.DataFrame, names: Mapping[str, str], law: Law) -> Array:
    for variable, column in names.items():
        if column not in table:
            raise AnalysisError(f"the {law.name} law needs the column {column!r} for its {variable}; given: {list(table)}")
        bad = table.index[~(table[column].to_numpy(float) > 0) | ~np.isfinite(table[column].to_numpy(float))]
        if len(bad):
            raise AnalysisError(f"{column} must be positive and finite; it is not in rows {', '.join(map(str, bad[:5]))}")
    return table[list(names.values())].to_numpy(float).T


def _with_interval(fit: Fit, log_value: Array, draws: Array, table: pd.DataFrame) -> pd.DataFrame:
    low, high = uncertainty.interval(draws, fit.level)
    return pd.DataFrame({"value": np.exp(log_value), "low": np.exp(low), "high": np.exp(high)}, index=table.index)

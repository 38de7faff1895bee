"""Predictions for runs that do not exist yet, with intervals for the loss such a run will measure."""

import numpy as np
import pandas as pd

from analysis import uncertainty
from analysis.errors import AnalysisError
from analysis.laws import Array
from analysis.prediction import law_errors, log_draws
from analysis.results import Fit, Forecast, Prediction, now


def forecast(fit: Fit, targets: pd.DataFrame) -> Forecast:
    """Predict the final loss of each row of `targets`.

    The interval is for the loss that one run measures. It covers the error of the parameters, the noise of a run around
    the law, and beyond the largest fitted run an error of the law itself (`uncertainty.LAW_ERROR`, and what the rollouts
    within the data add to it). It does not cover what no smaller run could show: a change of recipe or data, or a horizon
    that the schedule was not made for. The statistical interval is the one without the law's error.

    Args:
        fit: from `chinchilla.fit_parametric`.
        targets: the fit's convention of parameters and `tokens`, or `horizon` (the tokens planned), which is what counts
            where it is there: rows of `curves.final_points` will do, begun or not. `run` names the rows.

    Raises:
        AnalysisError: a missing column, or a value that is not positive.
    """
    runs = [str(run) for run in targets["run"]] if "run" in targets else [f"row {n}" for n in range(1, len(targets) + 1)]
    values = []
    for column in (fit.parameters_column, "horizon" if "horizon" in targets else "tokens"):
        if column not in targets:
            raise AnalysisError(f"a forecast needs the column {column!r} (the fit's convention); given: {list(targets)}")
        values.append(targets[column].to_numpy(float))
        bad = [run for run, value in zip(runs, values[-1], strict=True) if not 0 < value < np.inf]
        if bad:
            raise AnalysisError(f"{column} must be positive to forecast; it is not in {', '.join(bad[:5])}")
    parameters, tokens = values
    flops = 6 * parameters * tokens
    loss = fit.loss(parameters, tokens)
    statistical = loss_interval(fit, parameters, tokens, law_error=False)
    low, high = loss_interval(fit, parameters, tokens)
    columns = [parameters, tokens, flops, loss, low, high, *statistical, flops / fit.largest]
    return Forecast(
        law=fit.law,
        parameters_column=fit.parameters_column,
        flops_convention=fit.size_convention,
        level=fit.level,
        interval_method=(
            f"{fit.interval_method}; noise of a run; law error of {100 * fit.extrapolation.law_error:.2g} % "
            "per factor e of compute beyond the data"
        ),
        estimates=fit.estimates,
        origin=fit.origin,
        predictions=[Prediction(run, *map(float, row)) for run, *row in zip(runs, *columns, strict=True)],
        created=now(),
    )


def loss_interval(fit: Fit, parameters: Array, tokens: Array, *, law_error: bool = True) -> tuple[Array, Array]:
    """Interval of the loss a run measures at (N,) arrays of parameters and tokens, with or without the law's error."""
    draws = log_draws(fit, np.stack([parameters, tokens]))
    if law_error:
        draws = draws + law_errors(fit, 6 * parameters * tokens)
    low, high = uncertainty.interval(draws, fit.level)
    return np.exp(low), np.exp(high)

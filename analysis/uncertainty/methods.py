"""The methods by name, and which of them is the default.

`parametric`, `case`, `residual`, `wild` (bootstraps), `delta` and `posterior` draw the coordinates; from draws every number
that follows gets its interval. `profile` has no draws: it gives the interval of one number at a time.

`benchmarks/coverage.py` measures them where the law holds; docs/lab-log.md has the table. The default is the case bootstrap
from `CASES_PER_PARAMETER` runs per parameter on, where the points themselves show the noise whatever its distribution; with
fewer, the parametric one, or the wild one by run where runs gave several points each, whose noise is not independent.

Where a coordinate ended on a bound of the search (an irreducible loss at zero), the delta method and every bootstrap know only
one side of it: `profile` and `posterior` remain honest there.
"""

from typing import Literal, get_args

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws import Array
from analysis.uncertainty.bootstraps import BOOTSTRAPS, bootstrap
from analysis.uncertainty.linear import linear_draws, linear_interval
from analysis.uncertainty.posterior import posterior
from analysis.uncertainty.problem import Draws, Problem
from analysis.uncertainty.profile import profile_interval
from analysis.uncertainty.quantities import Quantity

Method = Literal["parametric", "case", "residual", "wild", "delta", "posterior", "profile"]
METHODS: tuple[Method, ...] = get_args(Method)
DRAWN = METHODS[:-1]
CASES_PER_PARAMETER = 20


def default_method(problem: Problem) -> Method:
    """What holds for this many runs; see the module's docstring."""
    if problem.penalty.over != 1:  # noise around a frontier would have another frontier
        return "case"
    if problem.clusters >= CASES_PER_PARAMETER * len(problem.theta):
        return "case"
    return "wild" if problem.clustered else "parametric"


def draw(problem: Problem, count: int, seed: int, method: str | None = None) -> Draws:
    """Draws by a method, the default where None.

    Raises:
        AnalysisError: a method that is unknown, has no draws, or does not know the penalty of the fit.
    """
    method = method or default_method(problem)
    if problem.penalty.over != 1 and method != "case":
        raise AnalysisError(f"a frontier has no intervals by the method {method!r}: only `case` resamples what it is made of")
    if problem.penalty.raw and method == "delta":
        raise AnalysisError("the delta method knows residuals of the log target only; use `case` or `parametric`")
    if method in BOOTSTRAPS:
        return bootstrap(problem, method, count, seed)
    if method == "delta":
        return linear_draws(problem, count, seed)
    if method == "posterior":
        return posterior(problem, count, seed)
    raise AnalysisError(f"no draws by the method {method!r}; accepted are {', '.join(DRAWN)}")


def interval(samples: Array, level: float) -> tuple[Array, Array]:
    """The central interval of draws on the first axis: expected to hold the next draw with probability `level`."""
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0, method="weibull")
    return low, high


def interval_of(problem: Problem, quantity: Quantity, level: float, method: str | None, draws: Draws) -> tuple[float, float]:
    """The interval of any quantity by a method, in the quantity's unit; `draws` are those of the method, where it has them.

    Raises:
        AnalysisError: a profile of runs with several points each, whose noise is not independent.
    """
    if method == "delta":
        low, high = linear_interval(problem, quantity, level)
    elif method == "profile":
        if problem.clustered:
            raise AnalysisError("the profile takes the noise of every point as independent; with several to a run, use `wild`")
        lows, highs = profile_interval(
            problem.law, problem.logs, problem.log_values[None], problem.theta[None], quantity, level
        )
        low, high = float(lows[0]), float(highs[0])
    else:
        low, high = (float(end) for end in interval(quantity.coordinate(draws.theta), level))
    low, high = quantity.value(np.array([low, high]))
    return float(low), float(high)

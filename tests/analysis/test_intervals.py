"""Every method of intervals: exact where the law is linear, alike where points are many, honest on a bound and by run."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import fitting, uncertainty
from analysis.errors import AnalysisError, NotIdentifiedError
from analysis.fits import estimate, fit_law
from analysis.laws import LAWS, Chinchilla, Law, Parameter
from analysis.penalties import NEVER
from analysis.uncertainty import DRAWN, Problem, bootstraps, interval_of, linear, parameter, prediction


class Line(Law):
    """L(N) = A / N^alpha: a straight line in logarithms, of which least squares knows everything."""

    name: ClassVar[str] = "line"
    variables: ClassVar[tuple[str, ...]] = ("parameters",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("A", "nats/token x N^alpha", "coefficient"),
        Parameter("alpha", "exponent of N", "number", bounds=(-3.0, 3.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (2,)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("A", "alpha", "parameters"),)
    centred: ClassVar[tuple[str, ...]] = variables

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        return theta[0] - theta[1] * logs[0]


LINE, LAW = Line(), Chinchilla()
TRUTH = np.array([np.log(1.5), np.log(80.0), np.log(250.0), 0.35, 0.38])


def line(points: int = 8) -> tuple[Problem, Any]:
    log_n = np.linspace(11.0, 15.0, points)
    values = 3.0 - 0.3 * log_n + 0.01 * np.random.default_rng(1).standard_normal(points)
    best = fitting.fit(LINE, log_n[None], values, delta=NEVER)
    return Problem(LINE, log_n[None], values, best.solution.theta[0], NEVER), stats.linregress(log_n, values)


def plane(points: tuple[int, int], noise: float = 0.003, delta: float = NEVER) -> Problem:
    n, d = np.meshgrid(np.geomspace(1e5, 1.6e6, points[0]), np.geomspace(1e6, 1.6e7, points[1]))
    logs = np.log(np.stack([n.ravel(), d.ravel()]))
    values = LAW.log_value(TRUTH, logs) + noise * np.random.default_rng(0).standard_normal(logs.shape[1])
    return Problem(LAW, logs, values, fitting.fit(LAW, logs, values, delta=delta).solution.theta[0], delta)


@pytest.mark.parametrize("method", ["delta", "profile"])
def test_of_a_line_they_are_those_of_linear_regression(method: str) -> None:
    problem, regression = line()
    reach = stats.t.ppf(0.95, 6)
    draws = uncertainty.draw(problem, 10, 0)
    low, high = interval_of(problem, parameter(LINE, "alpha"), 0.9, method, draws)
    expected = -regression.slope + reach * regression.stderr * np.array([-1, 1])
    assert (low, high) == pytest.approx(expected, rel=1e-4)
    low, high = interval_of(problem, parameter(LINE, "A"), 0.9, method, draws)
    expected = regression.intercept + reach * regression.intercept_stderr * np.array([-1, 1])
    assert (np.log(low), np.log(high)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("method", ["parametric", "posterior", "delta"])
def test_draws_of_a_line_have_students_t(method: str) -> None:
    """The posterior under Jeffreys' prior is t with n - 2 degrees of freedom; so are the other two by construction."""
    problem, regression = line()
    theta = uncertainty.draw(problem, 1000, 0, method).theta
    scaled = (theta[:, 1] + regression.slope) / regression.stderr
    for share in (0.05, 0.25, 0.5, 0.75, 0.95):
        # the standard error of a quantile of 1,000 draws, doubled for the correlation of walkers, times 3.5
        error = 3.5 * 2 * np.sqrt(share * (1 - share) / 1000) / stats.t.pdf(stats.t.ppf(share, 6), 6)
        assert np.quantile(scaled, share) == pytest.approx(stats.t.ppf(share, 6), abs=error)


@pytest.mark.parametrize("delta", [1e-3, NEVER])
@pytest.mark.parametrize("method", DRAWN)
def test_at_many_points_all_methods_agree(method: str, delta: float) -> None:
    """With Gaussian noise of one size nothing tells them apart but the efficiency of Huber's estimator, which all but the
    posterior have to pay for: up to (pi / 2)^(1/2) in the standard error (the asymptotic variance of the median)."""
    problem = plane((16, 15), delta=delta)
    theta = uncertainty.draw(problem, 1000, 0, method).theta
    least = uncertainty.linear.covariance(Problem(LAW, problem.logs, problem.log_values, problem.theta, NEVER))
    inside, square = linear.huber_moments(delta / problem.noise_level)
    efficiency = 1.0 if method == "posterior" else np.sqrt(square) / inside
    spread = theta.std(0, ddof=1)[[3, 4]]
    assert spread == pytest.approx(efficiency * np.sqrt(np.diag(least))[[3, 4]], rel=0.2)


def test_huber_moments_are_those_of_a_normal_distribution() -> None:
    sample = np.random.default_rng(0).standard_normal(400_000)
    for ratio in (0.1, 1.0, 3.0):
        inside, square = linear.huber_moments(ratio)
        assert inside == pytest.approx((np.abs(sample) < ratio).mean(), abs=4e-3)
        assert square == pytest.approx((np.clip(sample, -ratio, ratio) ** 2).mean(), rel=1e-2)
    inside, square = linear.huber_moments(1e-4)
    assert np.sqrt(square) / inside == pytest.approx(np.sqrt(np.pi / 2), rel=1e-3)


def test_the_profile_is_the_constrained_minimum() -> None:
    """At the end of the interval the least sum of squares that keeps the quantity there is t^2 s^2 above the least of all."""
    problem = plane((4, 3))
    point = np.log([6.4e6, 6.4e7])
    _, high = interval_of(problem, prediction(LAW, point), 0.9, "profile", uncertainty.draw(problem, 10, 0))
    logs = np.concatenate([problem.logs, point[:, None]], 1)
    values = np.append(problem.log_values, np.log(high))
    weights = np.append(np.ones(12), 1e7)
    held = fitting.refine(LAW, logs, values, weights, problem.theta[None], NEVER, (1.0,))
    rise = ((LAW.log_value(held.theta[0], problem.logs) - problem.log_values) ** 2).sum() - (problem.residuals**2).sum()
    assert rise == pytest.approx(stats.t.ppf(0.95, 7) ** 2 * problem.noise_level**2, rel=0.01)


def test_a_term_that_may_be_absent_has_a_profile_from_zero() -> None:
    """Losses without a floor: the interval of E reaches down to none, where the delta method claims to know better."""
    problem = plane((4, 3))
    values = np.log(80.0 * np.exp(-0.35 * problem.logs[0]) + 250.0 * np.exp(-0.38 * problem.logs[1]))
    values = values + 0.003 * np.random.default_rng(2).standard_normal(12)
    theta = fitting.fit(LAW, problem.logs, values, delta=NEVER).solution.theta[0]
    floorless = Problem(LAW, problem.logs, values, theta, NEVER)
    low, high = interval_of(floorless, parameter(LAW, "E"), 0.9, "profile", uncertainty.draw(floorless, 10, 0))
    assert low == 0.0
    assert 0.0 < high < np.exp(values.min())


def clustered(count: int) -> list[Problem]:
    """12 runs of 4 points each, at four sizes, which share most of their noise: `count` simulations."""
    problem = plane((8, 6))
    runs = np.repeat(np.arange(12), 4)
    random = np.random.default_rng(3)
    shared, own = 0.01 * random.standard_normal((count, 12))[:, runs], 1e-3 * random.standard_normal((count, 48))
    values = LAW.log_value(TRUTH, problem.logs) + shared + own
    theta = fitting.refine(LAW, problem.logs, values, None, TRUTH[None], NEVER, (1.0,)).theta
    return [Problem(LAW, problem.logs, *each, NEVER, runs) for each in zip(values, theta, strict=True)]


@pytest.mark.parametrize("method", ["wild", "case", "delta"])
def test_points_of_one_run_count_once(method: str) -> None:
    """Beta, which is read between runs, spreads over simulations as the draws by run say, and much more than the draws say
    that take the 48 points as independent."""
    problems = clustered(300)
    true = np.std([problem.theta[4] for problem in problems])
    some = problems[:10]
    alone = [Problem(LAW, each.logs, each.log_values, each.theta, NEVER) for each in some]
    by_run, by_point = (
        np.mean([uncertainty.draw(p, 100, 0, method).theta[:, 4].std() for p in each]) for each in (some, alone)
    )
    # Student's t with 12 - 5 degrees of freedom widens by (7 / 5)^(1/2), the jackknife's residuals by (1 - 5 / 12)^(-1/2) more.
    assert 0.85 < by_run / true < 2.2
    assert by_point / true < 0.6
    assert (uncertainty.default_method(some[0]), uncertainty.default_method(alone[0])) == ("wild", "parametric")


def test_wild_residuals_are_what_a_fit_without_the_point_misses_it_by() -> None:
    """Of a line exactly: the residual of the point from the regression through all others."""
    problem, _ = line()
    log_n, values = problem.logs[0], problem.log_values
    for point in range(8):
        rest = np.arange(8) != point
        without = stats.linregress(log_n[rest], values[rest])
        missed = values[point] - without.intercept - without.slope * log_n[point]
        assert bootstraps.unabsorbed(problem, 1.0)[point] == pytest.approx(missed, rel=1e-6)


@pytest.mark.parametrize("method", ["posterior", "profile"])
def test_methods_for_independent_points_refuse_runs_of_several(method: str) -> None:
    (problem,) = clustered(1)
    draws = uncertainty.draw(problem, 10, 0)
    ask = (lambda: uncertainty.draw(problem, 10, 0, method)) if method == "posterior" else None
    with pytest.raises(AnalysisError, match="use `wild`"):
        ask() if ask else interval_of(problem, parameter(LAW, "E"), 0.9, method, draws)


@pytest.mark.parametrize("law", [law for law in LAWS.values() if law.name != "farseer"], ids=lambda law: law.name)
def test_every_parameter_of_every_law_is_a_quantity_with_its_gradient(law: Law) -> None:
    """The quantity is what `to_parameters` says, and the gradient is that of differences."""
    theta = np.linspace(0.3, 0.7, len(law.parameters))
    for index, name in enumerate(law.names):
        quantity = parameter(law, name)
        assert quantity.value(quantity.coordinate(theta)) == pytest.approx(law.to_parameters(theta)[index], rel=1e-12)
        steps = 1e-6 * np.eye(len(theta))
        differences = (quantity.coordinate(theta + steps) - quantity.coordinate(theta - steps)) / 2e-6
        assert quantity.gradient(theta[None])[0] == pytest.approx(differences, rel=1e-6, abs=1e-8)


def test_parameters_that_follow_in_a_way_of_their_own_have_no_such_quantity() -> None:
    with pytest.raises(AnalysisError, match="farseer law have intervals by draws only"):
        parameter(LAWS["farseer"], LAWS["farseer"].names[0])


def table(problem: Problem) -> pd.DataFrame:
    n, d = np.exp(problem.logs)
    return pd.DataFrame({"parameters": n, "tokens": d, "loss": np.exp(problem.log_values)})


@pytest.mark.parametrize("method", uncertainty.METHODS)
def test_a_fit_takes_any_method_by_name(method: str) -> None:
    """The intervals hold the estimate, are those of the method, and the fit says which it was."""
    fit = fit_law(table(plane((5, 4))), LAW, delta=NEVER, draws=200, method=method)
    words = {"posterior": "posterior", "profile": "profile likelihood", "delta": "delta method", "case": "case bootstrap"}
    assert fit.interval_method.startswith(words.get(method, method))
    for each in fit.estimates.values():
        assert each.low < each.value < each.high


def test_a_fit_refuses_points_that_never_leave_a_line() -> None:
    n = np.geomspace(1e5, 1e7, 12)
    points = pd.DataFrame({"parameters": n, "tokens": 20 * n, "loss": 1.5 + 80 / n**0.35})
    with pytest.raises(NotIdentifiedError, match="tokens = 20 x parameters"):
        fit_law(points, LAW)


def test_the_default_for_few_runs_and_for_many() -> None:
    assert uncertainty.default_method(plane((4, 3))) == "parametric"
    assert uncertainty.default_method(plane((10, 10))) == "case"


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(AnalysisError, match=r"no draws by the method 'boostrap'.*parametric, case, residual"):
        uncertainty.draw(line()[0], 10, 0, "boostrap")


def test_draws_without_a_bound_have_no_standard_error() -> None:
    """N_c of (N_c / N)^alpha is infinite where alpha is drawn as 0: no number, and no warning."""
    found = estimate(2.0, np.append(np.linspace(1.0, 3.0, 99), np.inf), 0.5)
    assert found.standard_error == np.inf
    assert found.low < 2.0 < found.high

"""Next runs: as good as an exhaustive search finds, as good in simulation as predicted, better than what one would guess."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import fitting
from analysis.design import Known, _criterion, design
from analysis.errors import AnalysisError
from analysis.fits import fit_law
from analysis.laws import Chinchilla
from analysis.uncertainty import Quantity, optimal_loss, optimal_parameters, parameter, prediction

LAW = Chinchilla()
THETA = np.array([np.log(1.5), np.log(80.0), np.log(250.0), 0.35, 0.38])
NOISE = 0.003
LIMITS = {"parameters": (1e5, 6.4e6), "tokens": (1e6, 6.4e7)}
BUDGET = 1e15


def so_far() -> np.ndarray:
    n, d = np.meshgrid(np.geomspace(1e5, 8e5, 4), np.geomspace(1e6, 8e6, 4))
    return np.log(np.stack([n.ravel(), d.ravel()]))


def known(law_error: float = 0.0) -> Known:
    return Known(LAW, THETA, NOISE, so_far(), law_error)


def questions() -> list[Quantity]:
    return [
        optimal_loss(LAW, 1e17),
        optimal_parameters(LAW, 1e17),
        parameter(LAW, "E"),
        prediction(LAW, np.log([1e7, 1e8])),
    ]


def spread(logs: np.ndarray, quantity: Quantity, simulations: int = 400) -> float:
    """Standard deviation of the answer over least-squares refits of simulated losses at all the runs."""
    noise = NOISE * np.random.default_rng(0).standard_normal((simulations, logs.shape[1]))
    losses = LAW.log_value(THETA, logs) + noise
    refits = fitting.refine(LAW, logs, losses, None, THETA[None], delta=1e3, continuation=(1.0,))
    return float(quantity.coordinate(refits.theta).std(ddof=1))


def with_runs(*cells: tuple[float, float]) -> np.ndarray:
    return np.concatenate([so_far(), np.log(np.array(cells).T)], 1)


def half_width(interval: tuple[float, float], quantity: Quantity) -> float:
    low, high = np.log(interval) if quantity.positive else interval
    return float(high - low) / 2


@pytest.mark.parametrize("quantity", questions(), ids=lambda each: each.name)
def test_no_three_runs_do_better_than_the_three_chosen(quantity: Quantity) -> None:
    """All 3-subsets with repetition of a 4 x 4 grid that the budget carries: 816 at most."""
    limits = {"parameters": (1e5, 8e5), "tokens": (4e6, 3.2e7)}
    n, d = np.meshgrid(np.geomspace(1e5, 8e5, 4), np.geomspace(4e6, 3.2e7, 4))
    cells = np.stack([n.ravel(), d.ravel()])
    flops, budget = 6 * cells.prod(0), 2e14
    criterion = _criterion(known(), quantity, np.log(cells))
    subsets = itertools.combinations_with_replacement(range(16), 3)
    best = min(criterion.variance(list(subset)) for subset in subsets if flops[list(subset)].sum() <= budget)
    runs = design(known(), quantity, budget, **limits, most=3).runs
    at = [int(np.argmin(np.abs(cells[0] - run.parameters) + np.abs(cells[1] - run.tokens))) for run in runs.itertuples()]
    assert criterion.variance(at) <= best * (1 + 0.04)


@pytest.mark.parametrize("quantity", questions(), ids=lambda each: each.name)
def test_the_predicted_interval_is_that_of_refits_and_narrower_than_other_choices_for_the_same_flops(
    quantity: Quantity,
) -> None:
    """400 refits know a standard deviation to 3.5 %."""
    answer = design(known(), quantity, BUDGET, **LIMITS)
    assert answer.runs["flops"].sum() <= BUDGET * 1.001
    chosen = spread(with_runs(*answer.runs[["parameters", "tokens"]].to_numpy(float)), quantity)
    freedom = 16 + len(answer.runs) - 5
    predicted = half_width(tuple(answer.runs[["low", "high"]].iloc[-1]), quantity) / stats.t.ppf(0.95, freedom)
    assert chosen == pytest.approx(predicted, rel=0.12)
    largest = (6.4e6, BUDGET / 6 / 6.4e6)
    n, d = np.meshgrid(np.geomspace(2e5, 3.2e6, 3), np.geomspace(2e6, 3.2e7, 3))
    share = (BUDGET / (6 * n * d).sum()) ** 0.5
    uniform = list(zip((n * share).ravel(), (d * share).ravel(), strict=True))
    assert chosen < spread(with_runs(largest), quantity)
    assert chosen < spread(with_runs(*uniform), quantity)


def test_every_further_run_narrows_the_interval_and_repeats_have_seeds_of_their_own() -> None:
    answer = design(known(), parameter(LAW, "E"), BUDGET, **LIMITS)
    widths = [answer.before[1] - answer.before[0], *(answer.runs["high"] - answer.runs["low"])]
    assert (np.diff(widths) < 0).all()
    assert not answer.runs.duplicated(["parameters", "tokens", "seed"]).any()
    assert answer.runs.duplicated(["parameters", "tokens"]).any()


def test_the_law_error_asks_for_a_larger_run() -> None:
    quantity = prediction(LAW, np.log([1e8, 1e9]))
    without, with_error = (design(known(error), quantity, BUDGET, **LIMITS) for error in (0.0, 0.02))
    assert with_error.runs["flops"].max() > 0.9 * BUDGET / 2 > 0
    assert with_error.runs["flops"].max() >= without.runs["flops"].max()
    distance = np.log(6e17 / with_error.runs["flops"].max())
    reach = half_width(tuple(with_error.runs[["low", "high"]].iloc[-1]), quantity)
    assert reach > 1.64 * 0.02 * distance
    assert "the law's own error" in with_error.verdict


def test_more_runs_no_longer_help_where_the_law_error_is_all_that_is_left() -> None:
    answer = design(known(0.1), prediction(LAW, np.log([1e8, 1e9])), BUDGET, **LIMITS)
    assert answer.verdict.startswith("more runs no longer help")
    assert answer.runs["flops"].sum() < BUDGET


def test_what_a_fit_knows_is_what_its_draws_say() -> None:
    """Before any further run the interval is that of the fit: 64 runs, least-absolute by Huber's default delta."""
    n, d = np.meshgrid(np.geomspace(1e5, 1.6e6, 8), np.geomspace(1e6, 1.6e7, 8))
    logs = np.log(np.stack([n.ravel(), d.ravel()]))
    losses = np.exp(LAW.log_value(THETA, logs) + NOISE * np.random.default_rng(0).standard_normal(64))
    points = pd.DataFrame({"parameters": n.ravel(), "tokens": d.ravel(), "loss": losses})
    fit = fit_law(points, LAW)
    answer = design(Known.from_fit(fit, points), parameter(LAW, "E"), BUDGET, **LIMITS)
    low, high = answer.before
    assert high - low == pytest.approx(fit.estimates["E"].high - fit.estimates["E"].low, rel=0.2)


def test_a_published_law_is_known_before_any_run() -> None:
    parameters = dict(zip(LAW.names, LAW.to_parameters(THETA), strict=True))
    paper = Known.from_paper(LAW, parameters, NOISE)
    answer = design(paper, optimal_loss(LAW, 1e17), BUDGET, **LIMITS)
    assert len(answer.runs) >= 5
    distance = np.log(1e17 / answer.runs["flops"].max())  # what is left when the runs are in is the law's own error beyond them
    left = half_width(tuple(answer.runs[["low", "high"]].iloc[-1]), optimal_loss(LAW, 1e17))
    assert left == pytest.approx(1.645 * paper.law_error * distance, rel=0.1)


@pytest.mark.parametrize(
    ("budget", "parameters", "message"),
    [(1e9, (1e5, 1e6), "carries no run; the smallest within the limits costs 6e+11"), (1e15, (1e6, 1e5), "are no limits")],
)
def test_refusals(budget: float, parameters: tuple[float, float], message: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        design(known(), parameter(LAW, "E"), budget, parameters, (1e6, 1e7))
    assert message in str(caught.value)

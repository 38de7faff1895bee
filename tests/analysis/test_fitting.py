"""The solver: exact recovery, the published optimum, and refusals that say what to do."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from analysis import fitting
from analysis.errors import AnalysisError, NotIdentifiedError
from analysis.laws import Chinchilla

LAW = Chinchilla()
TRUTH = np.array([np.log(1.5), np.log(80.0), np.log(250.0), 0.35, 0.38])


def grid(sizes: int = 4, token_counts: int = 4) -> np.ndarray:
    n, d = np.meshgrid(np.geomspace(1.5e5, 1.2e6, sizes), np.geomspace(1e6, 8e6, token_counts))
    return np.log(np.stack([n.ravel(), d.ravel()]))


def noisy(noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    logs = grid()
    return logs, LAW.log_value(TRUTH, logs) + noise * np.random.default_rng(seed).standard_normal(logs.shape[1])


def huber_sum(theta: np.ndarray, logs: np.ndarray, log_losses: np.ndarray, delta: float) -> float:
    """The objective written out again, for comparison."""
    size = np.abs(LAW.log_value(theta, logs) - log_losses)
    return float(np.where(size <= delta, size**2 / 2, delta * (size - delta / 2)).sum())


def test_noiseless_losses_give_the_law_back() -> None:
    logs, losses = noisy(0.0)
    best = fitting.fit(LAW, logs, losses)
    assert best.solution.converged.all()
    np.testing.assert_allclose(best.solution.theta[0], TRUTH, rtol=1e-8)


@pytest.mark.parametrize("delta", [1e-3, 1e-2, 1.0])
def test_no_other_minimiser_finds_a_lower_objective(delta: float) -> None:
    logs, losses = noisy(0.005)
    solution = fitting.fit(LAW, logs, losses, delta=delta).solution
    objective = solution.objective[0]
    assert objective == pytest.approx(huber_sum(solution.theta[0], logs, losses, delta), rel=1e-10)
    for start in (TRUTH, solution.theta[0]):
        options = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-10, "fatol": 1e-16}
        other = minimize(huber_sum, start, (logs, losses, delta), method="Nelder-Mead", options=options)
        assert objective <= other.fun * (1 + 1e-9)


def test_weights_are_counts() -> None:
    logs, losses = noisy(0.005)
    counts = np.arange(16) % 3
    weighted = fitting.fit(LAW, logs, losses, counts.astype(float)).solution
    repeated = fitting.fit(LAW, np.repeat(logs, counts, axis=1), np.repeat(losses, counts)).solution
    assert weighted.objective[0] == pytest.approx(repeated.objective[0], rel=1e-9)
    np.testing.assert_allclose(weighted.theta, repeated.theta, rtol=1e-5)


def test_lanes_do_not_see_each_other() -> None:
    logs, first = noisy(0.005, seed=1)
    _, second = noisy(0.005, seed=2)
    together = fitting.fit(LAW, logs, np.stack([first, second])).solution
    for lane, losses in enumerate((first, second)):
        alone = fitting.fit(LAW, logs, losses).solution
        assert together.objective[lane] == pytest.approx(alone.objective[0], rel=1e-9)
        np.testing.assert_allclose(together.theta[lane], alone.theta[0], rtol=1e-5)


def test_the_same_data_give_the_same_bits() -> None:
    logs, losses = noisy(0.005)
    first, second = (fitting.fit(LAW, logs, losses).solution.theta for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_units_do_not_matter() -> None:
    """Parameters in millions and losses in bits: the exponents and the quality of the fit stay."""
    logs, losses = noisy(0.005)
    plain = fitting.fit(LAW, logs, losses)
    scaled = fitting.fit(LAW, logs - np.log([[1e6], [1e9]]), losses - np.log(np.log(2)))
    np.testing.assert_allclose(scaled.solution.theta[0, 3:], plain.solution.theta[0, 3:], rtol=1e-6)
    assert scaled.solution.objective[0] == pytest.approx(plain.solution.objective[0], rel=1e-9)


def test_a_term_without_evidence_ends_on_its_bound_and_says_so() -> None:
    """The largest models do better than any power law: a floor would only make it worse."""
    logs, losses = noisy(0.0)
    centred = logs[0] - logs[0].mean()
    solution = fitting.fit(LAW, logs, losses - 0.05 * centred**2).solution
    assert solution.at_bound[0, 0]
    assert np.exp(solution.theta[0, 0]) < 1e-4 * np.exp(losses.min())


def test_the_published_optimum_is_reached(epoch_points: pd.DataFrame) -> None:
    """Besiroglu et al. 2024 on Hoffmann et al.'s figure 4; the objective is that of their full grid of starts, or lower."""
    assert len(epoch_points) == 240
    logs = np.log(epoch_points[["parameters", "tokens"]].to_numpy().T)
    best = fitting.fit(LAW, logs, np.log(epoch_points["loss"].to_numpy()))
    assert best.solution.objective[0] <= 0.00101827401781
    assert best.share_of_starts[0] == 1.0
    e, _, _, alpha, beta = LAW.to_parameters(best.solution.theta[0])
    assert (round(e, 4), round(alpha, 4), round(beta, 4)) == (1.8172, 0.3473, 0.3672)


def refused(n: list[float], d: list[float], losses: list[float]) -> str:
    names = [f"run {number}" for number in range(len(losses))]
    with pytest.raises(AnalysisError) as caught:
        fitting.check(LAW, np.array([n, d]), np.array(losses), names)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_too_few_points_are_refused_with_the_numbers() -> None:
    message = refused([1e5, 2e5, 3e5, 4e5], [1e6, 2e6, 3e6, 4e6], [4.0, 3.0, 2.5, 2.4])
    assert "4 points cannot carry the 5 parameters" in message
    assert "2 more are needed" in message


@pytest.mark.parametrize(
    ("values", "word"), [([1e5], "1 distinct value of parameters"), ([1e5, 2e5], "2 distinct values of parameters")]
)
def test_too_few_sizes_are_refused(values: list[float], word: str) -> None:
    sizes = (values * 8)[:8]
    assert f"{word} cannot carry" in refused(sizes, list(np.geomspace(1e6, 1e7, 8)), list(np.linspace(4, 3, 8)))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_values_without_logarithm_are_named(bad: float) -> None:
    losses = [4.0, 3.9, bad, 3.5, 3.4, 3.3, 3.2]
    assert "it is not in run 2" in refused(list(np.geomspace(1e5, 1e6, 7)), list(np.geomspace(1e6, 1e7, 7)), losses)


@pytest.mark.parametrize(("tokens_per_parameter", "power"), [(20.0, 1.0), (3e3, 0.7)])
def test_variables_that_never_vary_apart_are_refused_and_their_tie_is_named(tokens_per_parameter: float, power: float) -> None:
    n = np.geomspace(1e5, 1e7, 12)
    d = tokens_per_parameter * n**power * np.exp(3e-4 * np.random.default_rng(0).standard_normal(12))
    tie = f"tokens = {tokens_per_parameter:.3g} x parameters" + (f"^{power:g}" if power != 1 else "")
    assert tie in refused(list(n), list(d), list(np.linspace(4, 3, 12)))
    assert not fitting.carries(LAW, np.log([n, d]))
    assert fitting.carries(LAW, np.log([n, d * np.exp(0.05 * np.sin(9 * np.arange(12)))]))


def test_an_optimum_with_a_silent_direction_is_refused_and_the_direction_named() -> None:
    """At alpha = 0 the term of N is a second constant: what E gains, A can lose, in the ratio of the two."""
    theta = TRUTH * [1, 0, 1, 0, 1] + [0, np.log(0.5), 0, 0, 0]
    with pytest.raises(NotIdentifiedError, match=r"log E by -0\.333.*log A by 1") as caught:
        fitting.identify(LAW, grid(), theta)
    assert "\n" not in str(caught.value)
    fitting.identify(LAW, grid(), TRUTH)

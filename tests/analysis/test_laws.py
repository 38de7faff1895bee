"""Chinchilla's law: value, exact derivatives, and what the solver relies on."""

import numpy as np
import pytest

from analysis.laws import Chinchilla, Law

LAW = Chinchilla()
THETA = np.array([np.log(1.69), 6.0, 6.1, 0.34, 0.28])
LOGS = np.log(np.array([[1e6, 3e7, 1e9], [2e8, 1e9, 3e10]]))


def test_prediction_is_the_formula() -> None:
    n, d = np.exp(LOGS)
    expected = 1.69 + np.exp(6.0) / n**0.34 + np.exp(6.1) / d**0.28
    np.testing.assert_allclose(np.exp(LAW.log_value(THETA, LOGS)), expected, rtol=1e-14)


def test_no_overflow_where_a_term_is_huge() -> None:
    theta = np.array([0.0, 2000.0, 0.0, 0.3, 0.3])
    np.testing.assert_allclose(LAW.log_value(theta, np.zeros((2, 1))), 2000.0)


def test_gradient_matches_differences() -> None:
    step = 1e-6
    _, gradient, _ = LAW.derivatives(THETA[None], LOGS)
    shifted = [LAW.log_value(THETA + sign * step * np.eye(5), LOGS) for sign in (1, -1)]
    np.testing.assert_allclose(gradient[0], (shifted[0] - shifted[1]) / (2 * step), rtol=1e-7, atol=1e-9)


def test_the_fast_derivatives_are_those_of_the_formula() -> None:
    theta, weights = THETA + 0.1 * np.random.default_rng(0).standard_normal((4, 5)), np.random.default_rng(1).random((4, 3))
    for fast, by_jets in zip(LAW.derivatives(theta, LOGS), Law.derivatives(LAW, theta, LOGS), strict=True):
        if callable(fast):
            fast, by_jets = fast(weights), by_jets(weights)
        np.testing.assert_allclose(fast, by_jets, rtol=1e-12, atol=1e-12)


def test_second_derivative_matches_differences_of_the_gradient() -> None:
    step, weights = 1e-5, np.array([[0.3, -1.2, 2.0]])
    _, _, second = LAW.derivatives(THETA[None], LOGS)
    above, below = (LAW.derivatives(THETA + sign * step * np.eye(5), LOGS)[1] @ weights[0] for sign in (1, -1))
    np.testing.assert_allclose(second(weights)[0], (above - below) / (2 * step), rtol=1e-6, atol=1e-7)


def test_shift_moves_the_origin_of_the_logarithms() -> None:
    offset = np.array([13.0, 20.0])
    predicted = LAW.log_value(LAW.shift(THETA, offset), LOGS)
    np.testing.assert_allclose(predicted, LAW.log_value(THETA, LOGS - offset[:, None]), rtol=1e-13)


def test_a_seed_lands_next_to_the_truth_of_exact_data() -> None:
    n, d = np.meshgrid(np.linspace(-2, 2, 5), np.linspace(-2, 2, 5))
    logs = np.stack([n.ravel(), d.ravel()])
    truth = np.array([0.5, -0.5, -0.3, 0.34, 0.28])
    seeds = LAW.seeds(logs, LAW.log_value(truth, logs)[None], np.ones((1, 25)), 8)
    assert seeds.shape == (1, 8, 5)
    spacing = np.log(100) / 16  # of the grid of exponents, which runs geometrically from 0.02 to 2
    assert abs(np.log(seeds[0, 0, 3] / 0.34)) < spacing
    assert abs(np.log(seeds[0, 0, 4] / 0.28)) < spacing


def test_the_solver_and_the_table_agree_on_the_parameters() -> None:
    assert LAW.to_parameters(THETA) == pytest.approx([1.69, np.exp(6.0), np.exp(6.1), 0.34, 0.28])
    assert LAW.to_coordinates(dict(zip(LAW.names, LAW.to_parameters(THETA), strict=True))) == pytest.approx(THETA)

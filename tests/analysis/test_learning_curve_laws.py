"""Laws in one variable: their published formulas, exact derivatives, and parameters recovered from exact data."""

import numpy as np
import pytest

from analysis import fitting
from analysis.laws import LAWS, Law

PARAMETERS = {
    "m1": {"B": 30.0, "c": 0.2},
    "m2": {"E": 0.4, "B": 300.0, "c": 0.35},
    "m3": {"B": 50.0, "c": 0.25, "S": 3e7},
    "m4": {"E": 0.2, "A": 0.7, "X": 2e6, "c": 0.6, "alpha": 0.5},
    "bnsl0": {"a": 0.4, "b": 300.0, "c0": 0.35},
    "bnsl1": {"a": 0.2, "b": 1.3, "c0": 0.03, "c1": 0.4, "d1": 1e6, "f1": 0.4},
    "bnsl2": {"a": 0.2, "b": 1.3, "c0": 0.03, "c1": 0.5, "d1": 3e5, "f1": 0.3, "c2": -0.3, "d2": 2e7, "f2": 0.2},
    "bnsl3": {"a": 0.2, "b": 1.3, "c0": 0.03, "c1": 0.5, "d1": 3e5, "f1": 0.3, "c2": -0.3, "d2": 6e6, "f2": 0.2}
    | {"c3": 0.4, "d3": 3e7, "f3": 0.3},
}
X = np.geomspace(1e5, 1e8, 40)
LOGS = np.log(X)[None]
laws = pytest.mark.parametrize("law", [LAWS[name] for name in PARAMETERS], ids=list(PARAMETERS))


def truth(law: Law) -> np.ndarray:
    return law.to_coordinates(PARAMETERS[law.name])


def predicted(law: Law) -> np.ndarray:
    return np.exp(law.log_value(truth(law), LOGS))


def test_m1_to_m3_are_their_formulas() -> None:
    np.testing.assert_allclose(predicted(LAWS["m1"]), 30 * X**-0.2, rtol=1e-12)
    np.testing.assert_allclose(predicted(LAWS["m2"]), 0.4 + 300 * X**-0.35, rtol=1e-12)
    np.testing.assert_allclose(predicted(LAWS["m3"]), 50 * (1 / X + 1 / 3e7) ** 0.25, rtol=1e-12)


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 3.0, 10.0])
def test_m4_solves_the_equation_of_the_paper(alpha: float) -> None:
    """(L - E) / (L0 - L)^alpha = b x^-c, with L0 = E + A and b = X^c A^(1 - alpha), over 24 decades of x."""
    x = np.geomspace(1e-6, 1e18, 200)
    p = PARAMETERS["m4"] | {"alpha": alpha}
    loss = np.exp(LAWS["m4"].log_value(LAWS["m4"].to_coordinates(p), np.log(x)[None]))
    above, below = loss - p["E"], p["E"] + p["A"] - loss
    inside = (above > 1e-6) & (below > 1e-6)  # beyond, the differences are rounding
    assert inside.sum() > 50
    right = p["X"] ** p["c"] * p["A"] ** (1 - alpha) * x[inside] ** -p["c"]
    np.testing.assert_allclose(above[inside] / below[inside] ** alpha, right, rtol=1e-7)
    assert (np.diff(loss) <= 0).all()
    assert (loss <= 0.9).all()
    assert loss[-1] == pytest.approx(0.2, rel=1e-4)


def test_bnsl_is_its_formula() -> None:
    p = PARAMETERS["bnsl2"]
    expected = p["b"] * X ** -p["c0"]
    for i in (1, 2):
        expected *= (1 + (X / p[f"d{i}"]) ** (1 / p[f"f{i}"])) ** (-p[f"c{i}"] * p[f"f{i}"])
    np.testing.assert_allclose(predicted(LAWS["bnsl2"]), p["a"] + expected, rtol=1e-12)


def test_special_cases_meet() -> None:
    """Without a break BNSL is M2; M3 far below its saturation is M1; M4 at alpha = 1 is a logistic in log x."""
    np.testing.assert_allclose(predicted(LAWS["bnsl0"]), predicted(LAWS["m2"]), rtol=1e-14)
    unsaturated = LAWS["m3"].to_coordinates({"B": 30.0, "c": 0.2, "S": 1e30})
    np.testing.assert_allclose(np.exp(LAWS["m3"].log_value(unsaturated, LOGS)), predicted(LAWS["m1"]), rtol=1e-12)
    logistic = LAWS["m4"].to_coordinates(PARAMETERS["m4"] | {"alpha": 1.0})
    np.testing.assert_allclose(np.exp(LAWS["m4"].log_value(logistic, LOGS)), 0.2 + 0.7 / (1 + (X / 2e6) ** 0.6), rtol=1e-12)


@laws
def test_derivatives_match_differences(law: Law) -> None:
    theta, step = truth(law), 1e-6
    unit = step * np.eye(len(theta))
    weights = np.random.default_rng(0).standard_normal((1, len(X)))
    _, gradient, second = law.derivatives(theta[None], LOGS)
    gradient = np.broadcast_to(gradient[0], (len(theta), len(X)))
    slopes = (law.log_value(theta + unit, LOGS) - law.log_value(theta - unit, LOGS)) / (2 * step)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)
    above, below = (law.derivatives(theta + sign * unit, LOGS)[1] @ weights[0] for sign in (1, -1))
    np.testing.assert_allclose(second(weights)[0], (above - below) / (2 * step), rtol=1e-5, atol=1e-6)


@laws
def test_shift_moves_the_origin_of_the_logarithm(law: Law) -> None:
    theta, offset = truth(law), np.array([4.0])
    np.testing.assert_allclose(
        law.log_value(law.shift(theta, offset), LOGS), law.log_value(theta, LOGS - 4.0), rtol=1e-11, atol=1e-13
    )


@laws
def test_the_truth_lies_within_the_bounds(law: Law) -> None:
    centre = law.centre(LOGS)
    low, high = law.bounds(LOGS - centre, law.log_value(truth(law), LOGS))
    inside = law.shift(truth(law), -centre)
    assert (low < inside).all()
    assert (inside < high).all()


@pytest.mark.parametrize("name", ["m1", "m2", "m3", "m4", "bnsl0", "bnsl1"])
def test_parameters_are_recovered_from_exact_losses(name: str) -> None:
    law = LAWS[name]
    best = fitting.fit(law, LOGS, law.log_value(truth(law), LOGS))
    np.testing.assert_allclose(best.solution.theta[0], truth(law), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["bnsl2", "bnsl3"])
def test_curves_with_several_breaks_are_recovered(name: str) -> None:
    """Their parameters are interchangeable, the curve is not: within 0.1 %, noise that no learning curve lacks."""
    law = LAWS[name]
    best = fitting.fit(law, LOGS, law.log_value(truth(law), LOGS))
    fitted = law.log_value(best.solution.theta[0], LOGS)
    np.testing.assert_allclose(fitted, law.log_value(truth(law), LOGS), atol=1e-3)


def test_a_break_is_sought_among_the_data() -> None:
    law = LAWS["bnsl1"]
    low, high = law.bounds(LOGS, law.log_value(truth(law), LOGS))
    place = law.names.index("d1")
    assert (low[place], high[place]) == (LOGS.min(), LOGS.max())

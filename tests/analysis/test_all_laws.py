"""What every law owes the solver and its reader, held for each of the registry."""

import re
from collections.abc import Callable
from pathlib import Path

import law_cases
import numpy as np
import pytest

from analysis import fitting
from analysis.laws import LAWS, Law
from analysis.laws import law as law_by_name

DOCS = Path(__file__).resolve().parents[2] / "docs/laws.md"
all_laws = pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))


def centred(law: Law) -> tuple[np.ndarray, np.ndarray]:
    """True coordinates (P,) and variables (V, N) as the solver sees them."""
    logs = law_cases.logs(law)
    centre = law.centre(logs)
    return law.shift(law.to_coordinates(law_cases.truth(law)), -centre), logs - centre[:, None]


@all_laws
def test_derivatives_match_differences(law: Law) -> None:
    theta, logs = centred(law)
    logs = logs[:, :: max(1, logs.shape[1] // 12)]
    weights = np.random.default_rng(0).standard_normal((1, logs.shape[1]))
    value, gradient, second = law.derivatives(theta[None], logs)
    np.testing.assert_allclose(value[0], law.log_value(theta, logs), rtol=1e-12)
    step = 1e-5 * np.eye(len(theta))
    slopes = (law.log_value(theta + step, logs) - law.log_value(theta - step, logs)) / 2e-5
    scale = 1 + np.abs(slopes).max()
    np.testing.assert_allclose(gradient[0], slopes, rtol=1e-5, atol=1e-7 * scale)
    above, below = (law.derivatives(theta + sign * step, logs)[1] @ weights[0] for sign in (1, -1))
    np.testing.assert_allclose(second(weights)[0], (above - below) / 2e-5, rtol=1e-4, atol=1e-5 * scale)


def test_the_fast_derivatives_of_farseer_are_those_of_the_formula() -> None:
    law = LAWS["farseer"]
    theta, logs = centred(law)
    lanes, weights = theta + 0.05 * np.random.default_rng(0).standard_normal((4, 9)), np.random.default_rng(1).random((4, 49))
    for fast, by_jets in zip(law.derivatives(lanes, logs), Law.derivatives(law, lanes, logs), strict=True):
        if callable(fast):
            fast, by_jets = fast(weights), by_jets(weights)
        np.testing.assert_allclose(fast, by_jets, rtol=1e-10, atol=1e-10 * np.abs(by_jets).max())


@all_laws
def test_a_change_of_units_moves_the_coordinates_only(law: Law) -> None:
    logs = law_cases.logs(law)
    theta, offset = law.to_coordinates(law_cases.truth(law)), 0.3 * law.centre(logs)
    predicted = law.log_value(law.shift(theta, offset), logs)
    np.testing.assert_allclose(predicted, law.log_value(theta, logs - offset[:, None]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "law", [law for law in LAWS.values() if law.name != "bnsl3"], ids=lambda law: law.name
)  # slow, tested with its family
def test_points_without_noise_give_the_parameters_back(law: Law, record_property: Callable[[str, object], None]) -> None:
    logs = law_cases.logs(law)
    truth = law.to_coordinates(law_cases.truth(law))
    values = law.log_value(truth, logs)
    fitting.check(law, np.exp(logs), np.exp(values), [str(number) for number in range(logs.shape[1])])
    best = fitting.fit(law, logs, values)
    record_property("share_of_starts", float(best.share_of_starts[0]))
    assert best.solution.converged.all()
    assert best.share_of_starts[0] >= 0.25
    np.testing.assert_allclose(law.log_value(best.solution.theta[0], logs), values, atol=1e-10)
    if not law.name.startswith("bnsl"):  # whose breaks can trade places
        np.testing.assert_allclose(law.to_parameters(best.solution.theta[0]), law.to_parameters(truth), rtol=1e-8)


@all_laws
def test_the_search_holds_the_truth(law: Law) -> None:
    theta, logs = centred(law)
    low, high = law.bounds(logs, law.log_value(theta, logs))
    assert ((low < theta) & (theta < high)).all()


@all_laws
def test_published_parameters_survive_the_way_to_coordinates_and_back(law: Law) -> None:
    for parameters in (*law.published.values(), law_cases.truth(law)):
        back = law.to_parameters(law.to_coordinates(parameters))
        np.testing.assert_allclose(back, [parameters[name] for name in law.names], rtol=1e-12)


@all_laws
def test_a_law_is_read_back_from_its_name(law: Law) -> None:
    assert law_by_name(law.name) is law


def test_the_documented_table_is_the_registry() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", DOCS.read_text(), re.MULTILINE)
    documented = [tuple(map(str.strip, row)) for row in rows]
    assert documented == [(law.name, law.formula, law.target, variables(law), law.source) for law in LAWS.values()]


def variables(law: Law) -> str:
    return "those of `schedule_features`" if law.name == "multi-power" else ", ".join(law.variables)

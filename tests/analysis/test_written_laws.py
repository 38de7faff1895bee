"""Laws that a user makes: expressions, constraints, and their way through a file."""

from pathlib import Path

import law_cases
import numpy as np
import pandas as pd
import pytest

from analysis import fitting
from analysis.errors import AnalysisError
from analysis.fits import fit_law
from analysis.laws import LAWS, Expression, Law, constrained, law
from analysis.prediction import predict, sample
from analysis.results import read_fit, write_fit

TEXT = "E + A / parameters**alpha + B / tokens**beta"
GRID = law_cases.table(LAWS["chinchilla"])
LOGS = law_cases.logs(LAWS["chinchilla"])

# An expression, its parameters, and what it is in plain NumPy at n parameters and d tokens.
EXPRESSIONS = {
    "a sum of powers": (
        TEXT, {"E": 1.7, "A": 400.0, "B": 600.0, "alpha": 0.34, "beta": 0.3},
        lambda n, d: 1.7 + 400 / n**0.34 + 600 / d**0.3,
    ),
    "an interaction": (
        "E + A * parameters**-alpha * tokens**(-beta / 2)", {"E": 1.7, "A": 4e4, "alpha": 0.3, "beta": 0.5},
        lambda n, d: 1.7 + 4e4 * n**-0.3 * d**-0.25,
    ),
    "a term taken away": (
        "E - A / tokens**alpha + B / parameters**0.3", {"E": 5.0, "A": 90.0, "alpha": 0.2, "B": 100.0},
        lambda n, d: 5 - 90 / d**0.2 + 100 / n**0.3,
    ),
    "a bracket": (
        "E + (A / parameters**alpha + B / tokens) ** beta", {"E": 1.0, "A": 3e3, "B": 4e8, "alpha": 0.5, "beta": 0.4},
        lambda n, d: 1 + (3e3 / n**0.5 + 4e8 / d) ** 0.4,
    ),
    "Kaplan's": (
        "((N_c / parameters)**(alpha / beta) + D_c / tokens)**beta",
        {"N_c": 6.4e13, "alpha": 0.076, "beta": 0.103, "D_c": 1.8e13},
        lambda n, d: ((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103,
    ),
    "exp and log": (
        "E + A * exp(-log(parameters * tokens) / S) - -0.5", {"E": 1.0, "A": 500.0, "S": 7.0},
        lambda n, d: 1.5 + 500 * np.exp(-np.log(n * d) / 7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_is_what_python_makes_of_it(name: str) -> None:
    text, parameters, plain = EXPRESSIONS[name]
    written = law(text)
    theta = written.to_coordinates(parameters)
    n, d = np.exp(law_cases.logs(LAWS["chinchilla"]))
    values = {"parameters": n, "tokens": d}
    logs = np.log(np.stack([values[variable] for variable in written.variables]))
    np.testing.assert_allclose(np.exp(written.log_value(theta, logs)), plain(n, d), rtol=1e-12)

    centre = written.centre(logs)
    moved = written.log_value(written.shift(theta, -centre), logs - centre[:, None])
    np.testing.assert_allclose(moved, written.log_value(theta, logs), rtol=1e-12)

    _, gradient, _ = written.derivatives(theta[None], logs)
    step = 1e-6 * np.eye(len(theta))
    slopes = (written.log_value(theta + step, logs) - written.log_value(theta - step, logs)) / 2e-6
    np.testing.assert_allclose(gradient[0], slopes, rtol=1e-6, atol=1e-8)

    best = fitting.fit(written, logs, written.log_value(theta, logs))
    np.testing.assert_allclose(np.exp(written.log_value(best.solution.theta[0], logs)), plain(n, d), rtol=1e-8)


def test_an_expression_knows_its_coefficients_and_what_can_be_centred() -> None:
    written = law("E + A / parameters**alpha + B / tokens**beta + C * log(tokens)")
    assert isinstance(written, Expression)
    assert written.coefficients == ("E", "A", "B", "C")
    assert written.centred == ("parameters",)  # log(tokens) is no power of tokens
    assert {each.name: each.kind for each in written.parameters} == {
        "E": "coefficient", "A": "coefficient", "alpha": "exponent", "B": "coefficient", "beta": "exponent", "C": "coefficient",
    }  # fmt: skip


def test_a_definition_names_its_own_columns() -> None:
    written = law("error(width, tokens) = E + A / width**alpha + B / tokens**beta")
    assert (written.target, written.variables) == ("error", ("width", "tokens"))
    again = law(written.name)
    assert (again.name, again.variables, again.parameters) == (written.name, written.variables, written.parameters)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("E + A / parameters^alpha", "'E + A / parameters ^ alpha' in a law's expression is not known"),
        ("E + sin(parameters)", "'sin(parameters)' in a law's expression is not known"),
        ("E + parameters.real", "'parameters.real' in a law's expression is not known"),
        ("E + A * (parameters if tokens else 1)", "is not known; it may hold"),
        ("__import__('os')", "is not known"),
        ("E + 'a' * tokens", "'a'"),
        ("E + A / (tokens", "is no Python expression"),
        ("E + A * B", "has no variable"),
        ("tokens / parameters", "has no parameter"),
        ("chinchila", "no law 'chinchila'; the nearest is 'chinchilla'"),
        ("chinchilla with gamma = 1", "has no parameter 'gamma'; it has E, A, B, alpha, beta"),
        ("chinchilla with beta = gamma", "not to 'gamma'"),
        ("chinchilla with A = B", "only exponents and numbers can be tied"),
        ("chinchilla with beta", "is no constraint"),
    ],
)
def test_what_is_not_understood_is_named(text: str, words: str) -> None:
    with pytest.raises(AnalysisError) as caught:
        law(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "definition",
    [
        "chinchilla with beta = alpha",
        "chinchilla with E = 1.5, alpha = 0.34",
        "chinchilla with A = 406.4",
        "kaplan with D_c = 18000000000000.0",
        "kaplan with alpha_D = 0.103, D_c = 18000000000000.0",
        "learning-rate with beta = 0.3",
    ],
)
def test_a_constrained_law_is_the_law_at_its_constraints(definition: str) -> None:
    held = law(definition)
    inner = LAWS[definition.split(" with ")[0]]
    truth = law_cases.truth(inner)
    constraints = held.constraints  # type: ignore[attr-defined]
    completed = {name: truth.get(value, value) for name, value in constraints.items()}
    logs = law_cases.logs(inner)
    values = inner.log_value(inner.to_coordinates({**truth, **completed}), logs)
    theta = held.to_coordinates({**truth, **completed})
    np.testing.assert_allclose(held.log_value(theta, logs), values, rtol=1e-12)
    centre = held.centre(logs)
    np.testing.assert_allclose(held.log_value(held.shift(theta, -centre), logs - centre[:, None]), values, rtol=1e-10)

    best = fitting.fit(held, logs, values)
    assert best.solution.converged[0]
    np.testing.assert_allclose(held.to_parameters(best.solution.theta[0]), held.to_parameters(theta), rtol=1e-7)
    assert law(held.name).parameters == held.parameters


def test_a_tie_keeps_the_units_free_and_a_held_coefficient_does_not() -> None:
    chinchilla = LAWS["chinchilla"]
    assert constrained(chinchilla, beta="alpha").centred == ("parameters", "tokens")
    assert constrained(chinchilla, A=400.0).centred == ("tokens",)
    held = dict(LAWS["data-constrained"].published["muennighoff"])
    del held["R_D"], held["R_N"]
    assert constrained(LAWS["data-constrained"], **held).centred == ()


@pytest.mark.parametrize("written", [law(TEXT), law("chinchilla with beta = alpha")], ids=["expression", "constrained"])
def test_a_written_law_survives_its_file(written: Law, tmp_path: Path) -> None:
    parameters = {"E": 1.7, "A": 400.0, "B": 600.0, "alpha": 0.34, "beta": 0.34}
    points = sample(LAWS["chinchilla"], parameters, GRID, 0.003, seed=1)
    fit = fit_law(points, written, draws=50)
    again = read_fit(write_fit(fit, tmp_path))
    assert again.form.name == written.name
    pd.testing.assert_frame_equal(predict(again, GRID), predict(fit, GRID))

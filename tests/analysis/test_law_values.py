"""Each law against its formula written out again in plain numbers, and against numbers that its paper prints."""

from math import exp, log, log10

import law_cases
import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.laws import LAWS, Law, MultiPower, schedule_features
from analysis.laws.farseer import growth

PF_DAY = 1e15 * 86400


def value(law: Law, parameters: dict[str, float], *variables: float) -> float:
    return float(np.exp(law.log_value(law.to_coordinates(parameters), np.log(np.array(variables, float)[:, None])))[0])


def published(name: str, who: str, *variables: float) -> float:
    return value(LAWS[name], LAWS[name].published[who], *variables)


def saturated(experts: float, start: float, most: float) -> float:
    return 1 / (1 / (experts - 1 + 1 / (1 / start - 1 / most)) + 1 / most)


N, D, C, L = 2e8, 3e9, 4e19, 2.7
FORMULAS = {
    ("chinchilla", (N, D)): 1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658,
    ("kaplan-parameters", (N,)): (8.8e13 / N) ** 0.076,
    ("kaplan-tokens", (D,)): (5.4e13 / D) ** 0.095,
    ("kaplan-compute", (C,)): (1.6e7 * PF_DAY / C) ** 0.057,
    ("kaplan-minimum-compute", (C,)): (3.1e8 * PF_DAY / C) ** 0.050,
    ("kaplan", (N, D)): ((6.4e13 / N) ** (0.076 / 0.103) + 1.8e13 / D) ** 0.103,
    ("kaplan-steps", (N, 2e4)): (6.5e13 / N) ** 0.077 + (2.1e3 / 2e4) ** 0.76,
    ("critical-batch", (L,)): 2e8 / L ** (1 / 0.21),
    ("learning-rate", (N, D)): 1.79 * N**-0.713 * D**0.307,
    ("batch", (D,)): 0.58 * D**0.571,
    ("compute-learning-rate", (C,)): 0.3118 * C**-0.1250,
    ("compute-batch", (C,)): 0.2920 * C**0.3271,
    ("transfer", (3e7, N)): 1.9e4 * 3e7**0.18 * N**0.38,
    ("routed", (N, 64)): 10
    ** (
        -0.082 * log10(N)
        - 0.108 * log10(saturated(64, 1.847, 314.478))
        + 0.009 * log10(N) * log10(saturated(64, 1.847, 314.478))
        + 1.104
    ),
    ("fine-grained", (N, D, 4)): 0.47 + (2.1 / 4**0.58 + 18.1) / N**0.115 + 30.8 / D**0.147,
    ("weight-precision", (N, D, 4)): 2.7648 + 4299 / (N * (1 - exp(-4 / 2.6745))) ** 0.4965 + 18060 / D**0.4965,
    ("precision", (N, D, 4, 8, 6)): 2.7648
    + 4299 / (N * (1 - exp(-4 / 2.6745)) * (1 - exp(-8 / 2.2102)) * (1 - exp(-6 / 0.9578))) ** 0.4965
    + 18060 / D**0.4965,
    ("quantization", (N, D, 4)): 0.0598 * D**0.5068 / N**0.3439 * exp(-4 / 0.5907),
}
WHO = {"chinchilla": "besiroglu", "transfer": "text to python", "routed": "s-base"}


@pytest.mark.parametrize(("name", "variables"), FORMULAS, ids=[name for name, _ in FORMULAS])
def test_published_law_is_its_formula(name: str, variables: tuple[float, ...]) -> None:
    who = WHO.get(name, next(iter(LAWS[name].published)))
    assert published(name, who, *variables) == pytest.approx(FORMULAS[name, variables], rel=1e-12)


def test_over_training_is_chinchilla_with_tied_exponents() -> None:
    """Gadre et al.: alpha = beta = 2 eta, a = A 6^eta, b = B 6^eta, at C = 6 N D and M = D / N."""
    eta = 0.16
    tied = 1.5 + 200 / N ** (2 * eta) + 600 / D ** (2 * eta)
    parameters = {"E": 1.5, "a": 200 * 6**eta, "b": 600 * 6**eta, "eta": eta}
    assert value(LAWS["over-training"], parameters, 6 * N * D, D / N) == pytest.approx(tied, rel=1e-12)


def test_farseer_is_its_formula() -> None:
    p = law_cases.CHOSEN["farseer"]
    data = exp(p["a_2"] * N ** p["beta"] + p["b_2"]) * D ** -exp(p["a_1"] * N ** p["alpha"] + p["b_1"])
    assert value(LAWS["farseer"], p, N, D) == pytest.approx(exp(p["a_3"] * N ** p["gamma"] + p["b_3"]) + data, rel=1e-12)


def test_growth_is_smooth_through_zero() -> None:
    x = np.array([-30.0, -1.0, -0.999999, -1e-9, 0.0, 1e-9, 0.999999, 1.0, 30.0])
    expected = np.array([np.expm1(v) / v if v else 1.0 for v in x])
    np.testing.assert_allclose(growth(x), expected, rtol=1e-14)


def test_downstream_laws_are_their_formulas() -> None:
    p = law_cases.CHOSEN["downstream-error"]
    assert value(LAWS["downstream-error"], p, L) == pytest.approx(0.85 - 2.2 * exp(-0.7 * L), rel=1e-12)
    p = law_cases.CHOSEN["downstream-accuracy"]
    assert value(LAWS["downstream-accuracy"], p, 0.9) == pytest.approx(0.25 + 0.7 / (1 + exp(5 * (0.9 - 1.1))), rel=1e-12)


def test_vocabulary_is_its_formula_and_finite_where_it_has_no_gain() -> None:
    law, p = LAWS["vocabulary"], law_cases.CHOSEN["vocabulary"]
    expected = 6 - 900 / N**0.45 - 3000 / 1e7**0.67 - 20000 / D**0.45
    assert value(law, p, N, 1e7, D) == pytest.approx(expected, rel=1e-12)
    assert 0 < value(law, p, 1e3, 1e3, 1e3) < 1e-6


@pytest.mark.parametrize(
    ("parameters", "tokens", "loss"), [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)]
)
def test_data_constrained_matches_the_values_its_authors_print(parameters: float, tokens: float, loss: float) -> None:
    """The README of huggingface/datablations, for 25 billion unique tokens."""
    assert published("data-constrained", "muennighoff", parameters, tokens, 25e9) == pytest.approx(loss, rel=1e-12)


def test_unrepeated_tokens_and_small_models_leave_the_chinchilla_law() -> None:
    law = LAWS["data-constrained"]
    p = law.published["muennighoff"]
    plain = p["E"] + p["A"] / 1e8 ** p["alpha"] + p["B"] / 1e11 ** p["beta"]
    assert value(law, p, 1e8, 1e11, 1e11) == pytest.approx(plain, rel=1e-12)
    assert value(law, p, 1e8, 1e11, 5e11) == pytest.approx(plain, rel=1e-12)  # more unique tokens than were trained on


def test_kaplan_constants_agree_with_what_the_paper_says_of_them() -> None:
    """Batches of 1 to 2 million tokens for the largest models at convergence (section 5.1); the loss of GPT-2's size."""
    assert 1e6 < published("critical-batch", "kaplan", 2.9) < 2e6
    many = published("kaplan", "kaplan", 1e9, 1e15)
    assert many == pytest.approx((6.4e13 / 1e9) ** 0.076, rel=1e-3)  # with endless data only N limits


def test_step_law_at_one_billion_parameters_and_a_hundred_billion_tokens() -> None:
    rate, batch = published("learning-rate", "step law", 1e9, 1e11), published("batch", "step law", 1e11)
    assert log(rate) == pytest.approx(log(1.79) - 0.713 * log(1e9) + 0.307 * log(1e11))
    assert 1.5e-3 < rate < 1.8e-3
    assert 1.0e6 < batch < 1.2e6


def multi_power_by_steps(schedule: np.ndarray, p: dict[str, float]) -> np.ndarray:
    """The law as its formula has it: a sum over every step after the peak."""
    sums, losses = np.cumsum(schedule), []
    peak = schedule.argmax()
    for t in range(len(schedule)):
        k = np.arange(peak + 1, t + 1)
        behind = sums[t] - sums[k] + schedule[k]
        gained = 1 - (1 + p["C"] * schedule[k] ** -p["gamma"] * behind) ** -p["beta"]
        drop = p["B"] * ((schedule[k - 1] - schedule[k]) * gained).sum()
        losses.append(p["L_0"] + p["A"] * sums[t] ** -p["alpha"] - drop)
    return np.array(losses)


def test_multi_power_in_bins_is_the_sum_over_steps() -> None:
    p, law = law_cases.CHOSEN["multi-power"], MultiPower()
    steps = np.arange(1, 3001)
    share = np.clip((steps - 200) / 2800, 0, 1)
    schedule = np.where(steps < 200, steps / 200 * 3e-4, 3e-5 + 1.35e-4 * (1 + np.cos(np.pi * share)))
    curve = schedule_features(pd.DataFrame({"run": "cosine", "step": steps, "learning_rate": schedule}))
    logs = np.log(curve[list(law.variables)].to_numpy().T)
    predicted = np.exp(law.log_value(law.to_coordinates(p), logs))
    np.testing.assert_allclose(predicted[200:], multi_power_by_steps(schedule, p)[200:], atol=1e-4)


def test_a_schedule_that_rises_again_is_refused_with_its_step() -> None:
    curve = pd.DataFrame({"run": "r1", "step": [100, 200, 300], "learning_rate": [3e-4, 1e-4, 2e-4]})
    with pytest.raises(AnalysisError, match="r1: the learning rate rises at step 300"):
        schedule_features(curve)
    with pytest.raises(AnalysisError, match="no column 'learning_rate'"):
        schedule_features(curve.drop(columns="learning_rate"))

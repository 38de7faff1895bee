"""Predictions of any law, their inverse, two steps joined, and simulated points."""

from dataclasses import replace

import law_cases
import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.fits import fit_law
from analysis.forecasting import loss_interval
from analysis.laws import LAWS
from analysis.prediction import chain, invert, predict, sample
from analysis.results import Fit

CHINCHILLA = LAWS["chinchilla"]
TRUTH = CHINCHILLA.published["hoffmann"]
BEYOND = pd.DataFrame({"parameters": [1e8, 7e10], "tokens": [3e9, 1.4e12]}, index=["inside", "beyond"])


@pytest.fixture(scope="module")
def fit() -> Fit:
    return fit_law(sample(CHINCHILLA, TRUTH, law_cases.table(CHINCHILLA), 0.005, seed=0), CHINCHILLA, draws=300)


def test_samples_lie_around_the_law_with_the_noise_asked_for() -> None:
    table = pd.DataFrame({"parameters": np.full(20_000, 1e9), "tokens": np.full(20_000, 2e10)})
    residual = np.log(sample(CHINCHILLA, TRUTH, table, 0.01, seed=3)["loss"]) - np.log(
        TRUTH["E"] + TRUTH["A"] / 1e9 ** TRUTH["alpha"] + TRUTH["B"] / 2e10 ** TRUTH["beta"]
    )
    assert residual.mean() == pytest.approx(0.0, abs=4 * 0.01 / np.sqrt(20_000))
    assert residual.std() == pytest.approx(0.01, rel=4 / np.sqrt(2 * 20_000))
    again = sample(CHINCHILLA, TRUTH, table, 0.01, seed=3)["loss"]
    np.testing.assert_array_equal(again, sample(CHINCHILLA, TRUTH, table, 0.01, seed=3)["loss"])


def test_predictions_hold_the_truth_and_widen_beyond_the_data(fit: Fit) -> None:
    predicted = predict(fit, BEYOND)
    truth = sample(CHINCHILLA, TRUTH, BEYOND, 0.0, seed=0)["loss"]
    assert (predicted["low"] < truth).all()
    assert (truth < predicted["high"]).all()
    width = np.log(predicted["high"] / predicted["low"])
    assert width["beyond"] > 2 * width["inside"]
    assert predicted["extrapolation"].round(3).to_dict() == {"inside": 0.0, "beyond": round(7e10 * 1.4e12 / (1e10 * 2e11), 3)}


def test_forecasts_and_predictions_are_the_same_numbers(fit: Fit) -> None:
    low, high = loss_interval(fit, *BEYOND.to_numpy().T)
    predicted = predict(fit, BEYOND)
    np.testing.assert_allclose(low, predicted["low"], rtol=1e-12)
    np.testing.assert_allclose(high, predicted["high"], rtol=1e-12)
    low, high = loss_interval(fit, *BEYOND.to_numpy().T, law_error=False)
    np.testing.assert_allclose(low, predicted["statistical_low"], rtol=1e-12)
    np.testing.assert_allclose(high, predicted["statistical_high"], rtol=1e-12)


def test_predictions_read_the_columns_of_the_fit(fit: Fit) -> None:
    other = replace(fit, columns={**fit.columns, "parameters": "non_embedding_parameters"})
    renamed = BEYOND.rename(columns={"parameters": "non_embedding_parameters"})
    pd.testing.assert_series_equal(predict(other, renamed)["value"], predict(fit, BEYOND)["value"])
    with pytest.raises(AnalysisError, match="needs the column 'non_embedding_parameters' for its parameters"):
        predict(other, BEYOND)
    with pytest.raises(AnalysisError, match="tokens must be positive and finite; it is not in rows beyond"):
        predict(fit, BEYOND.assign(tokens=[1e9, -1.0]))


def test_an_inverse_undoes_a_prediction(fit: Fit) -> None:
    tokens, low, high = invert(fit, 2.6, "tokens", {"parameters": 1e9})
    at = predict(fit, pd.DataFrame({"parameters": [1e9], "tokens": [tokens]}))["value"]
    assert at[0] == pytest.approx(2.6, rel=1e-9)
    b, beta = TRUTH["B"], TRUTH["beta"]
    exact = (b / (2.6 - TRUTH["E"] - TRUTH["A"] / 1e9 ** TRUTH["alpha"])) ** (1 / beta)
    assert low < exact < high
    assert low < tokens < high


def test_an_inverse_of_a_power_law_is_its_closed_form() -> None:
    """Without noise every draw is the truth; the law's error, which grows beyond the data, is all that is left."""
    law = LAWS["compute-batch"]
    points = sample(law, law.published["deepseek"], law_cases.table(law), 1e-9, seed=0)
    batch, low, high = invert(fit_law(points, law, draws=200), 1e6, "flops")
    exact = (1e6 / 0.2920) ** (1 / 0.3271)
    np.testing.assert_allclose([batch, low, high], exact, rtol=1e-6)


def test_a_value_that_the_law_does_not_reach_is_refused(fit: Fit) -> None:
    with pytest.raises(AnalysisError, match=r"does not reach a loss of 1\.2 at any tokens: it stays between"):
        invert(fit, 1.2, "tokens", {"parameters": 1e9})
    with pytest.raises(AnalysisError, match="name one of its variables"):
        invert(fit, 2.6, "flops", {"parameters": 1e9})
    with pytest.raises(AnalysisError, match="positive values"):
        invert(fit, -2.6, "tokens", {"parameters": 1e9})


def test_draws_that_never_get_there_make_the_interval_endless(fit: Fit) -> None:
    floor = fit.estimates["E"].value + 1e-3 + TRUTH["A"] / 1e10 ** TRUTH["alpha"]
    _, _, high = invert(fit, floor, "tokens", {"parameters": 1e10})
    assert high == np.inf


def test_two_steps_hold_the_truth_of_both(fit: Fit) -> None:
    law = LAWS["downstream-accuracy"]
    accuracy = {"a": 0.7, "b": 0.25, "k": 4.0, "L_0": 2.6}
    second = fit_law(sample(law, accuracy, pd.DataFrame({"loss": np.linspace(1.9, 4.5, 40)}), 0.005, seed=1), law, draws=200)
    table = pd.DataFrame({"parameters": [1e9], "tokens": [2e10]})
    joined = chain(fit, second, table)
    truth = sample(law, accuracy, sample(CHINCHILLA, TRUTH, table, 0.0, 0), 0.0, 0)["accuracy"]
    assert joined["low"][0] < truth[0] < joined["high"][0]
    alone = predict(second, sample(CHINCHILLA, TRUTH, table, 0.0, 0))
    assert joined["high"][0] - joined["low"][0] > alone["high"][0] - alone["low"][0]
    with pytest.raises(AnalysisError, match="starts from parameters and tokens"):
        chain(second, fit, table)

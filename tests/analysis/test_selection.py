"""Rollouts, the table that compares laws by them, and the default prediction."""

import numpy as np
import pandas as pd
import pytest

from analysis import selection
from analysis.errors import AnalysisError
from analysis.laws import LAWS
from analysis.selection import Candidate

X = np.geomspace(1e5, 1e8, 40)
M2 = {"E": 0.4, "B": 300.0, "c": 0.35}


def curve(law: str, parameters: dict[str, float], noise: float = 0.0, x: np.ndarray = X) -> pd.DataFrame:
    log_loss = LAWS[law].log_value(LAWS[law].to_coordinates(parameters), np.log(x)[None])
    return pd.DataFrame({"examples": x, "loss": np.exp(log_loss + noise * np.random.default_rng(0).standard_normal(len(x)))})


def laws(*names: str) -> list:
    return [LAWS[name] for name in names]


def test_a_rollout_sees_nothing_beyond_its_cutoff() -> None:
    points = curve("m2", M2, 0.01)
    logs, log_values = np.log(points[["examples"]].to_numpy().T), np.log(points["loss"].to_numpy())
    rolled = selection.roll_out(Candidate(LAWS["m2"]), logs, log_values, X, delta=1e-3, level=0.9)
    cutoff = rolled["cutoff"].min()
    first = rolled[rolled["cutoff"] == cutoff]
    changed = np.where(cutoff < X, log_values + 1.0, log_values)
    again = selection.roll_out(Candidate(LAWS["m2"]), logs, changed, X, delta=1e-3, level=0.9)
    np.testing.assert_allclose(again[again["cutoff"] == cutoff]["error"], first["error"] + 1.0, atol=1e-9)
    assert (X[first["point"]] > cutoff).all()
    np.testing.assert_allclose(first["distance"], np.log(X[first["point"]] / cutoff))


def test_cutoffs_are_sizes_present_at_half_octaves() -> None:
    """16 over 2^(1/2), 2, 2^(3/2) ... 8 is 11.3, 8, 5.7, 4, 2.8 and 2: the largest present at or under each."""
    np.testing.assert_array_equal(selection.cutoffs(np.array([1.0, 3, 2, 4, 5, 8, 10, 16])), [2, 4, 5, 8, 10])


def test_the_score_weighs_errors_by_distance() -> None:
    rolled = pd.DataFrame({"distance": [0.5, 2.0], "error": [0.1, 0.3]})
    assert selection.score(rolled) == pytest.approx(np.sqrt((4 * 0.01 + 0.25 * 0.09) / 4.25))


def test_the_law_of_the_data_is_first_and_exact() -> None:
    table = selection.compare(curve("m2", M2), laws("m1", "m2", "m3"), windows=[np.inf], draws=0)
    assert list(table["law"]) == ["m2", "m3", "m1"]
    assert table["score"][0] < 1e-6
    assert table["parameters"][0] == pytest.approx(M2, rel=1e-4)


def test_two_variables_are_rolled_out_in_compute() -> None:
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(2e8, 2e10, 6)))
    points = pd.DataFrame({"parameters": n, "tokens": d, "loss": 1.5 + 400 / n**0.35 + 2000 / d**0.38})
    row = selection.compare(points, laws("chinchilla"), windows=[np.inf], draws=0).iloc[0]
    assert row["refused"] == ""
    assert row["score"] < 1e-6
    assert row["cutoffs"] == len(selection.cutoffs(6 * n * d))


def test_a_window_leaves_an_early_regime_out() -> None:
    """A plateau before the power law: M2 fitted to the last factor 16 is right, fitted to everything it is not."""
    points = curve("m2", M2, x=np.geomspace(1e3, 1e9, 60))
    points["loss"] = np.minimum(points["loss"], 2.0)  # up to 1.5e6; the earliest fit sees from 7e6 on
    table = selection.compare(points, laws("m2"), windows=[np.inf, 16.0], draws=0).set_index("window")
    assert table["score"][16.0] < 1e-6
    assert table["score"][np.inf] > 1e-3


def test_intervals_hold_their_share_where_the_law_holds() -> None:
    """90 % nominal; rollouts of one curve share their points, so that eight curves bound it only roughly."""
    x = np.geomspace(1e5, 1e8, 60)
    log_loss = LAWS["m2"].log_value(LAWS["m2"].to_coordinates(M2), np.log(x)[None])
    random = np.random.default_rng(3)
    tables = [
        selection.compare(
            pd.DataFrame({"examples": x, "loss": np.exp(log_loss + 0.01 * random.standard_normal(60))}),
            laws("m2"),
            windows=[np.inf],
        )
        for _ in range(8)
    ]
    table = pd.concat(tables)
    assert 0.75 < table["coverage"].mean() <= 1.0
    assert (table["covered"] >= table["coverage"]).all()


def test_refusals_say_why() -> None:
    points = curve("m2", M2, x=np.geomspace(1e5, 1e8, 9))
    table = selection.compare(points, laws("m2", "bnsl3", "chinchilla"), draws=0).set_index(["law", "window"])
    assert table["refused"]["m2", np.inf] == ""
    assert "too few points" in table["refused"]["m2", 4.0]
    assert "9 points cannot carry the 12 parameters" in table["refused"]["bnsl3", np.inf]
    assert "no column 'parameters'" in table["refused"]["chinchilla", np.inf]
    with pytest.raises(AnalysisError, match=r"no law could be tested.*bnsl3: 9 points cannot carry"):
        selection.select(points, laws("bnsl3"))


def test_weights_are_the_inverse_of_scores_to_the_fourth() -> None:
    selected = selection.select(curve("m3", {"B": 50.0, "c": 0.25, "S": 3e7}, 0.01), laws("m1", "m2", "m3"))
    table = selected.table[selected.table["refused"] == ""]
    inverse = table["score"] ** -4.0
    np.testing.assert_allclose(table["weight"], inverse / inverse.sum())
    assert [each.law.name for each, *_ in selected.members] == list(table["law"])
    assert table["weight"].is_monotonic_decreasing


def test_the_prediction_is_the_weighted_mean_of_logs() -> None:
    selected = selection.select(curve("m2", M2, 0.01), laws("m1", "m2"), windows=[np.inf])
    ahead = np.array([3e8])
    expected = sum(weight * each.law.log_value(theta, np.log(ahead)[None]) for each, theta, weight in selected.members)
    np.testing.assert_allclose(selected.log_value({"examples": ahead}), expected)
    assert sum(weight for *_, weight in selected.members) == pytest.approx(1)


def test_on_exact_data_the_default_is_the_truth() -> None:
    predicted = selection.select(curve("m2", M2), laws("m1", "m2", "m3")).log_value({"examples": np.array([1e9])})
    np.testing.assert_allclose(np.exp(predicted), 0.4 + 300 * 1e9**-0.35, rtol=1e-6)


def test_excluded_rows_are_not_seen() -> None:
    points = curve("m2", M2, 0.01)
    out = points.assign(excluded=np.where(points.index >= 35, "holdout", ""))
    with_holdout = selection.compare(out, laws("m2"), draws=0)
    without = selection.compare(points.iloc[:35], laws("m2"), draws=0)
    pd.testing.assert_series_equal(with_holdout["score"], without["score"])


def test_columns_can_have_other_names() -> None:
    points = curve("m2", M2).rename(columns={"examples": "tokens"})
    table = selection.compare(points, laws("m2"), {"examples": "tokens"}, windows=[np.inf], draws=0)
    assert table["score"][0] < 1e-6


def test_laws_of_different_targets_are_not_compared() -> None:
    points = pd.DataFrame({"parameters": [1e6, 2e6], "tokens": [1e8, 2e8], "loss": [3.0, 2.9], "batch_tokens": [1e4, 1e4]})
    with pytest.raises(AnalysisError, match="chinchilla predicts the loss, batch predicts the"):
        selection.compare(points, [LAWS["chinchilla"], LAWS["batch"]])

"""Ends of runs predicted from their beginnings: simulated curves, and real ones at constant and decaying rates."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.in_flight import final_loss

DATA = Path(os.environ.get("SCALING_LAB_DATA", Path(__file__).resolve().parents[2] / "../shared/data")) / "multipowerlaw"
SIZES = ("25", "100", "400")


def simulated(random: np.random.Generator, noise: float, size: float = 1.0) -> pd.DataFrame:
    tokens = np.linspace(1e8, 2e10, 400)
    loss = 2.0 + 300 * size * tokens**-0.3 + 0.3 * np.exp(-tokens / 1e9)
    return pd.DataFrame({"tokens": tokens, "loss": loss * np.exp(noise * random.standard_normal(len(tokens)))})


def real(size: str, schedule: str) -> pd.DataFrame:
    path = DATA / size / f"{schedule}.csv"
    if not path.is_file():
        pytest.skip(f"no {path}: real data sets are not part of the project")
    return pd.read_csv(path).rename(columns={"step": "tokens", "lr": "learning_rate"}).assign(run=f"{size} {schedule}")


def first(curve: pd.DataFrame, share: float) -> pd.DataFrame:
    return curve[curve["tokens"] <= share * curve["tokens"].max()]


def end(curve: pd.DataFrame) -> float:
    return float(np.exp(np.log(curve.loc[curve["tokens"] >= 0.98 * curve["tokens"].max(), "loss"]).mean()))


@pytest.mark.parametrize("noise", [1e-3, 1e-2])
def test_ninety_percent_intervals_hold_the_end(noise: float) -> None:
    """Of 12 simulations at least 9: fewer has a probability of 3 % at 0.9; the interval errs on the wide side."""
    random = np.random.default_rng(0)
    inside = 0
    for _ in range(12):
        curve = simulated(random, noise)
        found = final_loss(first(curve, 0.5), curve["tokens"].max(), schedule="constant")
        inside += found.low < end(simulated(random, 0.0)) < found.high
    assert inside >= 9


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("schedule", ["constant_24000", "constant_72000"])
def test_real_curves_at_a_constant_rate(size: str, schedule: str) -> None:
    """From the first half to the end: within the interval, and four fifths of the fall to come foreseen."""
    curve = real(size, schedule)
    found = final_loss(first(curve, 0.5), curve["tokens"].max(), schedule="constant")
    assert found.low < end(curve) < found.high
    assert abs(found.loss - end(curve)) < 0.2 * (found.now - end(curve))


@pytest.mark.parametrize("schedule", ["cosine_24000", "wsd_20000_24000"])
def test_siblings_tell_what_a_decay_does(schedule: str) -> None:
    """Each size from the other two, which fell alike; its own continuation is refused or far off."""
    curves = {size: real(size, schedule) for size in SIZES}
    for size in SIZES:
        others = pd.concat([curve for other, curve in curves.items() if other != size])
        mine = curves[size]
        found = final_loss(first(mine, 0.6), mine["tokens"].max(), siblings=others)
        assert found.low < end(mine) < found.high
        assert found.loss == pytest.approx(end(mine), rel=0.02)


def test_a_decayed_end_is_refused() -> None:
    mine = real("100", "cosine_24000")
    with pytest.raises(AnalysisError, match="say schedule='constant' if it stays"):
        final_loss(first(mine, 0.6), 24000)
    with pytest.raises(AnalysisError, match=r"the learning rate went from .* that is not a constant schedule"):
        final_loss(first(mine, 0.6), 24000, schedule="constant")


def test_siblings_of_another_schedule_do_not_count() -> None:
    mine = real("400", "cosine_24000")
    others = pd.concat([real("25", "constant_24000"), real("100", "cosine_24000")])
    with pytest.raises(AnalysisError, match=r"1 siblings with the same schedule; .* have 25 constant_24000"):
        final_loss(first(mine, 0.6), mine["tokens"].max(), siblings=others)


def test_nothing_left_and_nothing_there() -> None:
    curve = simulated(np.random.default_rng(0), 1e-3)
    with pytest.raises(AnalysisError, match="there is no rest to predict"):
        final_loss(curve, 1e10, schedule="constant")
    with pytest.raises(AnalysisError, match="needs the column 'loss'"):
        final_loss(curve.drop(columns="loss"), 4e10, schedule="constant")
    with pytest.raises(AnalysisError, match="positive and finite"):
        final_loss(curve.assign(loss=-1.0), 4e10, schedule="constant")
    with pytest.raises(AnalysisError, match="too short to predict 40 times its tokens"):
        final_loss(curve, 8e11, schedule="constant")

"""Counting moves the exponent: Pearce & Song's account of Kaplan et al.'s, and the steps of Porian et al. on simulated runs."""

import numpy as np
import pandas as pd
import pytest
from simulated import World

from analysis.conventions import Convention
from analysis.corrections import by_convention, ladder
from analysis.envelope import fit_envelope

OMEGA = 47491  # Pearce & Song 2024, arXiv 2406.12907: all parameters are N + 47491 N^(1/3) where N are the non-embedding ones
WORLD = World()


def kaplan_runs(noise: float = 0.0) -> pd.DataFrame:
    """Curves of Kaplan et al.'s sizes, 768 to 1.5 billion, in a world where the loss follows all parameters."""
    n = np.geomspace(768, 1.5e9, 40)
    curves = WORLD.curves(np.random.default_rng(0), n + OMEGA * n ** (1 / 3), (1e6, 1e14), noise, points=300)
    return curves.assign(non_embedding_parameters=np.repeat(n, 300))


def test_pearce_and_song() -> None:
    """Their analytic frontier N*(C), with the embedding left out of both, and the exponent 0.78 they take from it.

    C = 6 N (N + omega N^(1/3) / 3)^(-1/beta) (N + omega N^(1/3))^((1 + alpha) / beta) (beta B / (alpha A))^(1/beta)
    """
    w = WORLD
    n = np.geomspace(1e2, 1e11, 2000)
    total = n + OMEGA * n ** (1 / 3)
    inner = (n + OMEGA / 3 * n ** (1 / 3)) ** (-1 / w.beta) * total ** ((1 + w.alpha) / w.beta)
    flops = 6 * n * inner * (w.beta / w.alpha * w.B / w.A) ** (1 / w.beta)
    curves = kaplan_runs()
    fit = fit_envelope(curves, Convention("non_embedding_parameters"), draws=40)
    used = fit.optima[fit.optima["budget"].between(10**12.95, 10**20.7)]
    analytic = np.interp(np.log(used["budget"]), np.log(flops), np.log(n))
    np.testing.assert_allclose(np.log(used["parameters"]), analytic, atol=0.3)  # a step between sizes is 0.37
    slope = np.polyfit(np.log(used["budget"]), np.log(used["parameters"]), 1)[0]
    assert slope == pytest.approx(np.polyfit(np.log(used["budget"]), analytic, 1)[0], abs=0.005)
    assert slope == pytest.approx(0.78, abs=0.01)


def test_the_same_runs_with_all_parameters_counted() -> None:
    fit = fit_envelope(kaplan_runs(), Convention("parameters"), draws=40)
    assert fit.laws["parameters"].exponent.value == pytest.approx(WORLD.a, abs=0.01)


def test_exponents_by_convention() -> None:
    table = by_convention(
        kaplan_runs(),
        {"without": Convention("non_embedding_parameters"), "with": Convention("parameters"), "absent": Convention("params")},
        budgets=np.geomspace(1e15, 1e18, 5),
        noise=1e-4,
        draws=50,
    ).set_index("convention")
    without, counted = table.loc["without"], table.loc["with"]
    assert without["exponent_low"] > 0.6 > counted["exponent_high"]
    assert counted["exponent"] == pytest.approx(WORLD.a, abs=0.02)
    assert np.isnan(table.loc["absent", "exponent"])
    assert "no column 'params'" in table.loc["absent", "reason"]


@pytest.fixture(scope="module")
def steps() -> pd.DataFrame:
    """Sizes with two rates each: cosine decays, a warmup of constant length, one of the rates too low."""
    rows, budgets = [], np.array([1e16, 4e16, 1.6e17])
    for budget in budgets:
        best = WORLD.best(budget)[0]
        for n in best * np.geomspace(0.3, 3, 9):
            horizon = budget / 6 / n
            for rate, handicap in ((1e-2, 0.0), (1e-3, 0.03)):
                share = np.linspace(0.02, 1, 60)
                cosine = 0.5 * (1 + np.cos(np.pi * share))
                loss = WORLD.loss(n, share * horizon) * np.exp(0.05 * cosine + handicap)
                part = pd.DataFrame({"tokens": share * horizon, "loss": loss, "horizon": horizon})
                part["learning_rate"] = rate * cosine
                rows.append(part.assign(run=f"{budget:g} {n:g} {rate:g}", non_embedding_and_head_parameters=n))
    curves = pd.concat(rows, ignore_index=True)
    n = curves["non_embedding_and_head_parameters"]
    return ladder(curves.assign(non_embedding_parameters=n - 5 * n ** (2 / 3)), budgets, curve="quadratic", draws=50).set_index(
        "step"
    )


def test_the_last_steps_recover_the_exponent(steps: pd.DataFrame) -> None:
    """Final points of tuned runs follow the law; what came before read the middle of decays and handicapped runs."""
    tuned = steps.loc["tuned"]
    assert tuned["budgets"] == 3
    assert tuned["exponent"] == pytest.approx(WORLD.a, abs=0.01)
    assert abs(steps.loc["head", "exponent"] - WORLD.a) > 0.02
    assert steps.loc["counting", "exponent"] > steps.loc["head", "exponent"]
    width = steps["exponent_high"] - steps["exponent_low"]
    assert width["tuned"] < 0.1 * width["horizon"], "runs with a rate too low look like noise"


def test_a_step_that_the_curves_cannot_tell_says_why(steps: pd.DataFrame) -> None:
    assert steps.loc["attention", "reason"] == "no column 'flops' with what the trainer counted"
    curves = WORLD.curves(np.random.default_rng(0), np.geomspace(5e7, 2e10, 25), (1e8, 1e12)).drop(columns="learning_rate")
    curves = curves.rename(columns={"parameters": "non_embedding_and_head_parameters"})
    table = ladder(curves, [1e20, 3e20, 1e21], draws=50).set_index("step")
    assert "no column 'non_embedding_parameters'" in table.loc["counting", "reason"]
    assert table.loc["head", "exponent"] == pytest.approx(WORLD.a, abs=0.02)
    assert "how long the warmup was is not known" in table.loc["warmup", "reason"]
    assert "no column 'horizon'" in table.loc["horizon", "reason"]
    assert "one run per size and horizon" in table.loc["tuned", "reason"]


def test_points_that_feel_their_warmup_are_left_out() -> None:
    """A warmup of 1e8 tokens on every run: points before 1e9 tokens go, and with them what was wrong with them."""
    curves = WORLD.curves(np.random.default_rng(0), np.geomspace(5e7, 2e10, 25), (2e7, 1e12), points=120)
    slow = curves.assign(
        loss=curves["loss"] * np.exp(0.5 * np.exp(-curves["tokens"] / 3e8)),
        learning_rate=np.minimum(1.0, curves["tokens"] / 1e8),
        non_embedding_parameters=curves["parameters"],
        non_embedding_and_head_parameters=curves["parameters"],
    )
    table = ladder(slow, np.geomspace(3e19, 1e21, 4), draws=50).set_index("step")
    before, after = table.loc["head", "exponent"], table.loc["warmup", "exponent"]
    assert after == pytest.approx(WORLD.a, abs=0.015)  # a cubic over two decades of sizes, the same at all budgets
    assert before < WORLD.a - 0.1

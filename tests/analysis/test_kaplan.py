"""Kaplan et al.'s system: the paper's own numbers, a numerical optimum, and recovery of a simulated world."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar

from analysis import kaplan
from analysis.laws import CriticalBatch, Kaplan, KaplanParameters, KaplanSteps, KaplanTokens

STEPS = KaplanSteps.published["kaplan"]
BATCH = CriticalBatch.published["kaplan"]
PF_DAY = 8.64e19
N = "non_embedding_parameters"


def test_adjustments_at_the_critical_batch() -> None:
    """There twice the least steps and twice the least compute are spent (section 5.1), and far from it neither or all."""
    assert kaplan.minimum_steps(2e4, 1e6, 1e6) == pytest.approx(1e4)
    assert kaplan.minimum_flops(2e20, 1e6, 1e6) == pytest.approx(1e20)
    assert kaplan.minimum_steps(1e4, 1e12, 1e6) == pytest.approx(1e4, rel=1e-5)
    assert kaplan.minimum_flops(1e20, 1.0, 1e6) == pytest.approx(1e20, rel=1e-5)


def test_steps_and_tokens_lie_on_their_hyperbola() -> None:
    """(S / S_min - 1)(E / E_min - 1) = 1 with B_crit = E_min / S_min (eq. 5.1 and 5.2)."""
    steps, batch, critical = np.array([3e3, 1e4, 8e4]), np.array([4e6, 1e6, 2e5]), 7e5
    least = kaplan.minimum_steps(steps, batch, critical)
    tokens = kaplan.minimum_flops(steps * batch, batch, critical)  # compute is in proportion to tokens
    np.testing.assert_allclose((steps / least - 1) * (steps * batch / tokens - 1), 1)


def test_exponents_of_the_envelope() -> None:
    """The paper prints 0.054 for alpha_C (eq. 6.4), 0.71 for N and 0.24 for B; rounded constants give 0.052, 0.68 and 0.25."""
    found = kaplan.envelope_exponents(STEPS["alpha_N"], STEPS["alpha_S"], BATCH["alpha_B"])
    assert found["loss"] == pytest.approx(0.054, abs=0.002)
    assert found["parameters"] == pytest.approx(0.71, abs=0.035)
    assert found["batch"] == pytest.approx(0.24, abs=0.012)
    assert found["parameters"] + found["batch"] + found["steps"] == pytest.approx(1)
    assert found["tokens"] == pytest.approx(1 - found["parameters"])


def test_one_petaflop_day() -> None:
    """Appendix A, table 6 at C_min = 1 PF-day: B 2.0e6 tokens, D 2e10 tokens; L(C_min) = 3.1e8^0.050 = 2.66.

    N and S of that table (1.3e9, 5.4e3) are of the measured envelope, which the formula misses by a factor of two.
    """
    sizes = np.geomspace(1e7, 1e11, 401)
    point = kaplan.envelope_point(sizes, STEPS, BATCH)
    at = {name: np.exp(np.interp(np.log(PF_DAY), np.log(point["minimum_flops"]), np.log(each))) for name, each in point.items()}
    assert at["loss"] == pytest.approx(3.1e8**0.050, rel=0.015)
    assert at["batch"] == pytest.approx(2.0e6, rel=0.15)
    assert at["tokens"] == pytest.approx(2e10, rel=0.2)
    size = np.interp(np.log(PF_DAY), np.log(point["minimum_flops"]), np.log(sizes))
    assert np.exp(size) * at["minimum_steps"] == pytest.approx(1.3e9 * 5.4e3, rel=0.2)


def test_the_envelope_is_the_optimum_of_scipy() -> None:
    """Given C_min = 6 N B_crit(L) S_min, the loss is least at the size that the formula says; the exponents follow."""

    def loss(log_n: float, budget: float) -> float:
        converged = (STEPS["N_c"] / np.exp(log_n)) ** STEPS["alpha_N"]
        guess = 2 * converged
        for _ in range(200):  # the critical batch depends on the loss: a fixed point
            steps = budget / 6 / np.exp(log_n) / kaplan.critical_batch(guess, BATCH["B*"], BATCH["alpha_B"])
            guess = converged + (STEPS["S_c"] / steps) ** STEPS["alpha_S"]
        return float(guess)

    sizes = np.array([1e8, 1e10])
    point = kaplan.envelope_point(sizes, STEPS, BATCH)
    for size, budget, least in zip(sizes, point["minimum_flops"], point["loss"], strict=True):
        around = np.log(size) + np.array([-1.5, 1.5])
        found = minimize_scalar(loss, args=(budget,), bounds=around, method="bounded", options={"xatol": 1e-8})
        assert np.exp(found.x) == pytest.approx(size, rel=1e-3)
        assert found.fun == pytest.approx(least, rel=1e-9)
    exponents = kaplan.envelope_exponents(STEPS["alpha_N"], STEPS["alpha_S"], BATCH["alpha_B"])
    growth = np.log(point["minimum_flops"][1] / point["minimum_flops"][0])
    assert np.log(sizes[1] / sizes[0]) / growth == pytest.approx(exponents["parameters"])
    assert np.log(point["batch"][1] / point["batch"][0]) / growth == pytest.approx(exponents["batch"])
    assert np.log(point["loss"][0] / point["loss"][1]) / growth == pytest.approx(exponents["loss"])


def test_ten_percent_above_convergence() -> None:
    """Compute-efficient training stops alpha_N / alpha_S, about 10 %, above the converged loss (appendix B.3)."""
    point = kaplan.envelope_point(np.array([1e9]), STEPS, BATCH)
    converged = (STEPS["N_c"] / 1e9) ** STEPS["alpha_N"]
    assert point["loss"][0] / converged - 1 == pytest.approx(0.10, abs=0.005)


def trained(random: np.random.Generator, noise: float) -> pd.DataFrame:
    """Curves of L(N, S_min) with the paper's constants, at four batch sizes."""
    rows = []
    for size in np.geomspace(1e6, 1.5e9, 8):
        for batch in (2**15, 2**17, 2**19, 2**21):
            least = np.geomspace(1e2, 3e5, 80)
            loss = (STEPS["N_c"] / size) ** STEPS["alpha_N"] + (STEPS["S_c"] / least) ** STEPS["alpha_S"]
            steps = least * (1 + kaplan.critical_batch(loss, BATCH["B*"], BATCH["alpha_B"]) / batch)
            part = pd.DataFrame(
                {"step": steps, "tokens": steps * batch, "loss": loss * np.exp(noise * random.standard_normal())}
            )
            rows.append(part.assign(run=f"{size:.3g} {batch}", **{N: size}))
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def system() -> kaplan.KaplanSystem:
    random = np.random.default_rng(0)
    sizes = pd.DataFrame({N: np.geomspace(1e5, 1e9, 10)})
    converged = KaplanParameters.published["kaplan"]
    sizes["loss"] = (converged["N_c"] / sizes[N]) ** converged["alpha_N"] * np.exp(0.002 * random.standard_normal(10))
    datasets = pd.DataFrame({"tokens": np.geomspace(2e7, 2e10, 10)})
    limited = KaplanTokens.published["kaplan"]
    datasets["loss"] = (limited["D_c"] / datasets["tokens"]) ** limited["alpha_D"] * np.exp(0.002 * random.standard_normal(10))
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e6, 1e9, 5), np.geomspace(2e7, 2e10, 5)))
    joint = Kaplan.published["kaplan"]
    loss = ((joint["N_c"] / n) ** (joint["alpha_N"] / joint["alpha_D"]) + joint["D_c"] / d) ** joint["alpha_D"]
    grid = pd.DataFrame({N: n, "tokens": d, "loss": loss * np.exp(0.002 * random.standard_normal(len(n)))})
    return kaplan.fit_system(sizes=sizes, datasets=datasets, grid=grid, curves=trained(random, 0.0), draws=100)


def test_every_law_is_recovered(system: kaplan.KaplanSystem) -> None:
    assert not system.refused
    for law, names in (
        (KaplanParameters, ["alpha_N"]),
        (KaplanTokens, ["alpha_D"]),
        (Kaplan, ["alpha_N", "alpha_D"]),
    ):
        for name in names:
            estimate = system.fits[law.name].estimates[name]
            assert estimate.low < law.published["kaplan"][name] < estimate.high, (law.name, name)
    joint, alone = (system.fits[name].estimates["alpha_D"].value for name in ("kaplan", "kaplan-tokens"))
    assert joint == pytest.approx(0.103, abs=0.004)
    assert alone == pytest.approx(0.095, abs=0.002), "not mixed with the joint law's"


def test_the_critical_batch_is_measured(system: kaplan.KaplanSystem) -> None:
    """Without noise the line in 1 / B is exact, up to the interpolation of the curves."""
    estimates = system.fits["critical-batch"].estimates
    assert estimates["alpha_B"].value == pytest.approx(BATCH["alpha_B"], rel=0.01)
    assert estimates["B*"].value == pytest.approx(BATCH["B*"], rel=0.05)


def test_the_law_of_steps_and_the_envelope(system: kaplan.KaplanSystem) -> None:
    estimates = system.fits["kaplan-steps"].estimates
    assert estimates["alpha_N"].value == pytest.approx(STEPS["alpha_N"], rel=0.02)
    assert estimates["alpha_S"].value == pytest.approx(STEPS["alpha_S"], rel=0.02)
    expected = kaplan.envelope_exponents(STEPS["alpha_N"], STEPS["alpha_S"], BATCH["alpha_B"])
    for name, value in expected.items():
        assert system.exponents[name].value == pytest.approx(value, rel=0.03), name
    least, measured = system.frontiers["minimum_flops"], system.frontiers["flops"]
    assert least.laws["parameters"].exponent.value == pytest.approx(expected["parameters"], abs=0.05)
    assert -least.laws["loss"].exponent.value == pytest.approx(expected["loss"], abs=0.003)
    assert measured.optima["budget"].max() > least.optima["budget"].max()


def test_a_known_critical_batch_stands_in_for_a_measured_one() -> None:
    curves = trained(np.random.default_rng(0), 0.0)
    one = curves[curves["run"].str.endswith(" 131072")]
    alone = kaplan.fit_system(curves=one, draws=50)
    assert "two batch sizes or more" in alone.refused["critical-batch"]
    assert alone.refused["kaplan-steps"] == "no training curves and a critical batch were given"
    assert not alone.exponents
    assert "flops" in alone.frontiers
    known = kaplan.fit_system(curves=one, batch_law=BATCH, draws=50)
    assert known.fits["kaplan-steps"].estimates["alpha_S"].value == pytest.approx(STEPS["alpha_S"], rel=0.02)
    assert set(known.exponents) == set(kaplan.SHARES)
    assert known.refused.keys() == {"kaplan-parameters", "kaplan-tokens", "kaplan"}


def test_noise_is_in_the_intervals() -> None:
    found = kaplan.fit_system(curves=trained(np.random.default_rng(3), 0.002), draws=100, level=0.99)
    estimates = found.fits["kaplan-steps"].estimates
    for name in ("alpha_N", "alpha_S"):
        assert estimates[name].low < STEPS[name] < estimates[name].high, name

"""Each check fires where its pitfall is, and is silent where it is not."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up import Truth

from analysis import checks, fits
from analysis.laws import LAWS
from analysis.results import Fit

SIZES = np.geomspace(1e7, 1e9, 6)
TOKENS = np.geomspace(2e8, 2e10, 6)


def grid(noise: float = 0.003, seed: int = 0) -> pd.DataFrame:
    """Runs at every size and token count, each at its horizon, with losses of a known law."""
    n, d = (axis.ravel() for axis in np.meshgrid(SIZES, TOKENS))
    loss = Truth(A=400.0, B=2000.0).loss(n, d) * np.exp(noise * np.random.default_rng(seed).standard_normal(n.shape))
    names = [f"run {number}" for number in range(len(n))]
    return pd.DataFrame({"run": names, "parameters": n, "tokens": d, "horizon": d, "flops": 6 * n * d, "loss": loss})


def fitted(points: pd.DataFrame) -> Fit:
    return fits.fit_law(points, LAWS["chinchilla"], draws=60)


@pytest.fixture(scope="module")
def points() -> pd.DataFrame:
    return grid()


@pytest.fixture(scope="module")
def fit(points: pd.DataFrame) -> Fit:
    return fitted(points)


def found(fit: Fit | None, points: pd.DataFrame, comparison: pd.DataFrame | None = None) -> dict[str, checks.Finding]:
    return {finding.name: finding for finding in checks.find(fit, points, comparison)}


def test_a_sound_fit_has_only_notes(fit: Fit, points: pd.DataFrame) -> None:
    """A and B are known to a factor in any such grid, and three digits of them are too few (Besiroglu et al. 2024)."""
    assert set(found(fit, points)) <= {"loose_coefficient", "rounding"}


def test_the_most_severe_come_first_and_all_advise(fit: Fit, points: pd.DataFrame) -> None:
    broken = replace(fit, solver=replace(fit.solver, converged=False, share_of_starts=0.2))
    findings = checks.find(broken, points.assign(warmup_tokens=0.3 * points["tokens"]))
    severities = [finding.severity for finding in findings]
    assert severities == sorted(severities, key=["serious", "warning", "note"].index)
    assert {"serious", "warning", "note"} == set(severities)
    assert all(finding.advice.endswith(".") and finding.text.endswith(".") for finding in findings)


def test_no_fit_yet(points: pd.DataFrame) -> None:
    assert found(None, points)["no_fit"].severity == "serious"


def test_left_out_runs_are_counted(points: pd.DataFrame) -> None:
    excluded = points.assign(excluded=["diverged", "holdout", *[""] * 34])
    assert found(None, excluded)["left_out"].figure == 1
    assert "left_out" not in found(None, points.assign(excluded=["holdout", *[""] * 35]))


POINTS: dict[str, tuple[Any, float]] = {
    "horizons": (lambda p: p.assign(horizon=np.where(p.index < 9, 2, 1) * p["tokens"]), 9 / 36),
    "mid_run": (lambda p: p.assign(run=p["parameters"].map("{:.3g}".format)), 1.0),
    "warmup": (lambda p: p.assign(warmup_tokens=np.where(p.index == 3, 0.25, 0.05) * p["tokens"]), 0.25),
    "duplicates": (lambda p: pd.concat([p, p.iloc[:4].assign(run=list("abcd"))]), 4 / 40),
    "snapped_budgets": (lambda p: p.assign(parameters=p["parameters"] * (1 + 0.2 * (p.index % 2))), 1.2),
    "compute_convention": (lambda p: p.assign(flops=p["flops"] * (p["parameters"] / 1e7) ** 0.2), 100**0.2),
    "budget_edges": (lambda p: p.assign(loss=p["loss"] * p["parameters"] ** 0.2), 1.0),
}


@pytest.mark.parametrize("name", POINTS)
def test_checks_of_the_points(name: str, points: pd.DataFrame) -> None:
    change, figure = POINTS[name]
    assert name not in found(None, points)
    assert found(None, change(points))[name].figure == pytest.approx(figure)


def test_mid_run_points_are_serious_under_a_decaying_rate(points: pd.DataFrame) -> None:
    curves = points.assign(run=points["parameters"].map("{:.3g}".format), horizon=TOKENS[-1])
    constant, decayed = curves.assign(learning_rate=1e-3), curves.assign(learning_rate=1e-3 * (1.1 - curves["tokens"] / 2e10))
    assert found(None, constant)["mid_run"].severity == "warning"
    assert found(None, decayed)["mid_run"].severity == "serious"
    assert found(None, constant.assign(schedule="cosine"))["mid_run"].severity == "serious"


def test_seeds_are_no_duplicates(points: pd.DataFrame) -> None:
    seeded = pd.concat([points.assign(seed=0), points.assign(seed=1, run=points["run"] + "b")])
    assert "duplicates" not in found(None, seeded)


EVIDENCE: dict[str, Any] = {
    "not_converged": lambda fit: replace(fit, solver=replace(fit.solver, converged=False)),
    "at_bound": lambda fit: replace(fit, solver=replace(fit.solver, at_bound=["E"])),
    "other_minima": lambda fit: replace(fit, solver=replace(fit.solver, share_of_starts=0.2)),
    "wide_exponent": lambda fit: replace(
        fit, estimates=fit.estimates | {"beta": replace(fit.estimates["beta"], low=0.1, high=0.9)}
    ),
    "correlated_exponents": lambda fit: replace(fit, draws=fit.draws[:, [0, 1, 2, 3, 3]]),
    "untested": lambda fit: replace(fit, extrapolation=replace(fit.extrapolation, cutoffs=[])),
    "drift": lambda fit: replace(fit, extrapolation=replace(fit.extrapolation, drift=-0.03, drift_noise=0.01)),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_checks_of_what_a_fit_says_of_itself(name: str, fit: Fit, points: pd.DataFrame) -> None:
    assert name not in found(fit, points)
    assert name in found(EVIDENCE[name](fit), points)


def test_loose_coefficients(fit: Fit, points: pd.DataFrame) -> None:
    tight = {name: replace(each, low=0.9 * each.value, high=1.1 * each.value) for name, each in fit.estimates.items()}
    assert "loose_coefficient" not in found(replace(fit, estimates=tight), points)
    loose = tight | {"B": replace(fit.estimates["B"], low=1000.0, high=5000.0)}
    assert found(replace(fit, estimates=loose), points)["loose_coefficient"].figure == pytest.approx(5)


def corners(points: pd.DataFrame) -> pd.DataFrame:
    """Nine runs: the ends and a middle of both axes."""
    kept = points["parameters"].isin(SIZES[[0, 2, 5]]) & points["tokens"].isin(TOKENS[[0, 2, 5]])
    return points[kept]


def test_too_few_points(fit: Fit, points: pd.DataFrame) -> None:
    assert "too_few_points" not in found(fit, points)
    few = corners(points)
    assert found(fitted(few), few)["too_few_points"].severity == "warning"
    assert found(fit, few.iloc[:7])["too_few_points"].severity == "serious"


def test_a_narrow_range(fit: Fit, points: pd.DataFrame) -> None:
    assert "narrow_range" not in found(fit, points)
    assert "narrow_range" in found(fit, points[points["flops"].between(1e18, 8e18)])


def seeds(law_error: float) -> pd.DataFrame:
    """Four seeds at each place of the grid, whose means leave the law by `law_error`."""
    base = grid(noise=0.0)
    random = np.random.default_rng(2)
    wrong = np.exp(law_error * random.choice([-1, 1], len(base)))
    runs = [base.assign(seed=seed, run=base["run"] + f".{seed}", loss=base["loss"] * wrong) for seed in range(4)]
    rows = pd.concat(runs, ignore_index=True)
    return rows.assign(loss=rows["loss"] * np.exp(0.002 * random.standard_normal(len(rows))))


def test_noise_of_seeds_against_residuals() -> None:
    sound, lacking = seeds(0.0), seeds(0.01)
    assert "lack_of_fit" not in found(fitted(sound), sound)
    finding = found(fitted(lacking), lacking)["lack_of_fit"]
    assert finding.severity == "serious"
    assert finding.figure == pytest.approx(2 * 0.01 / 0.002, rel=0.3)  # four seeds: the mean counts double


def test_copies_are_not_seeds(points: pd.DataFrame) -> None:
    copied = pd.concat([points.assign(seed=0), points.assign(seed=1, run=points["run"] + "b")])
    assert "copies_for_seeds" in found(fitted(copied), copied)


def test_noise_that_grows_with_size(points: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    spread = 0.0005 * (points["flops"] / points["flops"].min()) ** 0.5
    uneven = grid(noise=0.0)
    uneven["loss"] *= np.exp(spread.to_numpy() * random.standard_normal(len(uneven)))
    assert "uneven_noise" in found(fitted(uneven), uneven)


def comparison(**values: object) -> pd.DataFrame:
    row = {"run": "big", "extrapolation": 2.0, "inside": True, "note": "", "measured": 2.0, "low": 1.9, "high": 2.1}
    return pd.DataFrame([{**row, "error_percent": 0.5, **values}])


def test_checks_of_the_forecast(fit: Fit, points: pd.DataFrame) -> None:
    tested = replace(fit, extrapolation=replace(fit.extrapolation, reach=100.0))
    assert not {"reach", "missed", "unmeasured"} & set(found(tested, points, comparison()))
    assert found(tested, points, comparison(extrapolation=300.0))["reach"].figure == pytest.approx(3)
    assert found(tested, points, comparison(inside=False))["missed"].severity == "serious"
    assert "unmeasured" in found(tested, points, comparison(inside=None, note="no such run"))


def narrow(fit: Fit, times: float) -> Fit:
    """The same fit with all intervals that many times narrower."""
    estimates = {
        name: replace(
            each, low=each.value - (each.value - each.low) / times, high=each.value + (each.high - each.value) / times
        )
        for name, each in fit.estimates.items()
    }
    return replace(fit, estimates=estimates, draws=fit.theta + (fit.draws - fit.theta) / times)


@pytest.mark.parametrize("name", ["delta", "single_point", "highest_losses"])
def test_a_refit_that_leaves_its_interval(name: str, fit: Fit, points: pd.DataFrame) -> None:
    """What a refit moves, in half intervals, grows as the interval shrinks: silent when it is honest, serious when not."""
    assert name not in found(fit, points)
    once, twice = (found(narrow(fit, times), points)[name] for times in (20.0, 40.0))
    assert twice.severity == "serious"
    assert twice.figure == pytest.approx(2 * once.figure, rel=0.1)


def test_the_point_that_decides_is_named(fit: Fit, points: pd.DataFrame) -> None:
    """A fit without the run it names, from fresh starts, moves that exponent as far as it says."""
    tight = narrow(fit, 20.0)
    finding = found(tight, points)["single_point"]
    words = finding.text.replace(",", "").split()
    run, answer = " ".join(words[1:3]), words[4]
    without = fitted(points[points["run"] != run]).estimates[answer].value
    half = (tight.estimates[answer].high - tight.estimates[answer].low) / 2
    assert finding.figure == pytest.approx(abs(without - fit.estimates[answer].value) / half, rel=1e-3)


def test_rounding_against_the_noise(fit: Fit, points: pd.DataFrame) -> None:
    finding = found(replace(fit, noise=replace(fit.noise, value=1e-5)), points)["rounding"]
    law = fit.form
    printed = {name: float(f"{each.value:.3g}") for name, each in fit.estimates.items()}
    logs = np.log(points[["parameters", "tokens"]].to_numpy().T)
    moved = law.log_value(law.to_coordinates(printed), logs) - law.log_value(fit.theta, logs)
    assert finding.figure == pytest.approx(np.abs(moved).max())
    assert "rounding" not in found(replace(fit, noise=replace(fit.noise, value=0.1)), points)


def test_intervals_that_do_not_hold_the_larger_runs(fit: Fit, points: pd.DataFrame) -> None:
    """A law that bends: losses fall by another 2 % per factor e of compute above a hundredth of the largest."""
    beyond = np.log(np.maximum(1.0, points["flops"] / (points["flops"].max() / 100)))
    bent = points.assign(loss=points["loss"] * np.exp(-0.02 * beyond**2))
    assert "narrow_intervals" not in found(fit, points)
    assert found(fitted(bent), bent)["narrow_intervals"].severity == "serious"


def test_conventions_that_change_the_exponent(points: pd.DataFrame, fit: Fit) -> None:
    body = points["parameters"] - 8e6  # an embedding of most of the smallest model
    finding = found(fit, points.assign(non_embedding_parameters=body))["convention"]
    assert "non_embedding_parameters" in finding.text
    assert "convention" not in found(fit, points.assign(non_embedding_parameters=0.99 * points["parameters"]))

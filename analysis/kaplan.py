"""The system of Kaplan et al. 2020 (arXiv 2001.08361), fitted in the order of the paper.

1. L(N) from converged runs, L(D) from one large model stopped early on several data sets, L(N, D) from both varied together
   (their sections 3 and 4). The constants of the first two and of the joint law are different fits and are never mixed.
2. B_crit(L): steps S and tokens E = B S to a loss follow (S / S_min - 1)(E / E_min - 1) = 1, so that S = S_min + E_min / B is a
   line in 1 / B, and B_crit = E_min / S_min (eq. 5.1 to 5.3).
3. With it S_min = S / (1 + B_crit / B) and C_min = C / (1 + B / B_crit) of every point of every curve (eq. 5.4 and 5.5), and
   L(N, S_min) from those (eq. 5.6).
4. N(C) and L(C) along the envelope, as measured and per C_min (sections 3.3 and 6.1).
5. What 2 and 3 together say of the envelope (eq. 6.4 to 6.6 and appendix B), to hold against 4.

N leaves out embeddings throughout the paper.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.conventions import Array, Convention
from analysis.envelope import fit_envelope
from analysis.errors import AnalysisError
from analysis.fits import estimate, fit_law
from analysis.frontier import Frontier
from analysis.laws import CriticalBatch, Kaplan, KaplanParameters, KaplanSteps, KaplanTokens, Law
from analysis.results import Estimate, Fit

LOSSES = 12  # at which critical batches are measured
POINTS = 25  # of a curve that count in L(N, S_min), evenly spaced in log steps
FEWEST_CLUSTERS = 4  # sizes from which on a critical batch's losses count by size; with fewer each counts alone
Numbers = Any  # a float or an array of them, and the same back
SHARES = ("loss", "parameters", "batch", "steps", "tokens")


@dataclass(frozen=True)
class KaplanSystem:
    """What was fitted, by the names of `laws.LAWS`.

    Attributes:
        fits: `kaplan-parameters`, `kaplan-tokens`, `kaplan`, `critical-batch` and `kaplan-steps`, those that the data carry.
        frontiers: the envelope by `flops` and by `minimum_flops`.
        exponents: along the envelope by eq. 6.4 to 6.6: those of 1 / L, N, B, S and D with C_min; empty without B_crit and
            L(N, S_min).
        refused: what could not be fitted, each with the reason.
        curves: with `critical_batch`, `minimum_steps` and `minimum_flops`; None without B_crit.
    """

    fits: dict[str, Fit]
    frontiers: dict[str, Frontier]
    exponents: dict[str, Estimate]
    refused: dict[str, str]
    curves: pd.DataFrame | None


def critical_batch(loss: Array, scale: float, alpha: float) -> Array:
    """B_crit(L) = B* / L^(1 / alpha_B) in tokens, with B* the scale (eq. 1.4)."""
    return scale / np.asarray(loss, float) ** (1 / alpha)


def minimum_steps(steps: Array, batch: Array, critical: Array) -> Array:
    """S_min = S / (1 + B_crit / B): the steps that a batch far above the critical one would have taken (eq. 5.4)."""
    return steps / (1 + critical / batch)


def minimum_flops(flops: Array, batch: Array, critical: Array) -> Array:
    """C_min = C / (1 + B / B_crit): the compute that a batch far below the critical one would have taken (eq. 5.5)."""
    return flops / (1 + batch / critical)


def envelope_exponents(alpha_n: Numbers, alpha_s: Numbers, alpha_b: Numbers) -> dict[str, Numbers]:
    """How the optimum moves with C_min when N, B and S are all chosen for it (eq. 6.4 to 6.6).

    alpha_C = 1 / (1 / alpha_N + 1 / alpha_S + 1 / alpha_B), L ~ C^-alpha_C, N ~ C^(alpha_C / alpha_N), likewise B and S,
    and D = B S. With the paper's constants, alpha_C comes out at 0.052 (it prints 0.054) and N at 0.68 (0.71; its
    measured envelope has 0.73).
    """
    alpha_c = 1 / (1 / alpha_n + 1 / alpha_s + 1 / alpha_b)
    batch, steps = alpha_c / alpha_b, alpha_c / alpha_s
    return {"loss": alpha_c, "parameters": alpha_c / alpha_n, "batch": batch, "steps": steps, "tokens": batch + steps}


def envelope_point(parameters: Array, steps_law: Mapping[str, float], batch_law: Mapping[str, float]) -> dict[str, Array]:
    """The compute for which given sizes are the best, and all else there (appendix B).

    At the optimum the loss lies alpha_N / alpha_S above that of the converged model, and the batch is the critical one.

    Args:
        parameters: N, without embeddings (K,).
        steps_law: N_c, alpha_N, S_c and alpha_S of L(N, S_min).
        batch_law: `B*` and alpha_B of B_crit(L).

    Returns:
        `loss`, `minimum_steps`, `batch` (tokens), `tokens` (B_crit S_min) and `minimum_flops`, (K,) each.
    """
    excess = steps_law["alpha_N"] / steps_law["alpha_S"]
    converged = (steps_law["N_c"] / np.asarray(parameters, float)) ** steps_law["alpha_N"]
    loss = (1 + excess) * converged
    steps = steps_law["S_c"] * (excess * converged) ** (-1 / steps_law["alpha_S"])
    batch = critical_batch(loss, batch_law["B*"], batch_law["alpha_B"])
    return {
        "loss": loss,
        "minimum_steps": steps,
        "batch": batch,
        "tokens": batch * steps,
        "minimum_flops": 6 * parameters * batch * steps,
    }


def measure_critical_batch(curves: pd.DataFrame, parameters: str) -> pd.DataFrame:
    """Critical batches from runs of one size at several batch sizes, at losses that all of them passed.

    Args:
        curves: several rows per run with `run`, `step`, `tokens` and `loss`; the batch is tokens over steps.
        parameters: column of the size.

    Returns:
        One row per size and loss: `run` (the size, so that its rows count as one cluster), `parameters`, `loss`,
        `minimum_steps`, `minimum_tokens` and `critical_batch`.

    Raises:
        AnalysisError: no size that was trained at two batch sizes or more over a common range of losses.
    """
    rows = []
    for size, group in _with_batch(curves).groupby(parameters):
        runs = [run.sort_values("step") for _, run in group.groupby("run")]
        batches = np.array([run["batch"].iloc[-1] for run in runs])
        best = [np.log(np.minimum.accumulate(run["loss"].to_numpy())) for run in runs]
        low, high = max(each[-1] for each in best), min(each[0] for each in best)
        if len(np.unique(batches.round(3))) < 2 or low >= high:
            continue
        for log_loss in np.linspace(high, low, LOSSES + 2)[1:-1]:
            steps = np.array(
                [np.exp(np.interp(-log_loss, -fall, np.log(run["step"]))) for fall, run in zip(best, runs, strict=True)]
            )
            # Relative errors: each equation is divided by its own number of steps.
            design = np.stack([np.ones(len(batches)), 1 / batches], 1) / steps[:, None]
            fastest, cheapest = np.linalg.lstsq(design / design.max(0), np.ones(len(batches)), rcond=None)[0] / design.max(0)
            if fastest > 0 and cheapest > 0:
                row = {"run": f"{size:g}", "parameters": size, "loss": np.exp(log_loss), "minimum_steps": fastest}
                rows.append(row | {"minimum_tokens": cheapest, "critical_batch": cheapest / fastest})
    if not rows:
        raise AnalysisError("critical batches need runs of one size at two batch sizes or more that reach the same losses")
    return pd.DataFrame(rows)


def fit_system(
    *,
    sizes: pd.DataFrame | None = None,
    datasets: pd.DataFrame | None = None,
    grid: pd.DataFrame | None = None,
    curves: pd.DataFrame | None = None,
    batch_law: Mapping[str, float] | None = None,
    parameters: str = "non_embedding_parameters",
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> KaplanSystem:
    """Fit what the data carry, and say of the rest why not.

    Args:
        sizes: final points of converged runs of several sizes, for L(N).
        datasets: final points of one large model on several numbers of tokens, for L(D).
        grid: final points over both, for L(N, D).
        curves: training curves with `step` and `tokens`, for all of the rest.
        batch_law: `B*` and `alpha_B`, where they are known and not to be measured: `CriticalBatch.published["kaplan"]`.
        parameters: column of N.
        level: of the intervals.
        draws: how many refits they come from.
        seed: of the draws.
    """
    fits: dict[str, Fit] = {}
    frontiers: dict[str, Frontier] = {}
    refused: dict[str, str] = {}

    def attempt(name: str, found: dict, run: Callable[[], Fit | Frontier]) -> None:
        try:
            found[name] = run()
        except AnalysisError as error:
            refused[name] = str(error)

    def law(table: pd.DataFrame | None, form: Law, what: str) -> None:
        def run() -> Fit:
            columns = {"parameters": parameters} if "parameters" in form.variables else {}
            return fit_law(_given(table, what), form, columns, level=level, draws=draws, seed=seed)

        attempt(form.name, fits, run)

    def frontier(table: pd.DataFrame | None, flops: str, what: str) -> None:
        convention = Convention(parameters, flops)
        attempt(flops, frontiers, lambda: fit_envelope(_given(table, what), convention, level=level, draws=draws, seed=seed))

    law(sizes, KaplanParameters(), "converged runs of several sizes")
    law(datasets, KaplanTokens(), "runs on several numbers of tokens")
    law(grid, Kaplan(), "runs over sizes and tokens")
    if curves is not None and "flops" not in curves:
        curves = curves.assign(flops=6 * curves[parameters] * curves["tokens"])
    frontier(curves, "flops", "training curves")
    known = dict(batch_law) if batch_law else None
    if known is None:
        attempt("critical-batch", fits, lambda: _fit_batch(curves, parameters, level, draws, seed))
        known = (
            {name: each.value for name, each in fits["critical-batch"].estimates.items()} if "critical-batch" in fits else None
        )
    adjusted = _adjusted(curves, known) if curves is not None and known else None
    law(None if adjusted is None else _thinned(adjusted), KaplanSteps(), "training curves and a critical batch")
    frontier(adjusted, "minimum_flops", "training curves and a critical batch")
    return KaplanSystem(fits, frontiers, _exponents(fits, known, level), refused, adjusted)


def _fit_batch(curves: pd.DataFrame | None, parameters: str, level: float, draws: int, seed: int) -> Fit:
    measured = measure_critical_batch(_given(curves, "training curves"), parameters)
    if measured["run"].nunique() < FEWEST_CLUSTERS:
        measured["run"] = [f"{run}, {number}" for number, run in enumerate(measured["run"])]
    return fit_law(measured, CriticalBatch(), level=level, draws=draws, seed=seed)


def _exponents(fits: dict[str, Fit], batch_law: Mapping[str, float] | None, level: float) -> dict[str, Estimate]:
    if "kaplan-steps" not in fits or batch_law is None:
        return {}
    values, drawn = _named(fits["kaplan-steps"])
    if "critical-batch" in fits:
        batch_values, batch_drawn = _named(fits["critical-batch"])
    else:
        batch_values, batch_drawn = batch_law, {"alpha_B": np.full(len(drawn["alpha_N"]), batch_law["alpha_B"])}
    at_optimum = envelope_exponents(values["alpha_N"], values["alpha_S"], batch_values["alpha_B"])
    sampled = envelope_exponents(drawn["alpha_N"], drawn["alpha_S"], batch_drawn["alpha_B"])
    return {name: estimate(float(at_optimum[name]), sampled[name], level) for name in SHARES}


def _named(fit: Fit) -> tuple[Mapping[str, float], dict[str, Array]]:
    """Parameters by name, and their draws (R,)."""
    drawn = fit.form.to_parameters(fit.draws)
    return {name: each.value for name, each in fit.estimates.items()}, dict(zip(fit.form.names, drawn.T, strict=True))


def _adjusted(curves: pd.DataFrame, batch_law: Mapping[str, float]) -> pd.DataFrame:
    table = _with_batch(curves)
    critical = critical_batch(table["loss"].to_numpy(), batch_law["B*"], batch_law["alpha_B"])
    batch = table["batch"].to_numpy()
    return table.assign(
        critical_batch=critical,
        minimum_steps=minimum_steps(table["step"].to_numpy(), batch, critical),
        minimum_flops=minimum_flops(table["flops"].to_numpy(), batch, critical),
    )


def _with_batch(curves: pd.DataFrame) -> pd.DataFrame:
    for column in ("run", "step", "tokens", "loss"):
        if column not in curves:
            raise AnalysisError(f"training curves need the column {column!r}; given: {', '.join(map(str, curves))}")
    seen = curves[(curves["step"] > 0) & (curves["tokens"] > 0) & (curves["loss"] > 0)]
    return seen.assign(batch=seen["tokens"] / seen["step"])


def _thinned(curves: pd.DataFrame) -> pd.DataFrame:
    """At most `POINTS` rows per run, evenly spaced in log steps: every factor of steps counts alike."""
    rows = []
    for _, run in curves.groupby("run", sort=False):
        wanted = np.geomspace(run["step"].min(), run["step"].max(), POINTS)
        at = np.searchsorted(np.sort(run["step"].to_numpy()), wanted * (1 - 1e-9))
        rows.append(run.sort_values("step").iloc[np.unique(np.minimum(at, len(run) - 1))])
    return pd.concat(rows, ignore_index=True)


def _given(table: pd.DataFrame | None, what: str) -> pd.DataFrame:
    if table is None:
        raise AnalysisError(f"no {what} were given")
    return table

"""Which runs to train next: those that narrow the answer to one question most for the FLOPs they cost.

An answer is a number that follows from the law, linear near the fit: its variance is c^T M^-1 c with the gradient c of the
answer and the Gauss-Newton information M of all runs. A run at x with noise sigma adds h h^T / sigma^2, h being the gradient of
the log target at x, so that the gain of a run is known before it is trained: an exact c-optimal design within a budget
(Atkinson, Donev & Tobias 2007). Cells come from a grid, by greedy steps, and are exchanged one by one until none helps.

An answer beyond the largest run also carries the law's error (see `uncertainty.rollouts`): in proportion to the logarithm of
the distance, which a larger run shortens. That and a vague prior are all that is added to the textbook's criterion.

Shapes: `K` candidate cells, `P` parameters, `V` variables.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from scipy import special

from analysis.errors import AnalysisError
from analysis.fits import counted
from analysis.laws import Array, Law
from analysis.results import Fit, write_text
from analysis.uncertainty import Quantity, rollouts
from analysis.uncertainty.linear import huber_moments

VAGUE = 3.0  # standard deviation of every centred coordinate before any run: of a law known only from a paper
HELPS = 0.02  # a run that narrows the interval by a smaller share is not worth listing
STEP = 2.0  # from one candidate size to the next


@dataclass(frozen=True)
class Known:
    """What is known before the next runs.

    Attributes:
        law: with the variables `parameters` and `tokens`.
        theta: its coordinates (P,).
        noise: standard deviation of the log target of one run, as the estimator sees it.
        logs: variables of the runs so far (2, N), without any for a law from a paper.
        law_error: standard deviation of the log target per factor e of FLOPs beyond the largest run.
    """

    law: Law
    theta: Array
    noise: float
    logs: Array
    law_error: float = rollouts.LAW_ERROR

    @classmethod
    def from_fit(cls, fit: Fit, points: pd.DataFrame) -> "Known":
        """From a fit and the points it was made from."""
        used, _ = counted(points, fit.form, fit.columns)
        logs = np.log(used[[fit.columns[name] for name in fit.form.variables]].to_numpy(float).T)
        inside, square = huber_moments(fit.delta / fit.noise.value)
        noise = fit.noise.value * np.sqrt(square) / inside
        return cls(fit.form, fit.theta, float(noise), logs, fit.extrapolation.law_error)

    @classmethod
    def from_paper(cls, law: Law, parameters: Mapping[str, float], noise: float) -> "Known":
        """From published parameters and a stated noise of the log target."""
        return cls(law, law.to_coordinates(dict(parameters)), noise, np.empty((2, 0)))


@dataclass(frozen=True)
class Design:
    """The next runs.

    Attributes:
        question: in words.
        level: of the intervals.
        before: interval of the answer from the runs so far.
        runs: in order of gain per FLOP: `parameters`, `tokens`, `seed` (the first of a cell is 0), `flops`, and `low` and
            `high` of the interval expected once this run and those before it are in.
        verdict: whether more runs would help, in a sentence.
    """

    question: str
    level: float
    before: tuple[float, float]
    runs: pd.DataFrame
    verdict: str


@dataclass(frozen=True)
class _Criterion:
    """The answer's variance, as runs are added.

    `log_target` is the logarithm of the FLOPs of the run whose loss the answer is, if it is one; `log_largest` that of the
    largest run so far, or where there is none of the smallest that could be.
    """

    gradient: Array  # (P,)
    prior: Array  # information (P, P)
    rows: Array  # of the candidates (K, P), each over the noise
    log_flops: Array  # of the candidates (K,)
    log_largest: float
    log_target: float | None
    law_error: float

    def law_variance(self, log_largest: Array | float) -> Array:
        """What the law's own error adds to the variance, given the largest run."""
        if self.log_target is None:
            return np.zeros(np.shape(log_largest))
        return np.square(self.law_error * np.maximum(0.0, self.log_target - log_largest))

    def parts(self, chosen: list[int]) -> tuple[Array, float]:
        """Covariance (P, P) of the coordinates and the logarithm of the largest run's FLOPs, with the chosen runs."""
        rows = self.rows[chosen]
        largest = float(np.max(self.log_flops[chosen], initial=self.log_largest))
        return np.asarray(np.linalg.inv(self.prior + rows.T @ rows), np.float64), largest

    def variance(self, chosen: list[int]) -> float:
        """Of the answer, with the chosen runs."""
        covariance, largest = self.parts(chosen)
        return float(self.gradient @ covariance @ self.gradient + self.law_variance(largest))

    def with_each(self, chosen: list[int]) -> Array:
        """Of the answer, with the chosen runs and each candidate in turn (K,)."""
        covariance, largest = self.parts(chosen)
        seen = self.rows @ covariance
        gain = (seen @ self.gradient) ** 2 / (1 + (seen * self.rows).sum(1))
        law = self.law_variance(np.maximum(largest, self.log_flops))
        return self.gradient @ covariance @ self.gradient - gain + law


def design(
    known: Known,
    quantity: Quantity,
    budget: float,
    parameters: tuple[float, float],
    tokens: tuple[float, float],
    *,
    most: int = 12,
    level: float = 0.9,
) -> Design:
    """Choose the next runs.

    Args:
        known: the runs so far, or a law from a paper.
        quantity: the answer sought, see `uncertainty.quantities`. Of a loss beyond the largest run the law's error counts.
        budget: FLOPs to be spent, 6 x parameters x tokens a run.
        parameters: fewest and most that can be trained.
        tokens: likewise.
        most: runs.
        level: of the intervals.

    Raises:
        AnalysisError: another law's variables, limits that are none, or no cell within the budget.
    """
    if known.law.variables != ("parameters", "tokens"):
        raise AnalysisError(f"a design needs a law of parameters and tokens, not {known.law.name} of {known.law.variables}")
    axes = [_ladder(name, limits) for name, limits in (("parameters", parameters), ("tokens", tokens))]
    cells = np.stack([axis.ravel() for axis in np.meshgrid(*axes)])
    cells = cells[:, 6 * cells.prod(0) <= budget]
    if not cells.size:
        least = 6 * axes[0][0] * axes[1][0]
        raise AnalysisError(f"a budget of {budget:.3g} FLOPs carries no run; the smallest within the limits costs {least:.3g}")
    flops = 6 * cells.prod(0)
    criterion = _criterion(known, quantity, np.log(cells))
    chosen = min((_search(criterion, flops, budget, most, each) for each in (True, False)), key=criterion.variance)

    middle = float(quantity.coordinate(known.theta))
    freedom = known.logs.shape[1] - len(known.theta) if known.logs.size else np.inf

    def expected(ordered: list[int]) -> tuple[float, float]:
        reach = special.stdtrit(freedom + len(ordered), (1 + level) / 2) * np.sqrt(criterion.variance(ordered))
        return float(quantity.value(middle - reach)), float(quantity.value(middle + reach))

    rows = []
    ordered: list[int] = []
    for index in _by_gain(criterion, chosen, flops):
        seed = ordered.count(index)
        ordered.append(index)
        low, high = expected(ordered)
        n, d = cells[:, index]
        rows.append((round(n), round(d), seed, 6 * round(n) * round(d), low, high))
    table = pd.DataFrame(rows, columns=["parameters", "tokens", "seed", "flops", "low", "high"])
    return Design(quantity.name, level, expected([]), table, _verdict(criterion, flops, budget, most, chosen))


def write_sweep(design: Design, path: Path, name: str, base: Mapping[str, Any] | None = None) -> Path:
    """Write the runs as a sweep file: `model` is the parameters of a rung of the ladder, `base` what all runs share.

    Repeats of a cell differ in their `seed`.
    """
    low, high = design.before
    heading = [
        f"# The next runs for: {design.question}",
        f"#   now       {low:.5g} to {high:.5g} ({design.level:.0%})",
        *[
            f"#   after {number:2}  {run.low:.5g} to {run.high:.5g}, {run.flops:.2e} FLOPs"
            for number, run in enumerate(design.runs.itertuples(), 1)
        ],
        f"#   {design.verdict}",
    ]
    if base is None:
        heading.append("# base: to be filled with that of the runs so far")
    cells = [
        {"model": int(run.parameters), "training.tokens": int(run.tokens)} | ({"seed": int(run.seed)} if run.seed else {})
        for run in design.runs.itertuples()
    ]
    content = yaml.safe_dump({"name": name, "base": dict(base or {}), "cells": cells}, sort_keys=False, default_flow_style=None)
    return write_text("\n".join([*heading, content]), path)


def _ladder(name: str, limits: tuple[float, float]) -> Array:
    low, high = limits
    if not 0 < low <= high < np.inf:
        raise AnalysisError(f"{name} from {low:g} to {high:g} are no limits: two positive numbers, the smaller first")
    return np.geomspace(low, high, 1 + round(np.log(high / low) / np.log(STEP)))


def _criterion(known: Known, quantity: Quantity, candidates: Array) -> _Criterion:
    """In coordinates for logarithms centred on the candidates."""
    law, size, centre = known.law, len(known.theta), candidates.mean(1)
    theta = law.shift(known.theta, -centre)[None]
    rows = law.derivatives(theta, candidates - centre[:, None])[1][0].T / known.noise
    so_far = law.derivatives(theta, known.logs - centre[:, None])[1][0].T / known.noise
    uncentred = law.shift(np.eye(size), centre) - law.shift(np.zeros(size), centre)
    log_flops = np.log(6) + candidates.sum(0)
    return _Criterion(
        gradient=uncentred @ quantity.gradient(known.theta[None])[0],
        prior=so_far.T @ so_far + np.eye(size) / VAGUE**2,
        rows=rows,
        log_flops=log_flops,
        log_largest=float(np.max(np.log(6) + known.logs.sum(0)) if known.logs.size else log_flops.min()),
        log_target=None if quantity.size is None else float(np.log(quantity.size)),
        law_error=known.law_error,
    )


def _search(criterion: _Criterion, flops: Array, budget: float, most: int, by_flop: bool) -> list[int]:
    """Greedy additions, by gain per FLOP or by gain, and exchanges of one run for another until none helps."""
    chosen: list[int] = []
    while True:
        variance = criterion.variance(chosen)
        after = np.where(flops <= budget - flops[chosen].sum(), criterion.with_each(chosen), np.inf)
        worth = after < (1 - HELPS) ** 2 * variance
        if len(chosen) < most and worth.any():
            gain = np.where(worth, (variance - after) / (flops if by_flop else 1.0), 0.0)
            chosen.append(int(gain.argmax()))
            continue
        if not _exchange(criterion, flops, budget, chosen, variance):
            return chosen


def _exchange(criterion: _Criterion, flops: Array, budget: float, chosen: list[int], variance: float) -> bool:
    """Replace the run whose replacement helps most; whether there was one."""
    best, place, replacement = variance * (1 - 1e-6), -1, -1
    for at in range(len(chosen)):
        rest = chosen[:at] + chosen[at + 1 :]
        after = np.where(flops <= budget - flops[rest].sum(), criterion.with_each(rest), np.inf)
        if after.min() < best:
            best, place, replacement = float(after.min()), at, int(after.argmin())
    if place >= 0:
        chosen[place] = replacement
    return place >= 0


def _by_gain(criterion: _Criterion, chosen: list[int], flops: Array) -> list[int]:
    """The chosen runs, those first that narrow the answer most per FLOP."""
    rest = list(chosen)
    ordered: list[int] = []
    while rest:
        gain = (criterion.variance(ordered) - criterion.with_each(ordered)[rest]) / flops[rest]
        ordered.append(rest.pop(int(gain.argmax())))
    return ordered


def _verdict(criterion: _Criterion, flops: Array, budget: float, most: int, chosen: list[int]) -> str:
    variance = criterion.variance(chosen)
    floor = float(criterion.law_variance(criterion.parts(chosen)[1]))
    law = (
        f"; {floor / variance:.0%} of the variance left is the law's own error, which only larger runs reduce" if floor else ""
    )
    left = budget - flops[chosen].sum()
    after = np.where(flops <= left, criterion.with_each(chosen), np.inf).min()
    if len(chosen) == most:
        return f"{most} runs were asked for at most; {left / budget:.0%} of the budget is left{law}"
    if after < np.inf:
        narrower = 1 - np.sqrt(after / variance)
        return f"more runs no longer help: another within the budget would narrow the interval by {narrower:.1%}{law}"
    return f"the budget is spent{law}"

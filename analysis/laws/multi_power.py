"""The whole loss curve under any learning-rate schedule (multi-power law, Luo et al. 2025).

The law needs all of a run's schedule up to a step, not only its size. `schedule_features` works that out of curves as
columns: the sum of the learning rates, and the falls of the learning rate gathered by how far they lie behind, in sums of
learning rates too. So the law fits and predicts any table that has these columns, also of schedules nobody has run yet.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import Parameter, SumOfTerms

BINS = 24
FALLS, RATES = slice(1, 1 + BINS), slice(1 + BINS, 1 + 2 * BINS)  # among the variables
NOTHING = 1e-30  # a fall of the learning rate that is none


class MultiPower(SumOfTerms):
    """L(t) = L_0 + A / S_1(t)^alpha - B sum_k (eta_(k-1) - eta_k) G(S_k(t) / eta_k^gamma), G(x) = 1 - 1 / (1 + C x)^beta.

    S_k(t) = eta_k + ... + eta_t sums the learning rates from step k on; S_1 includes the warmup, while the falls of the
    learning rate are those after its peak. Its rate must not rise again. The constants published with the code count the
    rise of the warmup as a negative fall, which moves L_0 by about B times the peak rate: they are not constants of this
    form, and not repeated here.
    """

    name: ClassVar[str] = "multi-power"
    formula: ClassVar[str] = "L(t) = L_0 + A / S_1^alpha - B sum_k (eta_(k-1) - eta_k) [1 - 1 / (1 + C S_k / eta_k^gamma)^beta]"
    source: ClassVar[str] = "Luo et al. 2025, arXiv 2503.12811"
    variables: ClassVar[tuple[str, ...]] = (
        "learning_rate_sum",
        *(f"{what} {number}" for what in ("fall", "rate", "distance") for number in range(1, BINS + 1)),
    )
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("L_0", "nats/token", "coefficient"),
        Parameter("A", "nats/token x S_1^alpha", "coefficient"),
        Parameter("B", "nats/token / learning rate", "coefficient"),
        Parameter("alpha", "exponent of S_1", "exponent"),
        Parameter("C", "eta^gamma / S_k", "scale", bounds=(-6.0, 16.0)),  # of C / eta^gamma at the mean rate
        Parameter("beta", "exponent", "exponent", bounds=(0.01, 3.0)),
        Parameter("gamma", "exponent of eta", "exponent", bounds=(0.0, 2.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, *(1,) * (3 * BINS))
    coefficients: ClassVar[tuple[str, ...]] = ("L_0", "A", "B")
    signs: ClassVar[tuple[int, ...]] = (1, 1, -1)
    centred: ClassVar[tuple[str, ...]] = (variables[0], *variables[RATES])

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        l_0, a, b, alpha, c, beta, gamma = theta
        return [l_0, a - alpha * logs[0], b + jets.log(annealed(c, beta, gamma, np.stack(logs[1:]).reshape(3, BINS, -1)))]

    def centre(self, logs: Array) -> Array:
        """See `Law.centre`: the sum by its mean, all rates by theirs together."""
        centre = np.zeros(len(logs))
        centre[0] = logs[0].mean()
        centre[RATES] = np.average(logs[RATES], weights=np.exp(logs[FALLS]))
        return centre

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`; the rates share one offset."""
        shifted = theta.copy()
        shifted[..., 1] += theta[..., 3] * offset[0]
        shifted[..., 4] += theta[..., 6] * offset[RATES][0]
        return shifted

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`. B multiplies learning rates, which are small."""
        low, high = super().bounds(logs, log_values)
        high[2] += 20.0
        return low, high


def annealed(c: Any, beta: Any, gamma: Any, logs: Array) -> Any:
    """sum_k (eta_(k-1) - eta_k) G(S_k / eta_k^gamma): the sum over bins, with derivatives by its three parameters.

    Args:
        c: log C.
        beta: exponent.
        gamma: exponent of eta.
        logs: of the falls, their rates and their distances (3, bins, N).
    """
    falls, (rates, distances) = np.exp(logs[0]).T, logs[1:].swapaxes(1, 2)  # (N, bins)
    arguments = (c, beta, gamma)
    at = [each.value if isinstance(each, jets.Jet) else np.asarray(each) for each in arguments]
    c_value, beta_value, gamma_value = (each[..., None] for each in at)
    inside = c_value + distances - gamma_value * rates  # log of C x, (..., N, bins)
    log_base = np.logaddexp(0.0, inside)
    left = falls * np.exp(-beta_value * log_base)
    value = (falls - left).sum(-1)
    if not any(isinstance(each, jets.Jet) for each in arguments):
        return value
    share = jets.expit(inside)
    by_c = beta_value * share * left
    by_beta = log_base * left
    by_c_c = by_c * (1.0 - share - beta_value * share)
    by_c_beta = share * left * (1.0 - beta_value * log_base)
    first = [by_c, by_beta, -rates * by_c]
    second = [
        [by_c_c, by_c_beta, -rates * by_c_c],
        [by_c_beta, -log_base * by_beta, -rates * by_c_beta],
        [-rates * by_c_c, -rates * by_c_beta, rates**2 * by_c_c],
    ]
    sums = np.array([each.sum(-1) for each in first]), np.array([[each.sum(-1) for each in row] for row in second])
    return jets.compose(value, *sums, arguments)


def schedule_features(curves: pd.DataFrame) -> pd.DataFrame:
    """Curves with the columns that `MultiPower` reads, one row per row of `curves`.

    Between logged steps the learning rate is taken to change linearly, and before the first one to rise linearly from zero.
    Falls are gathered in `BINS` bins of equal width in the logarithm of their distance, each with its mean of log eta and of
    log S_k, weighted by the fall; the law is smooth in both, so this costs less than a tenth of a millinat.

    Args:
        curves: `run`, `step` and `learning_rate`, all rows of each run.

    Raises:
        AnalysisError: an absent column, or a learning rate that rises again after its peak (which run, at which step).
    """
    if absent := [name for name in ("run", "step", "learning_rate") if name not in curves]:
        raise AnalysisError(f"no column {absent[0]!r} in the curves; the multi-power law needs run, step and learning_rate")
    columns = np.empty((len(MultiPower.variables), len(curves)))
    for run, places in curves.reset_index(drop=True).groupby("run", sort=False).indices.items():
        steps, rates = curves[["step", "learning_rate"]].iloc[np.sort(places)].to_numpy(float).T
        peak = int(rates.argmax())
        if (rises := np.flatnonzero(np.diff(rates[peak:]) > 1e-9 * rates[peak])).size:
            step = steps[peak + rises[0] + 1]
            raise AnalysisError(f"{run}: the learning rate rises at step {step:g}, after its peak; this law knows only falls")
        every = np.arange(1, int(steps.max()) + 1)
        schedule = np.interp(every, [0.0, *steps], [0.0, *rates])
        columns[:, np.sort(places)] = _features(schedule, steps.astype(int)).T
    return pd.concat([curves.reset_index(drop=True), pd.DataFrame(columns.T, columns=list(MultiPower.variables))], axis=1)


def _features(schedule: Array, steps: np.ndarray) -> Array:
    """Rows (N, 1 + 3 bins) at `steps` (N,), counted from 1, of a schedule (T,) of learning rates."""
    sums = np.cumsum(schedule)
    falls = np.maximum(-np.diff(schedule, prepend=0.0), 0.0)
    falls[: int(schedule.argmax()) + 1] = 0.0
    fallen = np.flatnonzero(falls)
    rows = np.empty((len(steps), 1 + 3 * BINS))
    for row, step in zip(rows, steps, strict=True):
        total = sums[step - 1]
        behind = fallen[fallen < step]
        distance = np.log(total - sums[behind] + schedule[behind])
        lowest, highest = np.log(schedule[step - 1]), np.log(total)
        bins = np.clip((distance - lowest) / (highest - lowest) * BINS, 0, BINS - 1).astype(int)
        weight = np.bincount(bins, falls[behind], BINS)
        mean = np.maximum(weight, NOTHING)
        rate = np.bincount(bins, falls[behind] * np.log(schedule[behind]), BINS) / mean
        middle = np.bincount(bins, falls[behind] * distance, BINS) / mean
        row[:] = [total, *mean, *np.exp(rate), *np.exp(middle)]
    return rows

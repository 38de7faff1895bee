"""Which law to believe: each is fitted below cut-offs of size, and scored by what it says of the points beyond them.

Residuals tell how well a law describes its points, and the more parameters the better; only points that it has not seen
tell how it extrapolates. A *candidate* is a law and how far back from the largest point it looks: a simple law fitted to
the last decade often extrapolates better than a rich one fitted to everything, because early points belong to another
regime. `compare` prints the scores of candidates and what their intervals held. `select` combines the candidates: an
average of their log predictions, weighted by the inverse of a power of their mean squared rollout errors. Laws that bend
too early and too late err on opposite sides, and a wrong choice of one costs more than a diluted right one.

Shapes: `V` variables, `N` points, `P` parameters, `K` cut-offs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis import fitting, uncertainty
from analysis.errors import AnalysisError
from analysis.fits import counted
from analysis.laws import LAWS, Array, Law

SPACINGS = tuple(2.0 ** (step / 2) for step in range(1, 7))  # of the cut-offs from the largest size
WINDOWS = (np.inf, 64.0, 16.0, 4.0)  # how far below the largest seen size a candidate looks
SIMPLE = 3  # parameters of a law that is tried at every window
STARTS = 3  # of each of the many fits
NEEDED = 2  # largest cut-offs at which a candidate must have been tested
DEFAULT = ("chinchilla", "m2", "m3", "m4", "bnsl1")  # what `select` averages, as far as the columns allow; M1 is within M2
POWER = 2  # of the inverse mean squared error: 1 shares too widely between candidates that err alike (docs/lab-log.md)
EXACT = 1e-12  # a score below it is rounding
Z90 = 1.645  # standard deviations of half a 90 % interval
NEAR = 2.0  # a factor of size: errors are reported to this distance and beyond it
DRAWS = 100  # behind each interval whose coverage is counted


@dataclass(frozen=True)
class Candidate:
    """A law and the points it is fitted to: those within a factor `window` of the largest seen size."""

    law: Law
    window: float = np.inf

    def seen(self, size: Array, cutoff: float) -> np.ndarray:
        """Which of the points at `size` (N,) it is fitted to below a cut-off."""
        within = 1 + 1e-9
        return (size <= cutoff * within) & (size * self.window * within >= cutoff)


@dataclass(frozen=True)
class Selection:
    """A weighted average of fitted candidates, in the logarithm of the target.

    Attributes:
        table: of `compare`, with the column `weight`.
        members: the candidates that count, their coordinates and weights, heaviest first.
    """

    table: pd.DataFrame
    members: list[tuple[Candidate, Array, float]]

    def log_value(self, values: Mapping[str, Array]) -> Array:
        """Logarithm of the predicted target at the variables' values by name, (N,) each."""
        predicted = [
            weight * each.law.log_value(theta, np.log(np.stack([values[name] for name in each.law.variables])))
            for each, theta, weight in self.members
        ]
        return np.sum(predicted, axis=0)


@dataclass(frozen=True)
class Data:
    """The points as one law reads them: logarithms of its variables (V, N) and target (N,), and why it cannot, if so."""

    logs: Array
    log_values: Array
    refused: str = ""


def candidates(laws: Sequence[Law], windows: Sequence[float]) -> list[Candidate]:
    """Laws of up to `SIMPLE` parameters at every window, richer ones, which have room for an early regime, at the widest."""
    return [Candidate(law, window) for law in laws for window in (windows if len(law.parameters) <= SIMPLE else [max(windows)])]


def compare(
    points: pd.DataFrame,
    laws: Sequence[Law] | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    windows: Sequence[float] = WINDOWS,
    delta: float = fitting.DELTA,
    level: float = 0.9,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Score laws by their rollouts within the points.

    Args:
        points: as for `fits.fit_law`; rows with a reason in `excluded` are left out.
        laws: which, of one target; all of `laws.LAWS` that predict a loss where absent.
        columns: where variables and targets are read from, unless from the columns of their names.
        windows: how far below the largest seen size each law looks, as factors.
        delta: of Huber's loss.
        level: of the intervals whose coverage is counted.
        draws: behind each interval; 0 leaves coverage out.

    Returns:
        One row per law and window, best first: `law`, `window`, `score` (root mean square error of the log target beyond the
        cut-offs, points weighted by the inverse of their squared logarithmic distance), `near` and `far` (root mean square
        errors within and beyond a factor `NEAR`), `bias` (mean error: measured above predicted is positive), `coverage` (share
        of the points that the statistical intervals held), `covered` (the share when an error of the law is allowed for,
        `uncertainty.LAW_ERROR`), `cutoffs` (how many it was tested at), `parameters` (of the fit to its window of all points)
        and `refused`, the reason of each that could not be tested. All are scored at the same cut-offs.

    Raises:
        AnalysisError: laws of different targets.
    """
    laws = [law for law in LAWS.values() if law.target == "loss"] if laws is None else laws
    targets = {law.target: law.name for law in laws}
    if len(targets) > 1:
        said = ", ".join(f"{name} predicts the {target}" for target, name in targets.items())
        raise AnalysisError(f"laws of different targets cannot be compared: {said}")
    pool = candidates(laws, windows)
    return _tested(points, pool, columns, delta, level, draws)[0]


def select(
    points: pd.DataFrame,
    laws: Sequence[Law] | None = None,
    columns: Mapping[str, str] | None = None,
    *,
    windows: Sequence[float] = WINDOWS,
    delta: float = fitting.DELTA,
) -> Selection:
    """The default prediction: all candidates, weighted by their mean squared rollout errors to the power of minus `POWER`.

    Args, as for `compare`; where `laws` is absent those of `DEFAULT` that the columns allow.

    Raises:
        AnalysisError: no candidate could be tested, with the reasons.
    """
    pool = candidates([LAWS[name] for name in DEFAULT] if laws is None else laws, windows)
    table, fitted = _tested(points, pool, columns, delta, level=0.9, draws=0)
    if not fitted:
        reasons = "; ".join(sorted({f"{law}: {why}" for law, why in zip(table["law"], table["refused"], strict=True)}))
        raise AnalysisError(f"no law could be tested on these points: {reasons}")
    inverse = np.array([0.0 if row.refused else max(row.score, EXACT) ** (-2 * POWER) for row in table.itertuples()])
    table = table.assign(weight=inverse / inverse.sum())
    members = [(each, theta, weight) for (each, theta), weight in zip(fitted, table["weight"], strict=False)]
    return Selection(table, members)


def _tested(
    points: pd.DataFrame,
    pool: Sequence[Candidate],
    columns: Mapping[str, str] | None,
    delta: float,
    level: float,
    draws: int,
) -> tuple[pd.DataFrame, list[tuple[Candidate, Array]]]:
    """The table of `compare`, and the fits of those that were not refused, in its order."""
    read = {law.name: _read(points, law, columns or {}) for law in {each.law.name: each.law for each in pool}.values()}
    size = _size(pool, read)
    rows, tested = [], []
    for each in pool:
        data = read[each.law.name]
        why = data.refused or _too_few(each, data, size)
        if why:
            rows.append({"law": each.law.name, "window": each.window, "refused": why})
            continue
        rolled = roll_out(each, data.logs, data.log_values, size, delta=delta, level=level, draws=draws)
        theta = fit(each, data.logs, data.log_values, size, size.max(), delta)
        tested.append((each, theta, rolled))
    common = set.intersection(*(set(rolled["cutoff"]) for *_, rolled in tested)) if tested else set()
    tested.sort(key=lambda one: score(one[2][one[2]["cutoff"].isin(common)]))
    scored = []
    for each, theta, rolled in tested:
        shared = rolled[rolled["cutoff"].isin(common)]
        near = shared["distance"] <= np.log(NEAR) + 1e-9
        allowed = np.hypot((shared["high"] - shared["low"]) / 2, Z90 * uncertainty.LAW_ERROR * shared["distance"])
        inside = (shared["low"] <= shared["error"]) & (shared["error"] <= shared["high"])
        scored.append(
            {
                "law": each.law.name,
                "window": each.window,
                "score": score(shared),
                "near": _rms(shared["error"][near]),
                "far": _rms(shared["error"][~near]),
                "bias": float(shared["error"].mean()),
                "coverage": float(inside.mean()) if draws else np.nan,
                "covered": float((inside | (shared["error"].abs() <= allowed)).mean()) if draws else np.nan,
                "cutoffs": len(common),
                "parameters": dict(zip(each.law.names, each.law.to_parameters(theta).tolist(), strict=True)),
                "refused": "",
            }
        )
    return pd.DataFrame([*scored, *rows]), [(each, theta) for each, theta, _ in tested]


def score(rolled: pd.DataFrame) -> float:
    """Root mean square of rollout errors, each point weighted by the inverse of its squared logarithmic distance.

    Errors of a law grow in proportion to that distance (`uncertainty.Rollouts.drift`): so weighted, the many points far
    beyond an early cut-off do not outvote those near a late one, which resemble the prediction to be made.
    """
    weight = 1 / rolled["distance"] ** 2
    return float(np.sqrt((weight * rolled["error"] ** 2).sum() / weight.sum()))


def _rms(errors: pd.Series) -> float:
    return float(np.sqrt((errors**2).mean())) if len(errors) else np.nan


def _read(points: pd.DataFrame, law: Law, columns: Mapping[str, str]) -> Data:
    try:
        named = {name: columns.get(name, name) for name in (*law.variables, law.target)}
        rows, _ = counted(points, law, named)
        values = rows[[named[name] for name in law.variables]].to_numpy(float).T
        target = rows[named[law.target]].to_numpy(float)
        fitting.check(law, values, target, rows["run"].tolist())
    except AnalysisError as error:
        return Data(np.empty((0, 0)), np.empty(0), str(error))
    return Data(np.log(values), np.log(target))


def _size(pool: Sequence[Candidate], read: Mapping[str, Data]) -> Array:
    """Of the points, as the law that knows most variables counts it: the same for all, so that cut-offs are the same."""
    able = [each.law for each in pool if not read[each.law.name].refused]
    if not able:
        return np.empty(0)
    law = max(able, key=lambda law: len(law.variables))
    return law.sizes(np.exp(read[law.name].logs))


def _too_few(each: Candidate, data: Data, size: Array) -> str:
    """Why a candidate cannot be tested, empty where it can."""
    carried = [
        bool(fitting.carries(each.law, data.logs[:, each.seen(size, cutoff)])) for cutoff in (*cutoffs(size), size.max())
    ]
    if len(carried) > NEEDED and all(carried[-NEEDED - 1 :]):
        return ""
    within = "" if np.isinf(each.window) else f" within a factor {each.window:g} of them"
    return f"too few points below {sum(not one for one in carried)} of {len(carried)} cut-offs{within}"


def fit(each: Candidate, logs: Array, log_values: Array, size: Array, cutoff: float, delta: float) -> Array:
    """Coordinates (P,) of the candidate fitted below a cut-off."""
    seen = each.seen(size, cutoff)
    return fitting.fit(each.law, logs[:, seen], log_values[seen], delta=delta, starts=STARTS).solution.theta[0]


def roll_out(
    candidate: Candidate, logs: Array, log_values: Array, size: Array, *, delta: float, level: float, draws: int = 0
) -> pd.DataFrame:
    """Fit the candidate below each cut-off and predict each point beyond.

    Args:
        candidate: which law, and how far back it looks.
        logs: natural logarithms of its variables (V, N).
        log_values: natural logarithms of the target (N,).
        size: of the points (N,).
        delta: of Huber's loss.
        level: of the intervals.
        draws: behind each interval; none are made for 0.

    Returns:
        One row per cut-off and point beyond: `cutoff`, `point`, `distance` (logarithm of the point's size over the cut-off),
        `error` (measured minus predicted log target), `low` and `high` (the statistical interval of that error; NaN
        without draws). Cut-offs with too few points below have no rows.
    """
    parts = []
    for cutoff in cutoffs(size):
        seen, beyond = candidate.seen(size, cutoff), size > cutoff * (1 + 1e-9)
        if not fitting.carries(candidate.law, logs[:, seen]):
            continue
        theta = fit(candidate, logs, log_values, size, cutoff, delta)
        predicted = candidate.law.log_value(theta, logs[:, beyond])
        low = high = np.full(int(beyond.sum()), np.nan)
        if draws:
            problem = uncertainty.Problem(candidate.law, logs[:, seen], log_values[seen], theta, delta)
            drawn = uncertainty.draw(problem, draws, seed=0)
            noise = drawn.noise[:, None] * np.random.default_rng(1).standard_normal((draws, int(beyond.sum())))
            sampled = candidate.law.log_value(drawn.theta, logs[:, beyond]) + noise
            low, high = uncertainty.interval(sampled - predicted, level)
        parts.append(
            pd.DataFrame(
                {
                    "cutoff": cutoff,
                    "point": np.flatnonzero(beyond),
                    "distance": np.log(size[beyond] / cutoff),
                    "error": log_values[beyond] - predicted,
                    "low": low,
                    "high": high,
                }
            )
        )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["cutoff", "point", "distance", "error"])


def cutoffs(size: Array) -> Array:
    """Sizes to fit below (K,): the largest present at or under each of `SPACINGS` from the largest of all."""
    below = [size[size <= size.max() / spacing] for spacing in SPACINGS]
    return np.unique([each.max() for each in below if each.size])

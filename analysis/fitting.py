"""One robust solver for every law: many starts, resamples or simulations at once, in NumPy float64.

It minimises sum_i w_i Huber_delta(log L(theta; x_i) - log L_i) (Hoffmann et al. 2022, eq. 3; a sum, not a mean, so that
nothing depends on the number of points) by a damped Newton method with the law's exact second derivatives:

- the logarithms of the variables are centred, which takes the condition number of the problem from 1e11 to 1e4 or so;
- Huber's delta comes down from wide to the one asked for, because at 1e-3 most points sit on its linear arms and a
  start that is not close sees no curvature;
- it stops when Newton's model predicts a relative decrease below `TOLERANCE`, whatever the scale of the objective;
- lanes that have stopped are taken out of the batch.

Shapes: `B` lanes of the batch, `N` points, `P` parameters, `V` variables.
"""

from dataclasses import dataclass

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws import Array, Law

DELTA = 1e-3
STARTS = 8
CONTINUATION = (100.0, 10.0, 3.0, 1.0)
TOLERANCE = 1e-13
ITERATIONS = 500
WORKING_SET = 16384  # lanes x points per pass: what stays in the cache


@dataclass(frozen=True)
class Solution:
    """Where the solver ended, per lane.

    Attributes:
        theta: coordinates of the law (B, P), for uncentred logarithms.
        objective: sum of Huber losses (B,).
        gradient: largest absolute derivative of the objective by a free coordinate, centred (B,).
        converged: whether the relative decrease still to be had is below the tolerance (B,).
        at_bound: coordinates that ended on a bound of the search (B, P).
        curvature: second derivatives of the objective, centred (B, P, P).
    """

    theta: Array
    objective: Array
    gradient: Array
    converged: np.ndarray
    at_bound: np.ndarray
    curvature: Array

    def take(self, lanes: np.ndarray) -> "Solution":
        """The given lanes only."""
        return Solution(**{name: value[lanes] for name, value in vars(self).items()})


@dataclass(frozen=True)
class Best:
    """The best of several starts.

    Attributes:
        solution: the best start of each problem (B lanes).
        share_of_starts: share of the starts that reached the same objective within 1e-6 of it (B,).
    """

    solution: Solution
    share_of_starts: Array


def check(law: Law, variables: Array, values: Array, names: list[str]) -> None:
    """Refuse data that cannot carry the law: `variables` (V, N), `values` (N,) of the target, `names` (N,) of the points.

    Raises:
        AnalysisError: values that have no logarithm (which points), too few points, too few different values.
    """
    for what, column in (*zip(law.variables, variables, strict=True), (law.target, values)):
        bad = [name for name, value in zip(names, column, strict=True) if not (np.isfinite(value) and value > 0)]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise AnalysisError(f"{what} must be positive and finite; it is not in {', '.join(bad[:5])}{more}")
    needed = len(law.parameters) + 1
    if len(values) < needed:
        raise AnalysisError(
            f"{len(values)} points cannot carry the {len(law.parameters)} parameters of the {law.name} law "
            f"({', '.join(law.names)}) and an interval: {needed - len(values)} more are needed at least"
        )
    for what, column, distinct in zip(law.variables, variables, law.distinct, strict=True):
        found = _distinct(np.log(column))
        if found < distinct:
            raise AnalysisError(
                f"{found} distinct value{'s' * (found > 1)} of {what} cannot carry the {law.name} law, which needs "
                f"{distinct}: add runs with other {what}"
            )


def carries(law: Law, logs: Array) -> bool:
    """Whether points at `logs` (V, N) are enough for `check`."""
    enough = all(_distinct(values) >= distinct for values, distinct in zip(logs, law.distinct, strict=True))
    return enough and logs.shape[1] > len(law.parameters)


def _distinct(logs: Array) -> int:
    return len(np.unique(logs.round(3)))


def fit(
    law: Law, logs: Array, log_values: Array, weights: Array | None = None, delta: float = DELTA, starts: int = STARTS
) -> Best:
    """Fit each row of `log_values` (B, N) from the best seeds of the law.

    Args:
        law: the functional form.
        logs: natural logarithms of its variables, (V, N).
        log_values: natural logarithms of the target, (N,) or (B, N).
        weights: how often each point counts, (N,) or (B, N); one where absent.
        delta: where Huber's loss turns from quadratic to linear, in log loss.
        starts: how many seeds, at most 16.
    """
    log_values, weights = _lanes(log_values, weights)
    centre = law.centre(logs)
    seeds = law.seeds(logs - centre[:, None], log_values, weights, starts)
    batch, starts = seeds.shape[:2]
    repeated = np.repeat(np.arange(batch), starts)
    seeds = law.shift(seeds.reshape(-1, seeds.shape[-1]), centre)
    ended = refine(law, logs, log_values[repeated], weights[repeated], seeds, delta)
    objective = ended.objective.reshape(batch, starts)
    best = objective.argmin(1)
    lowest = np.take_along_axis(objective, best[:, None], 1)
    share = (objective <= lowest * (1 + 1e-6) + 1e-24).mean(1)
    return Best(ended.take(np.arange(batch) * starts + best), share)


def refine(
    law: Law,
    logs: Array,
    log_values: Array,
    weights: Array | None,
    starts: Array,
    delta: float = DELTA,
    continuation: tuple[float, ...] = CONTINUATION,
) -> Solution:
    """Descend from `starts` (B, P), one lane each; `log_values` and `weights` are (N,) or (B, N)."""
    log_values, weights = _lanes(log_values, weights)
    batch = max(len(starts), len(log_values), len(weights))
    starts = np.broadcast_to(starts, (batch, starts.shape[-1]))
    log_values = np.broadcast_to(log_values, (batch, log_values.shape[-1]))
    weights = np.broadcast_to(weights, log_values.shape)
    centre = law.centre(logs)
    centred = logs - centre[:, None]
    bounds = law.bounds(centred, log_values)
    parts = []
    size = max(1, WORKING_SET // log_values.shape[1])
    for first in range(0, batch, size):
        lanes = slice(first, first + size)
        theta = np.clip(law.shift(starts[lanes], -centre), *bounds)
        for factor in continuation:
            tolerance = TOLERANCE if factor == continuation[-1] else 1e-3
            part = _newton(law, centred, log_values[lanes], weights[lanes], theta, factor * delta, bounds, tolerance)
            theta = part.theta
        parts.append(part)
    joined = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    joined["theta"] = law.shift(joined["theta"], centre)
    return Solution(**joined)


def _lanes(log_values: Array, weights: Array | None) -> tuple[Array, Array]:
    log_values = np.atleast_2d(log_values)
    return log_values, np.ones_like(log_values) if weights is None else np.atleast_2d(weights).astype(float)


def _expand(law: Law, logs: Array, y: Array, weights: Array, theta: Array, delta: float) -> list[Array]:
    """Objective (B,), gradient (B, P), Hessian (B, P, P), and the squared length (B, P) that each coordinate moves log L."""
    value, slopes, second = law.derivatives(theta, logs)
    residual = value - y
    clipped = np.clip(residual, -delta, delta)
    pull = weights * clipped
    objective = (pull * (residual - 0.5 * clipped)).sum(1)
    gradient = (slopes @ pull[..., None])[..., 0]
    inside = np.where(clipped == residual, weights, 0.0)
    hessian = (slopes * inside[:, None, :]) @ slopes.swapaxes(1, 2) + second(pull)
    length = (slopes**2 @ weights[..., None])[..., 0]
    return [objective, gradient, hessian, length]


def _newton(
    law: Law,
    logs: Array,
    y: Array,
    weights: Array,
    start: Array,
    delta: float,
    bounds: tuple[Array, Array],
    tolerance: float,
) -> Solution:
    """Damped Newton within bounds: eigenvalues by absolute value, so that a saddle repels (Dauphin et al. 2014)."""
    low, high = bounds
    batch, size = start.shape
    result = Solution(
        theta=start.copy(),
        objective=np.empty(batch),
        gradient=np.empty(batch),
        converged=np.zeros(batch, bool),
        at_bound=np.zeros((batch, size), bool),
        curvature=np.empty((batch, size, size)),
    )
    floor = 1e-26 * weights.sum(1)  # residuals of 1e-13 are the rounding of float64: the data are matched exactly
    damping = np.full(batch, 1e-3)
    lane = np.arange(batch)  # where in the result each active lane belongs
    theta = start
    state = _expand(law, logs, y, weights, theta, delta)
    for iteration in range(ITERATIONS):
        objective, gradient, hessian, length = state
        bound = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0))
        free = ~(bound[:, :, None] | bound[:, None, :])
        gradient = np.where(bound, 0.0, gradient)
        scale = np.sqrt(length + 1e-30 * length.max(1, keepdims=True))
        matrix = np.where(free, hessian / (scale[:, :, None] * scale[:, None, :]), np.eye(size))
        eigenvalues, vectors = np.linalg.eigh(matrix)
        stiffness = np.maximum(np.abs(eigenvalues), 1e-14)
        along = ((gradient / scale)[:, None, :] @ vectors)[:, 0]
        promised = 0.5 * (along**2 / stiffness).sum(1)
        converged = (promised <= tolerance * objective) | (objective <= floor)
        ended = converged | (damping > 1e12) | (iteration == ITERATIONS - 1)
        if ended.any():
            at = lane[ended]
            result.theta[at], result.objective[at], result.converged[at] = theta[ended], objective[ended], converged[ended]
            result.gradient[at] = np.abs(gradient[ended]).max(1)
            result.at_bound[at], result.curvature[at] = bound[ended], hessian[ended]
            active = ~ended
            if not active.any():
                break
            lane, y, weights, floor, theta, damping, scale, stiffness, vectors, along = (
                v[active] for v in (lane, y, weights, floor, theta, damping, scale, stiffness, vectors, along)
            )
            state = [v[active] for v in state]
        damped = stiffness + damping[:, None]
        step = -(vectors @ (along / damped)[..., None])[..., 0] / scale
        expected = (along**2 * (damped - 0.5 * stiffness) / damped**2).sum(1)
        trial = np.clip(theta + step, low, high)
        tried = _expand(law, logs, y, weights, trial, delta)
        better = tried[0] <= state[0] * (1 + 1e-15)
        gain = np.clip((state[0] - tried[0]) / expected, 0.0, 1.0)
        theta = np.where(better[:, None], trial, theta)
        state = [_where(better, new, old) for new, old in zip(tried, state, strict=True)]
        # Nielsen's rule: trust grows with the share of the expected gain that came (Madsen et al. 2004, eq. 2.21).
        damping = np.where(better, damping * np.maximum(0.1, 1 - (2 * gain - 1) ** 3), 5 * damping + 1e-8)
    return result


def _where(lanes: np.ndarray, yes: Array, no: Array) -> Array:
    return np.where(lanes.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)

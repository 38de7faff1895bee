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

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.errors import AnalysisError, NotIdentifiedError
from analysis.laws import Array, Law
from analysis.penalties import Penalty

DELTA = 1e-3
STARTS = 8
CONTINUATION = (100.0, 10.0, 3.0, 1.0)
TOLERANCE = 1e-13
CONDITION = 1 / np.sqrt(np.finfo(float).eps)  # of the Jacobian; beyond it its square has no correct digit in float64
ITERATIONS = 500
WORKING_SET = 16384  # lanes x points per pass: what stays in the cache


class Surface(Protocol):
    """What `refine` asks of a law."""

    def centre(self, logs: Array) -> Array:
        """See `Law.centre`."""

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`."""

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`."""

    def derivatives(self, theta: Array, logs: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        """See `Law.derivatives`."""


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
        AnalysisError: values that have no logarithm (which points).
        NotIdentifiedError: too few points, too few different values, variables that never vary apart.
    """
    for what, column in (*zip(law.variables, variables, strict=True), (law.target, values)):
        bad = [name for name, value in zip(names, column, strict=True) if not (np.isfinite(value) and value > 0)]
        if bad:
            more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
            raise AnalysisError(f"{what} must be positive and finite; it is not in {', '.join(bad[:5])}{more}")
    needed = len(law.parameters) + 1
    if len(values) < needed:
        raise NotIdentifiedError(
            f"{len(values)} points cannot carry the {len(law.parameters)} parameters of the {law.name} law "
            f"({', '.join(law.names)}) and an interval: {needed - len(values)} more are needed at least"
        )
    for what, column, distinct in zip(law.variables, variables, law.distinct, strict=True):
        found = _distinct(np.log(column))
        if found < distinct:
            raise NotIdentifiedError(
                f"{found} distinct value{'s' * (found > 1)} of {what} cannot carry the {law.name} law, which needs "
                f"{distinct}: add runs with other {what}"
            )
    if (tie := _tie(law, np.log(variables))) is not None:
        raise NotIdentifiedError(
            f"every point has {tie}: the {law.name} law cannot tell the effects of its variables apart; add runs off that line"
        )


def carries(law: Law, logs: Array) -> bool:
    """Whether points at `logs` (V, N) are enough for `check`."""
    enough = all(_distinct(values) >= distinct for values, distinct in zip(logs, law.distinct, strict=True))
    return enough and logs.shape[1] > len(law.parameters) and _tie(law, logs) is None


def identify(law: Law, logs: Array, theta: Array) -> None:
    """Refuse an optimum `theta` (P,), on no bound, around which some change of its coordinates moves no prediction.

    Raises:
        NotIdentifiedError: the Jacobian of the log target, its columns scaled to one length, has a condition number beyond
            `CONDITION`; which change that is.
    """
    centre = law.centre(logs)
    jacobian = law.derivatives(law.shift(theta, -centre)[None], logs - centre[:, None])[1][0]
    names = [f"log {each.name}" if each.kind in ("coefficient", "scale") else each.name for each in law.parameters]
    lengths = np.maximum(np.linalg.norm(jacobian, axis=1), 1e-300)
    directions, sizes, _ = np.linalg.svd(jacobian / lengths[:, None], full_matrices=False)
    if sizes[0] <= CONDITION * sizes[-1]:
        return
    direction = directions[:, -1] / lengths
    direction /= direction[np.abs(direction).argmax()]
    change = ", ".join(f"{name} by {by:.3g}" for name, by in zip(names, direction, strict=True) if abs(by) > 1e-3)
    raise NotIdentifiedError(
        f"the points cannot carry the {law.name} law: none of them would move with a change of {change}; add runs that vary "
        "what these parameters act on, or choose a smaller law"
    )


def _distinct(logs: Array) -> int:
    return len(np.unique(logs.round(3)))


def _tie(law: Law, logs: Array) -> str | None:
    """A power law between the variables `logs` (V, N) that every point follows to a part in a thousand, in words."""
    needed = np.array(law.distinct) > 1  # a variable that need not vary may follow others
    varying = np.flatnonzero(needed & [_distinct(values) > 1 for values in logs])
    centred = logs[varying] - logs[varying].mean(1, keepdims=True)
    if len(varying) < 2:
        return None
    directions, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    if len(sizes) == len(varying) and sizes[-1] > 1e-3 * np.sqrt(logs.shape[1]):
        return None
    direction = directions[:, -1]
    last = int(np.flatnonzero(np.abs(direction) > 0.01)[-1])
    powers = {int(varying[at]): -direction[at] / direction[last] for at in range(last) if abs(direction[at]) > 0.01}
    constant = np.exp((logs[varying[last]] - sum(power * logs[at] for at, power in powers.items())).mean())
    factors = [law.variables[at] + ("" if abs(power - 1) < 5e-3 else f"^{power:.3g}") for at, power in powers.items()]
    return f"{law.variables[varying[last]]} = {' x '.join([f'{constant:.3g}', *factors])}"


def fit(
    law: Law,
    logs: Array,
    log_values: Array,
    weights: Array | None = None,
    delta: float | Penalty = DELTA,
    starts: int = STARTS,
) -> Best:
    """Fit each row of `log_values` (B, N) from the best seeds of the law.

    Args:
        law: the functional form.
        logs: natural logarithms of its variables, (V, N).
        log_values: natural logarithms of the target, (N,) or (B, N).
        weights: how often each point counts, (N,) or (B, N); one where absent.
        delta: where Huber's loss turns from quadratic to linear, in the log target; or another penalty of the residuals.
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
    law: Surface,
    logs: Array,
    log_values: Array,
    weights: Array | None,
    starts: Array,
    delta: float | Penalty = DELTA,
    continuation: tuple[float, ...] = CONTINUATION,
) -> Solution:
    """Descend from `starts` (B, P), one lane each; `log_values` and `weights` are (N,) or (B, N)."""
    penalty = delta if isinstance(delta, Penalty) else Penalty(delta)
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
            part = _newton(law, centred, log_values[lanes], weights[lanes], theta, penalty.widened(factor), bounds, tolerance)
            theta = part.theta
        parts.append(part)
    joined = {name: np.concatenate([vars(part)[name] for part in parts]) for name in vars(parts[0])}
    joined["theta"] = law.shift(joined["theta"], centre)
    return Solution(**joined)


def _lanes(log_values: Array, weights: Array | None) -> tuple[Array, Array]:
    log_values = np.atleast_2d(log_values)
    return log_values, np.ones_like(log_values) if weights is None else np.atleast_2d(weights).astype(float)


def _expand(law: Surface, logs: Array, y: Array, weights: Array, theta: Array, penalty: Penalty) -> list[Array]:
    """Objective (B,), gradient (B, P), Hessian (B, P, P), and the squared length (B, P) that each coordinate moves log L."""
    value, slopes, second = law.derivatives(theta, logs)
    cost, slope, curvature = penalty(value, y)
    objective = (weights * cost).sum(1)
    pull = weights * slope
    gradient = (slopes @ pull[..., None])[..., 0]
    hessian = (slopes * (weights * curvature)[:, None, :]) @ slopes.swapaxes(1, 2) + second(pull)
    length = (slopes**2 @ weights[..., None])[..., 0]
    return [objective, gradient, hessian, length]


def _newton(
    law: Surface,
    logs: Array,
    y: Array,
    weights: Array,
    start: Array,
    penalty: Penalty,
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
    state = _expand(law, logs, y, weights, theta, penalty)
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
        tried = _expand(law, logs, y, weights, trial, penalty)
        better = tried[0] <= state[0] * (1 + 1e-15)
        gain = np.clip((state[0] - tried[0]) / expected, 0.0, 1.0)
        theta = np.where(better[:, None], trial, theta)
        state = [_where(better, new, old) for new, old in zip(tried, state, strict=True)]
        # Nielsen's rule: trust grows with the share of the expected gain that came (Madsen et al. 2004, eq. 2.21).
        damping = np.where(better, damping * np.maximum(0.1, 1 - (2 * gain - 1) ** 3), 5 * damping + 1e-8)
    return result


def _where(lanes: np.ndarray, yes: Array, no: Array) -> Array:
    return np.where(lanes.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)

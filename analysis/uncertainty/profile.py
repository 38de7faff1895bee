"""Profile likelihood: the values of a quantity that the data do not contradict, whatever the other coordinates.

The likelihood is Gaussian in the log target. A value c of the quantity is refitted under the constraint that the quantity be
c, and it is in the interval while (RSS(c) - RSS) / s^2 <= t^2, with Student's t of N - P degrees of freedom: exact for a law
that is linear, and free of how the law is written (Bates & Watts 1988, section 6.1). An end that no value reaches, as where the
data leave a term's absence open, is infinite in the coordinate: zero or infinity for a positive quantity.

Shapes: `B` problems of the same points, `P` parameters, `N` points.
"""

from collections.abc import Callable

import numpy as np
from scipy import special

from analysis import fitting
from analysis.laws import Array, Law
from analysis.laws.jets import Jet
from analysis.penalties import NEVER
from analysis.uncertainty.quantities import Quantity

ROUNDS = 20
CLOSE = 1e-3  # of t: an end is found
FARTHEST = 30.0  # standard errors of the delta method beyond which an end is none
GRIP = 1e4  # weight of the constraint against what it costs to move the quantity; and at least one, where it costs nothing


class Pinned:
    """A law with one more point, at which it predicts a quantity: a weight on that point holds the quantity where asked.

    For centred logarithms; `offset` and `uncentred` take the coordinates back to those of the quantity.
    """

    def __init__(self, law: Law, quantity: Quantity, offset: Array, uncentred: Array):
        self.law, self.quantity, self.offset, self.uncentred = law, quantity, offset, uncentred

    def centre(self, logs: Array) -> Array:
        """None: the logarithms are centred."""
        return np.zeros(len(logs))

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`; by nothing."""
        return theta

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`."""
        return self.law.bounds(logs, log_values[:, :-1])

    def derivatives(self, theta: Array, logs: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        """See `Law.derivatives`, with the quantity as the last point."""
        value, gradient, second = self.law.derivatives(theta, logs)
        outer = self.law.shift(theta, self.offset)
        jets = [Jet(outer[:, index, None], row[None, :, None]) for index, row in enumerate(self.uncentred)]
        pinned: Jet = self.quantity.formula(jets)
        batch, size = theta.shape
        curvature = 0.0 if pinned.hessian is None else np.broadcast_to(pinned.hessian, (batch, size, size, 1))[..., 0]

        def with_pinned(weights: Array) -> Array:
            return second(weights[:, :-1]) + weights[:, -1, None, None] * curvature

        value = np.concatenate([value, np.broadcast_to(pinned.value, (batch, 1))], 1)
        gradient = np.concatenate([gradient, np.broadcast_to(pinned.gradient, (batch, size, 1))], 2)
        return value, gradient, with_pinned


def profile_interval(
    law: Law, logs: Array, log_values: Array, starts: Array, quantity: Quantity, level: float
) -> tuple[Array, Array]:
    """The interval of a quantity's coordinate, (B,) and (B,).

    Args:
        law: the functional form.
        logs: logarithms of its variables (V, N).
        log_values: of its target (B, N).
        starts: coordinates near the optimum of each problem (B, P).
        quantity: what the interval is of.
        level: of the interval.
    """
    centre = law.centre(logs)
    centred = logs - centre[:, None]
    best = fitting.refine(law, logs, log_values, None, starts, NEVER, (1.0,))
    freedom = log_values.shape[1] - starts.shape[1]
    variance = np.maximum(2 * best.objective / freedom, 1e-30)
    asked = special.stdtrit(freedom, (1 + level) / 2)
    zero = np.zeros(starts.shape[1])
    uncentred = (law.shift(np.eye(len(zero)), centre) - law.shift(zero, centre)).T
    optimum = law.shift(best.theta, -centre)
    jacobian = law.derivatives(optimum, centred)[1]
    inverse = np.linalg.pinv(jacobian @ jacobian.swapaxes(1, 2), rcond=1e-14, hermitian=True)
    direction = np.einsum("bpq,bq->bp", inverse, quantity.gradient(best.theta) @ uncentred)
    cost = np.einsum("bp,bp->b", quantity.gradient(best.theta) @ uncentred, direction)
    middle, error = quantity.coordinate(best.theta), np.sqrt(variance * cost)
    pinned = Pinned(law, quantity, centre, uncentred)
    ends = []
    for side in (-1.0, 1.0):
        end = np.full(len(starts), side * np.inf)
        lanes = np.flatnonzero(error > 0)
        theta, at = optimum[lanes], middle[lanes]
        inner, inner_reached = middle[lanes], np.zeros(len(lanes))
        outer, outer_reached = np.full(len(lanes), np.nan), np.full(len(lanes), np.nan)
        # Of a positive number the upper end is first sought as far as it is from zero: its logarithm may say nothing.
        first = np.log1p(asked * error) if quantity.positive and side > 0 else asked * error
        target, slope = (middle + side * first)[lanes], error[lanes]
        for attempt in range(ROUNDS):
            stepped = theta + direction[lanes] * ((target - at) / cost[lanes])[:, None]
            weights = np.concatenate([np.ones((len(lanes), logs.shape[1])), np.maximum(GRIP / cost[lanes, None], 1.0)], 1)
            goals = np.concatenate([log_values[lanes], target[:, None]], 1)
            theta = fitting.refine(pinned, centred, goals, weights, stepped, NEVER, (1.0,)).theta
            rise = ((law.log_value(theta, centred) - log_values[lanes]) ** 2).sum(1) - 2 * best.objective[lanes]
            reached = np.sqrt(np.maximum(rise, 0) / variance[lanes])
            at = quantity.coordinate(law.shift(theta, centre))
            found = np.abs(reached - asked) <= CLOSE * asked
            end[lanes[found]] = at[found]

            beyond = reached > asked
            moved = np.maximum(np.abs(reached - inner_reached), 1e-9)
            slope = np.where(beyond, slope, np.minimum(np.abs(at - inner) / moved, 4 * slope))
            stuck = ~beyond & (np.abs(at - target) > 0.5 * np.abs(target - inner))  # a bound of the search holds it back
            inner, inner_reached = np.where(beyond, inner, at), np.where(beyond, inner_reached, reached)
            outer, outer_reached = np.where(beyond, at, outer), np.where(beyond, reached, outer_reached)
            bracketed = np.isfinite(outer)
            share = 0.5 if attempt % 2 else (asked - inner_reached) / (outer_reached - inner_reached)
            target = np.where(bracketed, inner + share * (outer - inner), at + side * (asked - reached) * slope)
            lost = ~bracketed & (stuck | (side * (target - middle[lanes]) > FARTHEST * asked * error[lanes]))
            keep = ~(found | lost)
            lanes, theta, at, target, slope = (each[keep] for each in (lanes, theta, at, target, slope))
            inner, inner_reached, outer, outer_reached = (each[keep] for each in (inner, inner_reached, outer, outer_reached))
            if not len(lanes):
                break
        bracketed = np.isfinite(outer)
        end[lanes[bracketed]] = (0.5 * (inner + outer))[bracketed]
        ends.append(end)
    return ends[0], ends[1]

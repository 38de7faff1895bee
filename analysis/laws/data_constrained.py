"""Repeated data (Muennighoff et al. 2023)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws import jets
from analysis.laws.chinchilla import Chinchilla
from analysis.laws.jets import Array
from analysis.laws.law import Law, Parameter

STARTS = np.log([(5.0, 3.0), (30.0, 3.0), (5.0, 30.0), (30.0, 30.0)])  # of R_D and R_N, taken in turn


class DataConstrained(Law):
    """L(N, D, U) = E + A / N'^alpha + B / D'^beta, in which repeated tokens and excess parameters count less (eq. 5 and 6).

    D' = U_D + U_D R_D (1 - exp(-r_D / R_D)) with U_D = min(U, D) unique tokens and r_D = D / U_D - 1 repetitions;
    N' = U_N + U_N R_N (1 - exp(-r_N / R_N)) with U_N the compute-optimal parameters for U_D tokens (Hoffmann et al. 2022,
    eq. 4), at most N, and r_N = N / U_N - 1. The paper fits the first five on unrepeated runs, alpha = beta, and R_D and R_N
    with those held; `constrained` does either.
    """

    name: ClassVar[str] = "data-constrained"
    formula: ClassVar[str] = "L(N, D, U) = E + A / N'^alpha + B / D'^beta"
    source: ClassVar[str] = "Muennighoff et al. 2023, arXiv 2305.16264, eq. 5 and 6"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "unique_tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        *Chinchilla.parameters[:3],
        Parameter("alpha", "exponent of N'", "exponent", bounds=(0.02, 3.0)),
        Parameter("beta", "exponent of D'", "exponent", bounds=(0.02, 3.0)),
        Parameter("R_D", "repetitions", "scale", bounds=(-2.0, 8.0)),
        Parameter("R_N", "multiples of U_N", "scale", bounds=(-2.0, 8.0)),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3, 2)
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = Chinchilla.powers
    centred: ClassVar[tuple[str, ...]] = variables
    published: ClassVar[dict[str, dict[str, float]]] = {
        "muennighoff": {
            "E": float(np.exp(0.6254804)),
            "A": float(np.exp(6.255414)),
            "B": float(np.exp(7.3049974)),
            "alpha": 0.3526596,
            "beta": 0.3526596,
            "R_D": 15.387756,
            "R_N": 5.309743,
        }
    }

    def expression(self, theta: Sequence[Any], logs: Sequence[Any]) -> Any:
        """See `Law.expression`."""
        e, a, b, alpha, beta, r_d, r_n = theta
        n, d, u = logs
        repeated = jets.at_least(d - u, 0.0)
        unique = d - repeated
        gain = (jets.log(alpha) + a - jets.log(beta) - b) / (alpha + beta)
        optimal = gain + beta / alpha * (gain + unique)
        excess = jets.at_least(n - optimal, 0.0)
        n_effective, d_effective = n - excess + worth(excess, r_n), unique + worth(repeated, r_d)
        return jets.logaddexp(e, a - alpha * n_effective, b - beta * d_effective)

    def centre(self, logs: Array) -> Array:
        """See `Law.centre`; tokens of both kinds share a unit."""
        n, d, _ = logs.mean(1)
        return np.array([n, d, d])

    def seeds(self, logs: Array, log_values: Array, weights: Array, count: int) -> Array:
        """See `Law.seeds`: those of Chinchilla's law on the points with little repetition, where such are enough."""
        little = logs[1] - logs[2] <= np.log(4.0)
        if little.sum() > len(self.parameters):
            weights = weights * little
        base = Chinchilla().seeds(logs[:2], log_values, weights, count)
        starts = STARTS[np.arange(base.shape[1]) % len(STARTS)]
        return np.concatenate([base, np.broadcast_to(starts, (*base.shape[:2], 2))], -1)


def worth(excess: Any, scale: Any) -> Any:
    """log(1 + R (1 - exp(-(e^excess - 1) / R))) for log R = `scale`: what e^excess times something are worth, over once."""
    multiple = jets.exp(-jets.at_least(-excess, -50.0)) - 1.0
    return jets.log(1.0 + jets.exp(scale) * (1.0 - jets.exp(-multiple * jets.exp(-scale))))

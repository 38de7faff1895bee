"""Loss against parameters and tokens (Hoffmann et al. 2022)."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws.jets import Array
from analysis.laws.law import Parameter, SumOfTerms


class Chinchilla(SumOfTerms):
    """L(N, D) = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556, eq. 2 and 10).

    Coordinates `(e, a, b, alpha, beta)` with E = exp(e), A = exp(a), B = exp(b), as in their section D.2:
    log L = logsumexp(e, a - alpha log N, b - beta log D). N counts parameters, D training tokens, L is nats per token.
    """

    name: ClassVar[str] = "chinchilla"
    formula: ClassVar[str] = "L(N, D) = E + A / N^alpha + B / D^beta"
    source: ClassVar[str] = "Hoffmann et al. 2022, arXiv 2203.15556, eq. 2 and 10"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("E", "nats/token", "coefficient"),
        Parameter("A", "nats/token x N^alpha", "coefficient"),
        Parameter("B", "nats/token x D^beta", "coefficient"),
        Parameter("alpha", "exponent of N", "exponent"),
        Parameter("beta", "exponent of D", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3)
    coefficients: ClassVar[tuple[str, ...]] = ("E", "A", "B")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("A", "alpha", "parameters"), ("B", "beta", "tokens"))
    centred: ClassVar[tuple[str, ...]] = variables
    published: ClassVar[dict[str, dict[str, float]]] = {
        "hoffmann": {  # the constants in the source of their paper, which prints them rounded
            "E": float(np.exp(0.5267228)),
            "A": float(np.exp(6.0073404)),
            "B": float(np.exp(6.0179186)),
            "alpha": 0.33917084,
            "beta": 0.2849083,
        },
        # Besiroglu et al. 2024, arXiv 2404.10102: the refit of their figure 4
        "besiroglu": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    }

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        e, a, b, alpha, beta = theta
        return [e, a - alpha * logs[0], b - beta * logs[1]]

    def derivatives(self, theta: Array, logs: Array) -> tuple[Array, Array, Callable[[Array], Array]]:
        """See `Law.derivatives`. The terms are linear in theta, so these are the moments of a softmax over terms.

        What `jets` would find, several times faster: this is the law that thousands of resamples are fitted with.
        """
        shape = (len(theta), logs.shape[1])
        shares = np.stack([np.broadcast_to(each, shape) for each in self.terms(list(theta.T[..., None]), list(logs))])
        largest = shares.max(0)
        shares -= largest
        np.exp(shares, out=shares)
        total = shares[0] + shares[1] + shares[2]
        shares /= total
        log_n, log_d = logs
        gradient = np.empty((theta.shape[0], 5, logs.shape[1]))
        gradient[:, 0], gradient[:, 1], gradient[:, 2] = shares
        gradient[:, 3] = -log_n * shares[1]
        gradient[:, 4] = -log_d * shares[2]

        def second(weights: Array) -> Array:
            weighted = gradient * weights[:, None, :]
            hessian = -weighted @ gradient.swapaxes(1, 2)
            sums = weighted.sum(2)
            hessian[:, 0, 0] += sums[:, 0]
            for coefficient, exponent, log in ((1, 3, log_n), (2, 4, log_d)):
                hessian[:, coefficient, coefficient] += sums[:, coefficient]
                hessian[:, coefficient, exponent] += sums[:, exponent]
                hessian[:, exponent, coefficient] += sums[:, exponent]
                hessian[:, exponent, exponent] -= weighted[:, exponent] @ log
            return hessian

        return largest + np.log(total), gradient, second

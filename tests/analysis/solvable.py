"""Two models of learning whose losses are exact sums, so that the exponents a fit should find are known from theory.

**Power-law linear model** (Maloney, Roberts & Sully 2022, arXiv 2210.16859; Bahri et al. 2021, arXiv 2102.06701): a linear
target on latent Gaussian directions of variance i^-(1 + a), learnt by least squares without ridge from N random projections of
them, or from D examples. With infinitely much of the other, either loss is R kappa(R), R the limiting resource and kappa the
root of sum_i lambda_i / (lambda_i + kappa) = R: a power R^-a, the same for both (the paper's duality).

**Memoriser** (Hutter 2021, arXiv 2102.04074): facts of probability p_k ~ k^-(1 + a); one that was not seen in D draws, or is
not among the N most frequent that there is room for, costs log V nats. Exponents a in N and a / (1 + a) in D.
"""

import numpy as np
from scipy.optimize import brentq


def spectrum(a: float, directions: int) -> np.ndarray:
    return np.arange(1, directions + 1) ** -(1.0 + a)


def linear_loss(resource: float, variance: np.ndarray, beyond: float = 0.0) -> float:
    """Expected loss of the linear model whose bottleneck is `resource` parameters, or examples.

    Args:
        resource: N or D.
        variance: of the leading directions.
        beyond: sum of the variances of all others, each of them far below kappa.
    """

    def excess(log_kappa: float) -> float:
        kappa = np.exp(log_kappa)
        return float((variance / (variance + kappa)).sum()) + beyond / kappa - resource

    return resource * float(np.exp(brentq(excess, -60, 10, xtol=1e-12)))


def memoriser_loss(
    parameters: np.ndarray | None, tokens: np.ndarray | None, *, a: float, facts: int, values: int
) -> np.ndarray:
    """Expected loss of the memoriser with so much room, or so many draws (None: as much as it takes)."""
    p_k = np.arange(1, facts + 1) ** -(1.0 + a)
    p_k /= p_k.sum()
    if tokens is None:
        assert parameters is not None
        return np.log(values) * (1 - np.cumsum(p_k)[parameters.astype(int) - 1])
    return np.log(values) * np.array([(p_k * np.exp(d * np.log1p(-p_k))).sum() for d in tokens])

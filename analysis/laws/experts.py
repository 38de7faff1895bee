"""Mixtures of experts: how many (Clark et al. 2022) and how fine (Krajewski et al. 2024)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import LogLinear, Parameter, SumOfTerms


class Routed(LogLinear):
    """log L(N, E) = a log N + b log E' + c log N log E' + d, with logarithms to the base 10 (eq. 1).

    E' follows the number of experts E between E_start and E_max: 1 / E' = 1 / (E - 1 + 1 / (1 / E_start - 1 / E_max)) +
    1 / E_max. N counts the parameters that one token meets, E is 1 for a dense model. Constants of table 3, at 130 billion
    tokens.
    """

    name: ClassVar[str] = "routed"
    formula: ClassVar[str] = "log L(N, E) = a log N + b log E' + c log N log E' + d"
    source: ClassVar[str] = "Clark et al. 2022, arXiv 2202.01169, eq. 1"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "experts")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("a", "exponent of N", "number", bounds=(-3.0, 3.0)),
        Parameter("b", "exponent of E'", "number", bounds=(-20.0, 20.0)),
        Parameter("c", "1 / decade", "number", bounds=(-3.0, 3.0)),
        Parameter("d", "decades of nats/token", "number", bounds=(-50.0, 50.0)),
        Parameter("E_start", "experts", "scale", bounds=(np.log(0.05), np.log(20.0))),
        Parameter("E_max", "experts", "scale", bounds=(np.log(25.0), np.log(1e5))),
    )
    distinct: ClassVar[tuple[int, ...]] = (2, 4)
    linear: ClassVar[tuple[str, ...]] = ("a", "b", "c", "d")
    centred: ClassVar[tuple[str, ...]] = ("parameters",)
    published: ClassVar[dict[str, dict[str, float]]] = {
        "s-base": {"a": -0.082, "b": -0.108, "c": 0.009, "d": 1.104, "E_start": 1.847, "E_max": 314.478},
        "rl-r": {"a": -0.083, "b": -0.126, "c": 0.012, "d": 1.111, "E_start": 1.880, "E_max": 469.982},
        "hash": {"a": -0.087, "b": -0.136, "c": 0.012, "d": 1.157, "E_start": 4.175, "E_max": 477.741},
    }

    def features(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `LogLinear.features`."""
        start, most = theta[4], theta[5]
        experts = jets.exp(logs[1]) - 1.0 + 1.0 / (jets.exp(-start) - jets.exp(-most))
        saturated = -jets.logaddexp(-jets.log(experts), -most)
        return [logs[0], saturated, saturated * logs[0] / np.log(10), np.log(10)]

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`."""
        shifted = theta.copy()
        shifted[..., 1] -= theta[..., 2] * offset[0] / np.log(10)
        shifted[..., 3] -= theta[..., 0] * offset[0] / np.log(10)
        return shifted


class FineGrained(SumOfTerms):
    """L(N, D, G) = c + (g / G^gamma + a) / N^alpha + b / D^beta (eq. 9).

    The granularity G divides each expert of a standard mixture into G smaller ones, G of which see each token in its place.
    Constants of table 1, for 64 times as many expert parameters as a token meets; those of dense models lack g.
    """

    name: ClassVar[str] = "fine-grained"
    formula: ClassVar[str] = "L(N, D, G) = c + (g / G^gamma + a) / N^alpha + b / D^beta"
    source: ClassVar[str] = "Krajewski et al. 2024, arXiv 2402.07871, eq. 9"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens", "granularity")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("c", "nats/token", "coefficient"),
        Parameter("g", "nats/token x N^alpha G^gamma", "coefficient"),
        Parameter("a", "nats/token x N^alpha", "coefficient"),
        Parameter("b", "nats/token x D^beta", "coefficient"),
        Parameter("alpha", "exponent of N", "exponent"),
        Parameter("beta", "exponent of D", "exponent"),
        Parameter("gamma", "exponent of G", "exponent"),
    )
    distinct: ClassVar[tuple[int, ...]] = (3, 3, 3)
    coefficients: ClassVar[tuple[str, ...]] = ("c", "g", "a", "b")
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (
        ("g", "alpha", "parameters"),
        ("a", "alpha", "parameters"),
        ("b", "beta", "tokens"),
        ("g", "gamma", "granularity"),
    )
    centred: ClassVar[tuple[str, ...]] = variables
    published: ClassVar[dict[str, dict[str, float]]] = {
        "krajewski": {"c": 0.47, "g": 2.1, "a": 18.1, "b": 30.8, "alpha": 0.115, "beta": 0.147, "gamma": 0.58}
    }

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        c, g, a, b, alpha, beta, gamma = theta
        n, d, granularity = logs
        return [c, g - gamma * granularity - alpha * n, a - alpha * n, b - beta * d]

"""For each law, parameters that could be true and points to see them at: what the tests of all laws simulate from."""

from itertools import product

import numpy as np
import pandas as pd

from analysis.laws import LAWS, Law, schedule_features

N, D, C = np.geomspace(1e7, 1e10, 5), np.geomspace(2e8, 2e11, 5), np.geomspace(1e17, 1e22, 9)
LOSSES = np.linspace(2.0, 3.6, 9)

GRIDS: dict[str, tuple[np.ndarray, ...]] = {
    "chinchilla": (N, D),
    "kaplan-parameters": (N,),
    "kaplan-tokens": (D,),
    "kaplan-compute": (C,),
    "kaplan-minimum-compute": (C,),
    "kaplan": (N, D),
    "kaplan-steps": (N, np.geomspace(1e3, 3e5, 5)),
    "critical-batch": (LOSSES,),
    "data-constrained": (N, D, np.geomspace(1e8, 1e10, 3)),
    "over-training": (C, np.geomspace(5, 640, 5)),
    "farseer": (np.geomspace(1e7, 1e10, 7), np.geomspace(2e8, 2e11, 7)),
    "learning-rate": (N, D),
    "batch": (D,),
    "compute-learning-rate": (C,),
    "compute-batch": (C,),
    "timescale": (np.geomspace(5, 640, 5),),
    "transfer": (np.geomspace(1e5, 1e9, 5), N),
    "routed": (N, np.array([1.0, 2, 4, 8, 16, 64, 128, 512])),
    "fine-grained": (N, D, np.array([1.0, 2, 4, 8, 16])),
    "vocabulary": (N, np.geomspace(2e6, 3e8, 4), np.geomspace(1e9, 2e11, 5)),
    "weight-precision": (N, D, np.array([3.0, 4, 6, 8, 16])),
    "precision": (N[::2], D[::2], np.array([3.0, 6, 16]), np.array([3.0, 6, 16]), np.array([3.0, 6, 16])),
    "quantization": (N, D, np.array([3.0, 4, 5, 6])),
    "downstream-error": (LOSSES,),
    "downstream-accuracy": (np.linspace(0.5, 2.0, 12),),
    **{name: (np.geomspace(1e4, 1e9, 40),) for name in ("m1", "m2", "m3", "m4", "bnsl0", "bnsl1", "bnsl2", "bnsl3")},
}

# Where nothing is published; chosen so that every term matters on the grid above.
CHOSEN: dict[str, dict[str, float]] = {
    "over-training": {"E": 1.5, "a": 300.0, "b": 800.0, "eta": 0.16},
    "farseer": {
        "a_1": -0.12, "b_1": 0.4, "alpha": 0.12,
        "a_2": 90.0, "b_2": -5.0, "beta": -0.1,
        "a_3": -0.02, "b_3": 0.1, "gamma": 0.17,
    },
    "multi-power": {"L_0": 2.5, "A": 0.6, "B": 450.0, "alpha": 0.45, "C": 2.0, "beta": 0.6, "gamma": 0.65},
    "timescale": {"k": 1.1, "alpha": 0.5},
    "vocabulary": {"E": 6.0, "A_1": 900.0, "A_2": 3000.0, "B": 20000.0, "alpha": 0.45, "alpha_v": 0.67},
    "m1": {"B": 5.0, "c": 0.2},
    "m2": {"E": 0.1, "B": 5.0, "c": 0.3},
    "m3": {"B": 5.0, "c": 0.2, "S": 3e7},
    "m4": {"E": 0.1, "A": 0.85, "X": 3e5, "c": 0.4, "alpha": 0.6},
    "bnsl0": {"a": 0.1, "b": 5.0, "c0": 0.3},
    "bnsl1": {"a": 0.1, "b": 5.0, "c0": 0.1, "c1": 0.4, "d1": 1e6, "f1": 0.3},
    "bnsl2": {"a": 0.1, "b": 5.0, "c0": 0.1, "c1": 0.4, "d1": 3e5, "f1": 0.3, "c2": -0.3, "d2": 1e7, "f2": 0.4},
    "bnsl3": {
        "a": 0.1, "b": 5.0, "c0": 0.1,
        "c1": 0.4, "d1": 2e5, "f1": 0.3,
        "c2": -0.3, "d2": 5e6, "f2": 0.3,
        "c3": 0.4, "d3": 1e8, "f3": 0.3,
    },
    "downstream-error": {"epsilon": 0.85, "k": 2.2, "gamma": 0.7},
    "downstream-accuracy": {"a": 0.7, "b": 0.25, "k": 5.0, "L_0": 1.1},
}  # fmt: skip


def truth(law: Law) -> dict[str, float]:
    """The law's parameters: as published first, or as chosen."""
    return next(iter(law.published.values()), None) or CHOSEN[law.name]


def table(law: Law) -> pd.DataFrame:
    """Points to see the law at, all combinations of a grid of its variables."""
    if law.name == "multi-power":
        return schedule_features(schedules())
    points = pd.DataFrame(list(product(*GRIDS[law.name])), columns=list(law.variables))
    if law.name == "data-constrained":
        points = points[points["unique_tokens"] <= points["tokens"]]
    return points


def logs(law: Law) -> np.ndarray:
    """The variables of `table`, logarithms (V, N)."""
    return np.log(table(law)[list(law.variables)].to_numpy().T)


def schedules() -> pd.DataFrame:
    """Curves without losses: a constant rate, a cosine, a fall in one step and a linear decay, each after a warmup."""
    steps = np.arange(200, 6001, 100)
    share = (steps - 200) / 5800
    rates = {
        "constant": np.full(len(steps), 3e-4),
        "cosine": 3e-5 + 1.35e-4 * (1 + np.cos(np.pi * share)),
        "two-stage": np.where(steps < 3000, 3e-4, 9e-5),
        "linear": 3e-4 * np.where(share < 0.7, 1.0, 1 - 0.9 * (share - 0.7) / 0.3),
    }
    return pd.concat([pd.DataFrame({"run": run, "step": steps, "learning_rate": rate}) for run, rate in rates.items()])


assert set(GRIDS) | {"multi-power"} == set(LAWS)

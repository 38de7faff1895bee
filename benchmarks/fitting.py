"""What a fit costs, beside SciPy's L-BFGS-B on the published grid of starts.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.fitting       about a minute

240 points of Hoffmann et al.'s figure 4 (see `benchmarks.law_error`), one thread, process CPU time, the median of several.
SciPy minimises the same sum of Huber losses with the analytic gradient from a share of the 4,500 starts of Hoffmann et al.
2022, section D.2; its time for all of them is extrapolated unless `--all` runs them (several minutes). That `success` is not
optimality shows in the share of its starts that end within a millionth of the lowest objective.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from analysis import fitting
from analysis.laws import Chinchilla
from benchmarks.law_error import epoch

FIRST_FIT = "from benchmarks.fitting import fit_once; fit_once()"
GRID = (np.arange(-1, 1.1, 0.5), np.arange(0, 26, 5), np.arange(0, 26, 5), np.arange(0, 2.1, 0.5), np.arange(0, 2.1, 0.5))
RESAMPLES = 4000
SUBSET = 225  # of the 4,500 starts


def points() -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of parameters and tokens (2, 240), and of losses (240,)."""
    table = epoch()
    return np.log(table[["parameters", "tokens"]].to_numpy().T), np.log(table["loss"].to_numpy())


def fit_once() -> fitting.Best:
    return fitting.fit(Chinchilla(), *points())


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Median process CPU time."""
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return float(np.median(spent))


def first_fit() -> float:
    """CPU time of a process that imports, reads the points, fits once and ends."""
    before = os.times()
    subprocess.run([sys.executable, "-c", FIRST_FIT], check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def huber(theta: np.ndarray, logs: np.ndarray, log_losses: np.ndarray) -> tuple[float, np.ndarray]:
    """The objective and its gradient as a reader of the paper would write them, for SciPy."""
    e, a, b, alpha, beta = theta
    terms = np.stack([np.full(logs.shape[1], e), a - alpha * logs[0], b - beta * logs[1]])
    largest = terms.max(0)
    shares = np.exp(terms - largest)
    total = shares.sum(0)
    shares /= total
    residual = largest + np.log(total) - log_losses
    clipped = np.clip(residual, -fitting.DELTA, fitting.DELTA)
    pulled = shares @ clipped
    gradient = [*pulled, -(shares[1] * logs[0]) @ clipped, -(shares[2] * logs[1]) @ clipped]
    return float((clipped * (residual - 0.5 * clipped)).sum()), np.array(gradient)


def scipy_grid(logs: np.ndarray, log_losses: np.ndarray, count: int) -> tuple[np.ndarray, float, float]:
    """Objective from each of `count` random starts, share of them that SciPy calls a success, seconds per start."""
    starts = np.random.default_rng(0).permutation(list(itertools.product(*GRID)))[:count]
    begin = time.process_time()
    ended = [minimize(huber, start, (logs, log_losses), method="L-BFGS-B", jac=True) for start in starts]
    spent = time.process_time() - begin
    return np.array([each.fun for each in ended]), float(np.mean([each.success for each in ended])), spent / len(starts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="all 4,500 starts of SciPy")
    count = 4500 if parser.parse_args().all else SUBSET
    law = Chinchilla()
    logs, log_losses = points()
    best = fit_once()
    one = seconds(lambda: fitting.fit(law, logs, log_losses), 21)
    counts = np.random.default_rng(0).multinomial(len(log_losses), np.full(len(log_losses), 1 / len(log_losses)), RESAMPLES)

    def resample() -> fitting.Solution:
        return fitting.refine(law, logs, log_losses, counts.astype(float), best.solution.theta, continuation=(3.0, 1.0))

    resampled = seconds(resample, 3)
    objectives, success, per_start = scipy_grid(logs, log_losses, count)
    lowest = min(float(best.solution.objective[0]), objectives.min())
    at_optimum = float((objectives <= lowest * (1 + 1e-6)).mean())
    whole = "" if count == 4500 else f" (extrapolated from {len(objectives)})"
    rows = [
        ("objective", f"{best.solution.objective[0]:.14f}", f"{objectives.min():.14f}"),
        (
            "starts at the optimum",
            f"{best.share_of_starts[0]:.0%} of {fitting.STARTS}",
            f"{at_optimum:.1%} of {len(objectives)}",
        ),
        ("starts called a success", f"{float(best.solution.converged[0]):.0%}", f"{success:.0%}"),
        ("one fit", f"{1e3 * one:.1f} ms", f"{4500 * per_start:.0f} s{whole}"),
        (f"{RESAMPLES:,} refits", f"{resampled:.2f} s", f"{RESAMPLES * per_start:.0f} s from one start each (extrapolated)"),
        ("first fit of a process", f"{first_fit():.2f} s", ""),
    ]
    print(pd.DataFrame(rows, columns=["", "here", "SciPy L-BFGS-B, 4,500 starts"]).to_string(index=False))


if __name__ == "__main__":
    main()

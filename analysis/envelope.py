"""Approach 1 of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.1): the envelope of training curves.

Each run's loss is read at common budgets along its curve; the lowest of them is the frontier there, and the run that has
it gives N* and D*. Power laws through these are the result.

What to know of it: N* moves in steps, from one size tried to the next, so it takes many sizes; the least of noisy losses is
too low; and a point in the middle of a schedule that decays later is not the loss of a run that ends there, so that the
envelope of decayed runs mostly says where their ends lie. The notes of the result tell what applies.

Shapes: `R` draws, `K` budgets.
"""

import numpy as np
import pandas as pd

from analysis.conventions import Array, Convention, Interpolated, at_budgets
from analysis.errors import AnalysisError
from analysis.frontier import Frontier, build

BUDGETS = 300
FEWEST_SIZES = 3
UNDECAYED = 0.9  # a learning rate of at least this share of the highest has not decayed
LOST_DRAWS = 0.5


def fit_envelope(
    curves: pd.DataFrame,
    convention: Convention | None = None,
    *,
    budgets: int = BUDGETS,
    smooth: float = 0.0,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> Frontier:
    """N*(C), D*(C), D*/N* and L*(C) from the envelope of loss curves.

    A budget counts where the best run is neither of the smallest nor of the largest size that has a loss there: at an
    edge of the sizes a better one may lie beyond. Intervals are a bootstrap by run, since the points of a curve are not
    independent; lines weigh all budgets alike.

    Args:
        curves: several rows per run, see `curves.COLUMNS`; `horizon` and `learning_rate` are used for the notes.
        convention: of N and C.
        budgets: how many, evenly spaced in the logarithm (1,500 in the paper).
        smooth: see `conventions.at_budgets`; the paper smooths its curves of training loss.
        level: of the intervals.
        draws: how many refits they come from.
        seed: of the draws.

    Raises:
        AnalysisError: an absent column, one point per run, or an envelope of fewer than three sizes that are not at an edge
            (in the data, or in most bootstrap draws).
    """
    convention = convention or Convention()
    read = convention.read(curves)
    points = read.groupby("run", sort=False)["c"].agg(["min", "max", "size"])
    if (points["size"] < 2).all():
        raise AnalysisError("approach 1 needs training curves: every run here has a single point")
    grid = np.geomspace(points["min"].min(), points["max"].max(), budgets)
    lines = at_budgets(read, grid, None, smooth)
    n = lines.runs["n"].to_numpy()
    best, inside = _envelope(lines.log_losses, n)
    sizes = np.unique(n[best[inside]])
    if len(sizes) < FEWEST_SIZES:
        raise AnalysisError(
            f"the envelope is made of {len(sizes)} sizes that are not at an edge of those tried; approach 1 needs "
            f"{FEWEST_SIZES}: add sizes, or longer runs of the small ones"
        )
    random = np.random.default_rng(seed)
    drawn = {name: np.full((draws, inside.sum()), np.nan) for name in ("parameters", "tokens", "loss")}
    for draw in range(draws):
        chosen = np.unique(random.integers(len(n), size=len(n)))
        part = Interpolated(
            lines.runs.iloc[chosen], grid, lines.log_losses[chosen][:, inside], lines.log_tokens[chosen][:, inside]
        )
        where, kept = _envelope(part.log_losses, n[chosen])
        if len(np.unique(n[chosen][where[kept]])) >= FEWEST_SIZES:
            for name, values in _quantities(part, where).items():
                drawn[name][draw, kept] = values[kept]
    lost = float(np.isnan(drawn["parameters"]).all(1).mean())
    if lost > LOST_DRAWS:
        raise AnalysisError(
            f"the envelope hangs on too few runs: {lost:.0%} of the bootstrap draws by run leave fewer than {FEWEST_SIZES} "
            "sizes inside it, so it has no interval"
        )
    optima = {name: values[inside] for name, values in _quantities(lines, best).items()}
    return build(
        f"approach 1: envelope of {len(n)} curves, {len(sizes)} sizes on it",
        convention,
        grid[inside],
        optima,
        drawn,
        weighted=False,
        excluded={
            float(budget): "the best run is of the smallest or largest size with a loss here" for budget in grid[~inside]
        },
        notes=_notes(curves, lines, best, inside),
        level=level,
        interval_method="bootstrap by run",
    )


def _envelope(log_losses: Array, n: Array) -> tuple[np.ndarray, np.ndarray]:
    """The best run (K,) of losses (runs, K) and whether its size is inside the sizes (runs,) that have a loss there."""
    there = ~np.isnan(log_losses)
    best = np.where(there, log_losses, np.inf).argmin(0)
    smallest = np.where(there, n[:, None], np.inf).min(0)
    largest = np.where(there, n[:, None], -np.inf).max(0)
    return best, (n[best] > smallest) & (n[best] < largest)


def _quantities(lines: Interpolated, best: np.ndarray) -> dict[str, Array]:
    column = np.arange(len(best))
    return {
        "parameters": np.log(lines.runs["n"].to_numpy())[best],
        "tokens": lines.log_tokens[best, column],
        "loss": lines.log_losses[best, column],
    }


def _notes(curves: pd.DataFrame, lines: Interpolated, best: np.ndarray, inside: np.ndarray) -> list[str]:
    """What share of the envelope lies before the end of a schedule that decays, or of one that nobody recorded."""
    runs = lines.runs["run"].to_numpy()
    column = np.arange(len(best))[inside]
    tokens = np.exp(lines.log_tokens[best[inside], column])
    early = np.zeros((2, len(tokens)), bool)
    for run, curve in curves.groupby(curves["run"].astype(str) if "run" in curves else np.arange(len(curves)), sort=False):
        mine = runs[best[inside]] == run
        end = curve["horizon"].max() if "horizon" in curve and curve["horizon"].notna().any() else curve["tokens"].max()
        unfinished = mine & (tokens < 0.999 * end)
        rates = curve["learning_rate"].dropna() if "learning_rate" in curve else pd.Series(dtype=float)
        decays = rates.empty or rates.iloc[-1] < UNDECAYED * rates.max()
        early[int(rates.empty)] |= unfinished & decays
    told = []
    for share, what in zip(
        early.mean(1), ("a schedule that decays", "a schedule without a recorded learning rate"), strict=True
    ):
        if share:
            told.append(
                f"{share:.0%} of the envelope lies before the end of {what}: those losses are not what a run that ended there "
                "would reach, and the exponents may follow the horizons tried"
            )
    return told

"""Approach 2 of Hoffmann et al. 2022 (arXiv 2203.15556, section 3.2): the lowest point of each isoFLOP curve.

Runs are grouped into budgets; at each, a curve of log loss against log N is fitted and its minimum is N*. Power laws through
the minima are the frontier.

A parabola is what the paper fits, and it is biased where the loss does not rise alike on both sides (alpha != beta), the
more so the wider the grid (Xu et al. 2026, arXiv 2603.22339). A cubic is the default: `docs/lab-log.md` has the coverage of
all three. A minimum that is not inside the sizes tried is refused, not extrapolated.

Shapes: `R` draws, `S` sizes at a budget, `K` budgets, `G` places on an isoFLOP curve.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.interpolate import Akima1DInterpolator

from analysis.conventions import Array, Convention, at_budgets
from analysis.errors import AnalysisError
from analysis.frontier import FEWEST_BUDGETS, Frontier, build

TOLERANCE = 0.1
PLACES = 25  # per interval between sizes, as Porian et al. 2024 (arXiv 2406.19146) take
SHARE_USED = 0.7  # of the runs; with fewer in use the result says so
EDGE_SHARE = 0.2  # draws without a minimum that a budget may have
Curve = Literal["quadratic", "cubic", "akima"]
FEWEST_SIZES = {"quadratic": 4, "cubic": 5, "akima": 5}
DEGREES = {"quadratic": 2, "cubic": 3}


@dataclass(frozen=True)
class _Group:
    """The runs of one budget: `cells` holds `run`, `n`, `c`, `log_loss` and `log_flops_per_token`, one row per run."""

    budget: float
    cells: pd.DataFrame

    @property
    def log_n(self) -> Array:
        """Of the different sizes, rising (S,)."""
        return np.log(np.unique(self.cells["n"]))

    def average(self, log_losses: Array) -> Array:
        """Mean of (R, runs) over the runs of each size, (R, S): seeds are one point."""
        member = self.cells["n"].to_numpy() == np.unique(self.cells["n"])[:, None]
        return log_losses @ (member / member.sum(1, keepdims=True)).T


def fit_isoflop(
    points: pd.DataFrame,
    convention: Convention | None = None,
    *,
    curve: Curve = "cubic",
    budgets: Array | list[float] | None = None,
    tolerance: float = TOLERANCE,
    noise: float | None = None,
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> Frontier:
    """N*(C), D*(C), D*/N* and L*(C) from isoFLOP curves.

    Intervals are a parametric bootstrap: each run gets one draw of noise in log loss (the same at all its budgets), and
    everything is fitted again. Lines weigh each budget by the inverse variance of its minimum.

    Args:
        points: final points of runs, or whole curves together with `budgets`: then each curve is interpolated to the exact
            FLOPs (Porian et al. 2024), which says nothing of runs whose schedule would decay later.
        convention: of N and C.
        curve: `quadratic`, `cubic` or `akima` (a spline through the points, Porian et al. 2024).
        budgets: FLOPs; found in the points where absent, by complete linkage within `tolerance`.
        tolerance: largest relative difference of FLOPs within a budget; the losses are then moved to the budget itself.
        noise: standard deviation of log loss between seeds; estimated from seeds and from the residuals of the curves
            (of a cubic for `akima`, which has none) where absent.
        level: of the intervals.
        draws: how many refits they come from.
        seed: of the draws.

    Raises:
        AnalysisError: an absent column, several points per run without budgets, no noise to be had, or fewer than three
            budgets with a minimum (with the reason of each of the others).
    """
    if curve not in FEWEST_SIZES:
        raise AnalysisError(f"curve must be one of {', '.join(FEWEST_SIZES)}, not {curve!r}")
    convention = convention or Convention()
    groups = _groups(convention.read(points), budgets, tolerance)
    runs_given = sum(len(group.cells) for group in groups)
    excluded = {
        group.budget: f"{len(group.log_n)} sizes; a {curve} curve needs {FEWEST_SIZES[curve]}"
        for group in groups
        if len(group.log_n) < FEWEST_SIZES[curve]
    }
    groups = _at_budgets([group for group in groups if group.budget not in excluded])
    random = np.random.default_rng(seed)
    level_of_noise, freedom = (noise, np.inf) if noise is not None else _noise(groups)
    scale = np.full(draws, level_of_noise)
    if np.isfinite(freedom):
        scale *= np.sqrt(freedom / random.chisquare(freedom, draws))
    runs = np.unique([run for group in groups for run in group.cells["run"]])
    deviations = pd.DataFrame(scale[:, None] * random.standard_normal((draws, len(runs))), columns=runs)

    kept, minima, drawn = [], [], []
    for group in groups:
        losses = group.cells["log_loss"].to_numpy()
        noisy = losses + deviations[group.cells["run"]].to_numpy()
        found = _minima(group.log_n, group.average(np.vstack([losses[None], noisy])), curve)
        missing = float(np.isnan(found[1:, 0]).mean())
        if np.isnan(found[0, 0]):
            excluded[group.budget] = _edge(group, losses)
        elif missing > EDGE_SHARE:
            excluded[group.budget] = (
                f"no minimum between the sizes in {missing:.0%} of the noise draws: too flat, or at an edge"
            )
        else:
            kept.append(group)
            minima.append(found[0])
            drawn.append(found[1:])
    if len(kept) < FEWEST_BUDGETS:
        reasons = "; ".join(f"{budget:.3g} FLOPs: {reason}" for budget, reason in sorted(excluded.items()))
        raise AnalysisError(
            f"{len(kept)} budgets have a minimum between their sizes, approach 2 needs {FEWEST_BUDGETS}: "
            f"{reasons or 'no others are there'}"
        )
    at = np.array([group.budget for group in kept])
    return build(
        f"approach 2: {curve} isoFLOP curves",
        convention,
        at,
        _quantities(kept, np.array(minima)[:, None]),
        _quantities(kept, np.array(drawn)),
        weighted=True,
        excluded=dict(sorted(excluded.items())),
        notes=_notes(kept, runs_given),
        level=level,
        interval_method=f"parametric bootstrap, noise of {100 * level_of_noise:.2g} % in loss by run",
    )


def group_budgets(flops: Array, tolerance: float = TOLERANCE) -> np.ndarray:
    """Labels (N,) of groups in which no two FLOPs differ by more than the tolerance; complete linkage of their logarithms."""
    if len(flops) < 2:
        return np.zeros(len(flops), int)
    return fcluster(linkage(np.log(flops)[:, None], "complete"), np.log1p(tolerance), "distance")


def _groups(read: pd.DataFrame, budgets: Array | list[float] | None, tolerance: float) -> list[_Group]:
    read = read.assign(log_loss=np.log(read["loss"]), log_flops_per_token=np.log(read["c"] / read["d"]))
    if read["run"].duplicated().any():
        if budgets is None:
            raise AnalysisError("several points per run: give `budgets` to read the curves at, or each run's final point alone")
        curves = at_budgets(read, np.asarray(budgets, float), tolerance)
        groups = []
        for index, budget in enumerate(curves.budgets):
            cells = curves.runs.assign(
                c=budget, log_loss=curves.log_losses[:, index], log_flops_per_token=np.log(budget) - curves.log_tokens[:, index]
            )
            groups.append(_Group(float(budget), cells.dropna()))
        return groups
    if budgets is None:
        labels = group_budgets(read["c"].to_numpy(), tolerance)
        cells = [group for _, group in read.groupby(labels)]
        return sorted((_Group(float(np.exp(np.log(each["c"]).mean())), each) for each in cells), key=lambda each: each.budget)
    near = [np.abs(np.log(read["c"] / budget)) <= np.log1p(tolerance) for budget in budgets]
    return [_Group(float(budget), read[rows]) for budget, rows in zip(budgets, near, strict=True)]


def _at_budgets(groups: list[_Group]) -> list[_Group]:
    """Losses moved to the exact FLOPs of their budget, by one slope of log loss in log FLOPs at a given size for all budgets.

    Least squares of the losses on a curve in log N for each budget and on the FLOPs' distance from it; to first order in the
    tolerance.
    """
    distance = [np.log(group.cells["c"] / group.budget).to_numpy() for group in groups]
    apart = np.concatenate([_residual(group, each) for group, each in zip(groups, distance, strict=True)] or [np.empty(0)])
    if apart @ apart < 1e-12:
        return groups
    losses = np.concatenate([_residual(group, group.cells["log_loss"].to_numpy()) for group in groups])
    slope = np.clip(apart @ losses / (apart @ apart), -1.0, 0.0)
    return [
        _Group(group.budget, group.cells.assign(log_loss=group.cells["log_loss"] - slope * each))
        for group, each in zip(groups, distance, strict=True)
    ]


def _noise(groups: list[_Group]) -> tuple[float, int]:
    """Standard deviation of log loss around cubics in log N (parabolas where there are four sizes), pooled; its freedom."""
    squares = sum(float((_residual(group, group.cells["log_loss"].to_numpy()) ** 2).sum()) for group in groups)
    freedom = sum(len(group.cells) - _degree(group) - 1 for group in groups)
    if groups and freedom < 1:
        raise AnalysisError("too few runs to estimate the noise of a loss: give `noise`, its standard deviation between seeds")
    return (float(np.sqrt(squares / freedom)), freedom) if groups else (0.0, 1)


def _degree(group: _Group) -> int:
    return 3 if len(group.log_n) > 4 else 2


def _residual(group: _Group, values: Array) -> Array:
    """Values (runs,) of a budget around their polynomial in log N."""
    x = np.log(group.cells["n"].to_numpy())
    design = np.vander((x - x.mean()) / x.std(), _degree(group) + 1)
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


def _minima(log_n: Array, log_losses: Array, curve: Curve) -> Array:
    """Place and height (R, 2) of the minimum of curves through (R, S), missing where it is not inside the sizes."""
    places = np.concatenate([np.linspace(a, b, PLACES, endpoint=False) for a, b in pairwise(log_n)])
    places = np.append(places, log_n[-1])
    heights = _curve(log_n, log_losses, curve, places)
    lowest = heights.argmin(1)
    inside = (lowest > 0) & (lowest < len(places) - 1)
    middle = np.clip(lowest, 1, len(places) - 2)
    # The parabola through the lowest place and its neighbours, which need not be evenly spaced.
    lane = np.arange(len(heights))
    left, right = places[middle - 1] - places[middle], places[middle + 1] - places[middle]
    up_left, up_right = (heights[lane, middle + side] - heights[lane, middle] for side in (-1, 1))
    bend = (up_left / left - up_right / right) / (left - right)
    slope = up_right / right - bend * right
    bend = np.where(inside, bend, 1.0)
    shift = np.clip(-slope / (2 * bend), left, right)
    height = heights[lane, middle] + slope * shift + bend * shift**2
    return np.where(inside[:, None], np.stack([places[middle] + shift, height], 1), np.nan)


def _curve(log_n: Array, log_losses: Array, curve: Curve, places: Array) -> Array:
    """Heights (R, G) of the curves of (R, S) at places (G,)."""
    if curve == "akima":
        return Akima1DInterpolator(log_n, log_losses, axis=1)(places)
    centre, width = log_n.mean(), np.ptp(log_n) / 2
    fitted = np.linalg.pinv(np.vander((log_n - centre) / width, DEGREES[curve] + 1))
    return log_losses @ (np.vander((places - centre) / width, DEGREES[curve] + 1) @ fitted).T


def _edge(group: _Group, log_losses: Array) -> str:
    averaged = group.average(log_losses[None])[0]
    end, what = (0, "smallest") if averaged[0] < averaged[-1] else (-1, "largest")
    return f"the minimum is not inside the sizes tried: the loss falls to the {what}, {np.exp(group.log_n[end]):.3g}"


def _quantities(groups: list[_Group], minima: Array) -> dict[str, Array]:
    """Logarithms of N*, D* and L*, (R, K) or (K,) for one draw, from minima (K, R, 2)."""
    log_n, log_loss = np.moveaxis(minima, (0, 1), (1, 0))[..., 0], np.moveaxis(minima, (0, 1), (1, 0))[..., 1]
    log_d = np.empty_like(log_n)
    for index, group in enumerate(groups):
        cost = group.cells.groupby("n")["log_flops_per_token"].mean()
        log_d[:, index] = np.log(group.budget) - np.interp(log_n[:, index], np.log(cost.index), cost)
    log_d[np.isnan(log_n)] = np.nan
    found = {"parameters": log_n, "tokens": log_d, "loss": log_loss}
    return {name: value[0] for name, value in found.items()} if len(log_n) == 1 else found


def _notes(groups: list[_Group], runs_given: int) -> list[str]:
    used = sum(len(group.cells) for group in groups)
    notes = []
    if used < SHARE_USED * runs_given:
        notes.append(
            f"{runs_given - used} of {runs_given} runs lie in budgets without a curve: this is hardly an isoFLOP design; name "
            "its `budgets` if it has some"
        )
    for group in groups:
        lowest = group.average(group.cells["log_loss"].to_numpy()[None])[0].argmin()
        if lowest in (0, len(group.log_n) - 1):
            notes.append(
                f"{group.budget:.3g} FLOPs: the lowest loss measured is at an edge of the sizes, the minimum just inside"
            )
    return notes

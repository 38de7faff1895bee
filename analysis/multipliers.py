"""What one recipe is worth over another, in compute.

Shapes: `K` budgets or runs, `R` draws.
"""

import numpy as np
import pandas as pd
from scipy import stats

from analysis.allocation import optimum, positive, with_interval
from analysis.errors import AnalysisError
from analysis.laws import Array
from analysis.results import Fit
from analysis.trade_offs import budget_of_loss

REACH = 30.0  # factors e of compute by which the baseline may be asked to go beyond a budget


def compute_multiplier(candidate: Fit, baseline: Fit, budgets: Array | list[float]) -> pd.DataFrame:
    """The compute that the baseline needs for the loss that the candidate reaches, over the candidate's, both spent best.

    Two means that the candidate is worth twice the compute. The fits are independent, so each draw of one meets a draw of the
    other. No law error is in the intervals: look at the two columns of extrapolation.

    Args:
        candidate: fit of one recipe, of a law of parameters and tokens.
        baseline: fit of the other, in the same convention and on the same evaluation.
        budgets: FLOPs of the candidate (K,).

    Returns:
        One row per budget: `budget`, `loss` of the candidate and `multiplier`, each of the two with `_low` and `_high`, and
        `extrapolation` of the candidate and `baseline_extrapolation` over the largest run fitted. A baseline that never
        gets there has a multiplier of e^30.

    Raises:
        AnalysisError: conventions that differ, or budgets that are not positive.
    """
    budgets = positive(budgets, "budgets are FLOPs and")
    if candidate.parameters_column != baseline.parameters_column:
        raise AnalysisError(
            f"the recipes are counted differently ({candidate.parameters_column}, {baseline.parameters_column}): fit both alike"
        )
    pairs = min(len(candidate.draws), len(baseline.draws))
    found = []
    for mine, other in ((candidate.theta[None], baseline.theta[None]), (candidate.draws[:pairs], baseline.draws[:pairs])):
        loss = optimum(candidate.form, mine, budgets)[2]
        places = np.linspace(np.log(budgets.min()) - REACH, np.log(budgets.max()) + REACH, 241)
        needed = np.minimum(budget_of_loss(baseline.form, other, loss, places), np.log(budgets) + REACH)
        found.append((loss, needed - np.log(budgets)))
    (loss, multiplier), (drawn_loss, drawn) = found
    columns = {"budget": budgets}
    columns |= with_interval("loss", loss[0], drawn_loss, candidate.level)
    columns |= with_interval("multiplier", multiplier[0], drawn, candidate.level)
    return pd.DataFrame(columns).assign(
        extrapolation=budgets / candidate.largest, baseline_extrapolation=budgets * np.exp(multiplier[0]) / baseline.largest
    )


def effective_speedup(
    baseline: pd.DataFrame,
    candidates: pd.DataFrame,
    asymptote: float,
    exponent: float | None = None,
    *,
    level: float = 0.9,
) -> pd.DataFrame:
    """The same from a handful of baseline runs and single runs of the candidate, with the law's shape held.

    The baseline's envelope is L(C) = E + A / C^alpha with E pinned, and alpha too if it is given; the rest by least
    squares of log(L - E). A candidate's speedup is ((L1 - E) / (L2 - E))^(1 / alpha), with L1 the envelope at its compute
    and L2 its loss (marin-community/marin, issue 8096). The interval is lack of fit: Student's t with the freedom of the
    baseline's residuals, for the envelope and one more run about it. It holds no doubt about what is pinned.

    Args:
        baseline: `flops` and `loss` of runs on the envelope (n rows).
        candidates: `flops` and `loss` of the runs to judge (K rows); `run` names them where it is there.
        asymptote: E in nats per token. It belongs to one evaluation set.
        exponent: alpha; fitted where absent.
        level: of the interval.

    Returns:
        The candidates' `flops` and `loss` (and `run`), `baseline_loss` (L1), and `speedup` with `_low` and `_high`.

    Raises:
        AnalysisError: a column that is missing, a loss not above the asymptote, or too few baseline runs for an interval.
    """
    x, y = _above(baseline, asymptote, "baseline")
    at, measured = _above(candidates, asymptote, "candidate")
    freedom = len(x) - (1 if exponent is not None else 2)
    if freedom < 1:
        raise AnalysisError(
            f"{len(x)} baseline runs leave nothing to tell how well the envelope fits: {len(x) + 1 - freedom} are needed"
        )
    centre = x.mean()
    slope = -exponent if exponent is not None else ((x - centre) @ y) / ((x - centre) @ (x - centre))
    if slope >= 0:
        raise AnalysisError("the baseline's loss does not fall with compute: there is no envelope to compare with")
    residual = y - y.mean() - slope * (x - centre)
    scatter = np.sqrt(residual @ residual / freedom)
    envelope = y.mean() + slope * (at - centre)
    leverage = 1 + 1 / len(x) + (0 if exponent is not None else (at - centre) ** 2 / ((x - centre) @ (x - centre)))
    log_speedup = (envelope - measured) / -slope
    spread = stats.t.ppf(0.5 + level / 2, freedom) * scatter * np.sqrt(leverage) / -slope
    kept = [name for name in ("run", "flops", "loss") if name in candidates]
    return (
        candidates[kept]
        .reset_index(drop=True)
        .assign(
            baseline_loss=asymptote + np.exp(envelope),
            speedup=np.exp(log_speedup),
            speedup_low=np.exp(log_speedup - spread),
            speedup_high=np.exp(log_speedup + spread),
        )
    )


def _above(runs: pd.DataFrame, asymptote: float, what: str) -> tuple[Array, Array]:
    """Log FLOPs and log (loss - asymptote), (n,)."""
    for column in ("flops", "loss"):
        if column not in runs:
            raise AnalysisError(f"the {what} runs need the column {column!r}; given: {', '.join(map(str, runs))}")
    flops, loss = runs["flops"].to_numpy(float), runs["loss"].to_numpy(float)
    if not (loss > asymptote).all():
        raise AnalysisError(f"a {what} run has a loss of {loss.min():g}, which is not above the asymptote {asymptote:g}")
    return np.log(positive(flops, f"flops of the {what} runs")), np.log(loss - asymptote)

"""All procedures on the same runs, side by side, and where they disagree.

Hoffmann et al.'s three approaches ought to agree, and Kaplan et al.'s joint law with them; where their intervals do not
overlap, at least one does not hold for these data, and no single number should be believed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from analysis.allocation import compute_optimal, optimum, positive
from analysis.chinchilla import fit_parametric
from analysis.conventions import SIMPLE, Array, Convention
from analysis.envelope import fit_envelope
from analysis.errors import AnalysisError
from analysis.fits import estimate, fit_law
from analysis.frontier import QUANTITIES, Frontier
from analysis.isoflop import fit_isoflop
from analysis.laws import Kaplan
from analysis.results import Estimate, Fit

EXPONENTS = {"a": "exponent of N*(C)", "b": "exponent of D*(C)"}


@dataclass(frozen=True)
class Disagreement:
    """What each procedure says.

    Attributes:
        convention: of N and C, in all procedures.
        table: one row per procedure and quantity: `procedure`, `quantity` (`a`, `b` and those of `frontier.QUANTITIES`),
            `budget` (FLOPs; missing for exponents), `value`, `low` and `high`.
        refused: procedures that give no answer on these data, each with its reason.
        verdicts: one row per quantity and budget: `agree`, and `verdict` in words, which names the pairs that do not overlap.
        found: the results themselves, by procedure.
    """

    convention: Convention
    table: pd.DataFrame
    refused: dict[str, str]
    verdicts: pd.DataFrame
    found: dict[str, Frontier | Fit]


def compare(
    points: pd.DataFrame,
    budgets: Array | list[float],
    convention: Convention | None = None,
    *,
    curves: pd.DataFrame | None = None,
    level: float = 0.9,
    draws: int = 400,
    seed: int = 0,
) -> Disagreement:
    """Exponents, N*, D*, D*/N* and L* by approaches 1, 2 and 3 and by Kaplan et al.'s joint law.

    Args:
        points: final points of runs.
        budgets: FLOPs at which to compare (K,).
        convention: of N and C.
        curves: training curves, for approach 1.
        level: of the intervals.
        draws: how many refits each procedure's come from.
        seed: of the draws.

    Raises:
        AnalysisError: budgets that are not positive. A procedure that raises is in `refused`.
    """
    budgets = positive(budgets, "budgets are FLOPs and")
    convention = convention or Convention()
    settings: dict[str, Any] = {"level": level, "draws": draws, "seed": seed}
    procedures: dict[str, Callable[[], Frontier | Fit]] = {
        "approach 1": lambda: fit_envelope(_given(curves), convention, **settings),
        "approach 2": lambda: fit_isoflop(points, convention, **settings),
        "approach 3": lambda: fit_parametric(points, _simple(convention), **settings),
        "Kaplan et al., L(N, D)": lambda: fit_law(points, Kaplan(), {"parameters": _simple(convention)}, **settings),
    }
    rows, refused, found = [], {}, {}
    for procedure, run in procedures.items():
        try:
            found[procedure] = run()
            rows += [{"procedure": procedure, **row} for row in _answers(found[procedure], budgets)]
        except AnalysisError as error:
            refused[procedure] = str(error)
    table = pd.DataFrame(rows, columns=["procedure", "quantity", "budget", "value", "low", "high"])
    return Disagreement(convention, table, refused, _verdicts(table), found)


def _given(curves: pd.DataFrame | None) -> pd.DataFrame:
    if curves is None:
        raise AnalysisError("no training curves were given")
    return curves


def _simple(convention: Convention) -> str:
    """The column of N, where C is 6 N D: a law in N and D knows no other cost."""
    if convention.flops != SIMPLE:
        raise AnalysisError(f"a law in N and D is allocated under C = 6 N D, not under {convention.flops}")
    return convention.parameters


def _answers(found: Frontier | Fit, budgets: Array) -> list[dict[str, Any]]:
    if isinstance(found, Frontier):
        exponents = {"a": found.laws["parameters"].exponent, "b": found.laws["tokens"].exponent}
        at_budgets = found.predict(budgets)
    else:
        exponents = _local_exponents(found)
        at_budgets = compute_optimal(found, budgets)
    rows: list[dict[str, Any]] = [
        {"quantity": name, "budget": np.nan, "value": each.value, "low": each.low, "high": each.high}
        for name, each in exponents.items()
    ]
    for row in at_budgets.to_dict("records"):
        for name in QUANTITIES:
            if not np.isnan(row[name]):
                values = {"value": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}
                rows.append({"quantity": name, "budget": row["budget"], **values})
    return rows


def _local_exponents(fit: Fit) -> dict[str, Estimate]:
    """d log N* / d log C and its complement in the middle of the fitted FLOPs; constant for the Chinchilla law."""
    middle = np.sqrt(np.prod(fit.origin.ranges[fit.form.size[0]]))
    around = middle * np.exp([-0.5, 0.5])
    value, draws = (np.diff(optimum(fit.form, theta, around)[0])[..., 0] for theta in (fit.theta, fit.draws))
    return {"a": estimate(float(value), draws, fit.level), "b": estimate(float(1 - value), 1 - draws, fit.level)}


def _verdicts(table: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (quantity, budget), group in table.groupby(["quantity", "budget"], sort=False, dropna=False):
        answers = group.to_dict("records")
        apart = [(x, y) for x, y in combinations(answers, 2) if x["high"] < y["low"] or y["high"] < x["low"]]
        if len(answers) < 2:
            verdict = f"only {answers[0]['procedure']} answers"
        elif apart:
            named = [[f"{each['procedure']} ({each['low']:.4g} to {each['high']:.4g})" for each in pair] for pair in apart]
            verdict = "; ".join(f"{x} and {y} do not overlap" for x, y in named)
        else:
            verdict = f"{len(answers)} procedures agree"
        rows.append({"quantity": quantity, "budget": budget, "agree": not apart, "verdict": verdict})
    return pd.DataFrame(rows, columns=["quantity", "budget", "agree", "verdict"])

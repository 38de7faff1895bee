"""How far the exponent of N*(C) depends on counting and on the set-up (Porian et al. 2024, arXiv 2406.19146).

They went from Kaplan et al.'s exponent to Hoffmann et al.'s by counting the output head, fixing the warmup, matching the
decay to the horizon and tuning the optimiser. Recorded curves can be counted anew in any convention, and can be restricted
to the points that a correction would leave: `ladder` does so step by step, `by_convention` compares countings alone.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.conventions import Array, Convention
from analysis.errors import AnalysisError
from analysis.isoflop import TOLERANCE, Curve, fit_isoflop

KAPLAN = Convention("non_embedding_parameters")
HEAD = Convention("non_embedding_and_head_parameters")
COUNTINGS = {
    "non-embedding N, 6ND (Kaplan et al.)": KAPLAN,
    "with the output head, 6ND": HEAD,
    "with the output head, recorded FLOPs": Convention(HEAD.parameters, "flops"),
    "all parameters, 6ND (Hoffmann et al.)": Convention("parameters"),
    "all parameters, recorded FLOPs": Convention("parameters", "flops"),
}
LONGEST_WARMUP = 0.1  # of the tokens seen: the share above which a point is said to feel its warmup


def by_convention(
    table: pd.DataFrame,
    conventions: Mapping[str, Convention] | None = None,
    budgets: Array | list[float] | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """The exponent of N*(C) by isoFLOP curves under each counting.

    Args:
        table: final points, or whole curves with `budgets`.
        conventions: by name; `COUNTINGS` where absent.
        budgets: FLOPs, the same numbers under each convention; see `isoflop.fit_isoflop`.
        settings: for `isoflop.fit_isoflop`.

    Returns:
        One row per convention: `convention`, `exponent`, `exponent_low`, `exponent_high`, `budgets` (how many were used)
        and `reason`, which says why there is no exponent where there is none.
    """
    named = (conventions or COUNTINGS).items()
    return pd.DataFrame([{"convention": name, **_exponent(table, each, budgets, **settings)} for name, each in named])


def ladder(
    curves: pd.DataFrame,
    budgets: Array | list[float],
    *,
    tolerance: float = TOLERANCE,
    curve: Curve = "cubic",
    level: float = 0.9,
    draws: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Porian et al.'s corrections one after the other, each on top of those before it.

    1. counting: non-embedding N and C = 6ND of it, at any point of any curve, as Kaplan et al. read theirs;
    2. head: N and C count the output head;
    3. attention: C as the trainer recorded it, with attention;
    4. warmup: only points whose warmup is at most a tenth of their tokens;
    5. horizon: only final points, whose schedule ended there;
    6. tuned: of runs of one size and one number of tokens, the best; the others were not tuned.

    A step that these curves cannot tell apart (no learning rates, no horizons, one run per size) has its reason in its row.

    Args:
        curves: see `curves.COLUMNS`; all columns of parameters, and `flops`, `learning_rate` and `horizon` where known.
        budgets: FLOPs at which the isoFLOP curves are read.
        tolerance: see `isoflop.fit_isoflop`, and so on.
        curve: likewise.
        level: likewise.
        draws: likewise.
        seed: likewise.

    Returns:
        The columns of `by_convention`, with `step` for `convention`.
    """
    settings = {"tolerance": tolerance, "curve": curve, "level": level, "draws": draws, "seed": seed}
    rows, table, convention = [], curves, KAPLAN
    for step in ("counting", "head", "attention", "warmup", "horizon", "tuned"):
        try:
            table, convention = _correct(step, table, convention)
        except AnalysisError as error:
            rows.append({"step": step, **_nothing(str(error))})
            continue
        rows.append({"step": step, **_exponent(table, convention, budgets, **settings)})
    return pd.DataFrame(rows)


def _correct(step: str, table: pd.DataFrame, convention: Convention) -> tuple[pd.DataFrame, Convention]:
    if step == "head":
        return table, HEAD
    if step == "attention":
        if "flops" not in table or table["flops"].isna().all():
            raise AnalysisError("no column 'flops' with what the trainer counted")
        return table, Convention(convention.parameters, "flops")
    if step == "warmup":
        return table[_after_warmup(table)], convention
    if step == "horizon":
        if "horizon" not in table or table["horizon"].isna().all():
            raise AnalysisError("no column 'horizon' with the tokens planned")
        return table[table["tokens"] >= 0.999 * table["horizon"]], convention
    if step == "tuned":
        final = table[table["loss"].notna()].sort_values("loss").drop_duplicates("run")
        best = final.drop_duplicates([convention.parameters, "horizon"]) if "horizon" in final else final
        if len(best) == len(final):
            raise AnalysisError("one run per size and horizon: whether its optimiser was tuned is not in these curves")
        return best, convention
    return table, convention


def _after_warmup(table: pd.DataFrame) -> pd.Series:
    if "learning_rate" not in table or table["learning_rate"].isna().all():
        raise AnalysisError("no column 'learning_rate': how long the warmup was is not known")
    highest = table.groupby("run")["learning_rate"].transform("max")
    peak = table["tokens"].where(table["learning_rate"] >= (1 - 1e-6) * highest)
    warmup = peak.groupby(table["run"]).transform("min")
    return warmup <= np.maximum(LONGEST_WARMUP * table["tokens"], table.groupby("run")["tokens"].transform("min"))


def _exponent(
    table: pd.DataFrame, convention: Convention, budgets: Array | list[float] | None, **settings: Any
) -> dict[str, Any]:
    try:
        fit = fit_isoflop(table, convention, budgets=budgets, **settings)
    except AnalysisError as error:
        return _nothing(str(error))
    exponent = fit.laws["parameters"].exponent
    return {
        "exponent": exponent.value,
        "exponent_low": exponent.low,
        "exponent_high": exponent.high,
        "budgets": len(fit.optima),
        "reason": "",
    }


def _nothing(reason: str) -> dict[str, Any]:
    return {"exponent": np.nan, "exponent_low": np.nan, "exponent_high": np.nan, "budgets": 0, "reason": reason}

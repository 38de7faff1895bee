"""How parameters and FLOPs are counted, and curves read that way.

Exponents of compute-optimal sizes move by more with the convention than with the data: 0.84 without the output head's FLOPs
and 0.71 with them on the same runs (Porian et al. 2024, arXiv 2406.19146, figure 1). So every procedure takes a
`Convention`, and names it in its result.

Shapes: `R` runs, `K` budgets.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.errors import AnalysisError

Array = NDArray[np.float64]

PARAMETERS = "non_embedding_and_head_parameters"
SIMPLE = "6ND"


@dataclass(frozen=True)
class Convention:
    """What N and C mean.

    Attributes:
        parameters: the column N is read from.
        flops: the column C is read from, or `6ND` for 6 x N x D with that N (Kaplan et al. 2020, section 2.1).
    """

    parameters: str = PARAMETERS
    flops: str = SIMPLE

    def __str__(self) -> str:
        return f"N = {self.parameters}, C = {f'6 x {self.parameters} x tokens' if self.flops == SIMPLE else self.flops}"

    def read(self, table: pd.DataFrame) -> pd.DataFrame:
        """The columns `run`, `n`, `d`, `c` and `loss` of a table of curves or of final points, all positive.

        Rows without a loss and those with a reason in `excluded` are left out, and so are rows before the first token.

        Raises:
            AnalysisError: a column that is not there (which, and what is), or a value without logarithm (which runs).
        """
        named = {"n": self.parameters, "d": "tokens", "loss": "loss"}
        if self.flops != SIMPLE:
            named["c"] = self.flops
        for column in named.values():
            if column not in table or table[column].isna().all():
                present = [str(name) for name in table if table[name].notna().any()]
                raise AnalysisError(f"no column {column!r} to count {self}; the table has: {', '.join(present)}")
        read = pd.DataFrame({short: table[column].to_numpy(float) for short, column in named.items()})
        runs = table["run"] if "run" in table else pd.Series([f"row {n}" for n in range(1, len(table) + 1)])
        read.insert(0, "run", runs.astype(str).to_numpy())
        if self.flops == SIMPLE:
            read["c"] = 6 * read["n"] * read["d"]
        kept = read["loss"].notna() & ~(read["d"] == 0)
        if "excluded" in table:
            kept &= (table["excluded"].fillna("") == "").to_numpy()
        read = read[kept]
        for short, column in named.items():
            bad = read.loc[~(np.isfinite(read[short]) & (read[short] > 0)), "run"].unique()
            if len(bad):
                raise AnalysisError(f"{column} must be positive and finite; it is not in {', '.join(bad[:5])}")
        return read.reset_index(drop=True)


@dataclass(frozen=True)
class Interpolated:
    """Loss curves of runs read at common budgets.

    Attributes:
        runs: one row per run with its name and `n`.
        budgets: FLOPs (K,).
        log_losses: natural logarithms (R, K), missing where the run has no point near the budget.
        log_tokens: of the tokens seen there, (R, K).
    """

    runs: pd.DataFrame
    budgets: Array
    log_losses: Array
    log_tokens: Array


def at_budgets(curves: pd.DataFrame, budgets: Array, tolerance: float | None, smooth: float = 0.0) -> Interpolated:
    """Interpolate each run's curve to exact budgets, log loss linear in log FLOPs (as Porian et al. 2024 do).

    Args:
        curves: from `Convention.read`, several rows per run.
        budgets: FLOPs (K,).
        tolerance: a run counts at a budget if one of its points lies within this relative distance of it (0.1 is Porian
            et al.'s); None: if the budget lies between its first and last point. Nothing is ever extrapolated
            beyond the tolerance.
        smooth: standard deviation of a Gaussian kernel in log10 FLOPs, for noisy losses of single batches.
    """
    log_budgets = np.log(budgets)
    runs, losses, tokens = [], [], []
    for run, curve in curves.groupby("run", sort=False):
        curve = curve.groupby("c", as_index=False).mean(numeric_only=True)
        x, y = np.log(curve["c"].to_numpy()), np.log(curve["loss"].to_numpy())
        if smooth:
            kernel = np.exp(-0.5 * ((x[:, None] - x) / (smooth * np.log(10))) ** 2)
            y = kernel @ y / kernel.sum(1)
        if tolerance is None:
            there = (log_budgets >= x[0] - 1e-9) & (log_budgets <= x[-1] + 1e-9)
        else:
            there = np.abs(log_budgets[:, None] - x).min(1) <= np.log1p(tolerance)
        runs.append({"run": run, "n": curve["n"].iloc[-1]})
        losses.append(np.where(there, np.interp(log_budgets, x, y), np.nan))
        tokens.append(np.where(there, np.interp(log_budgets, x, np.log(curve["d"].to_numpy())), np.nan))
    return Interpolated(pd.DataFrame(runs), np.asarray(budgets, float), np.array(losses), np.array(tokens))

"""The final loss of a run that is still training, from the first part of its curve.

Two ways, and a refusal. Where finished siblings had the same schedule, the run is taken to fall from here to its end by the
factor they did, with the spread between them as its error: that holds for any schedule. Without them the run's own curve is
continued by L(D) = E + A / D^gamma, which holds for as long as the learning rate stays what it is, so that has to be said;
what a decay will do to the loss cannot be read from a curve that has not decayed.

The interval of the second comes from the run itself: the same continuation is made at earlier moments, over the same ratio of
tokens, and judged by what came. `docs/lab-log.md` has its coverage on real curves.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from analysis import fitting
from analysis.conventions import Array
from analysis.errors import AnalysisError
from analysis.laws import M2
from analysis.penalties import NEVER

TAIL = 0.4  # the continuation is fitted from this share of the tokens seen on: earlier ones belong to a faster fall
BINS = 40
WINDOW = 0.02  # share of the tokens over which a loss is averaged
ROLLOUTS = 4
EARLIEST = 0.6  # the first rollout begins at this share of the last one's tokens
FEWEST_POINTS = 12
STEADY = 1.02  # ratio of learning rates that counts as no change


@dataclass(frozen=True)
class FinalLoss:
    """Where a run will end.

    Attributes:
        loss: predicted, averaged over the last 2 % of the tokens; nats per token.
        low: of its interval.
        high: of it.
        now: the loss so far, averaged alike.
        tokens: seen so far.
        horizon: tokens at the end.
        level: of the interval.
        method: in words.
        errors: relative errors of the rollouts, or the siblings' remaining fall around their mean, in log loss (n,).
    """

    loss: float
    low: float
    high: float
    now: float
    tokens: float
    horizon: float
    level: float
    method: str
    errors: Array


def final_loss(
    curve: pd.DataFrame,
    horizon: float,
    *,
    schedule: Literal["constant"] | None = None,
    siblings: pd.DataFrame | None = None,
    level: float = 0.9,
) -> FinalLoss:
    """Predict the loss of a run at its horizon.

    Args:
        curve: of the run so far: `tokens`, `loss`, and `learning_rate` where it is known.
        horizon: tokens at which it will end.
        schedule: `constant` if the learning rate will stay as it is to the end.
        siblings: curves of finished runs with the same schedule over their own horizons; `run` names them.
        level: of the interval.

    Raises:
        AnalysisError: nothing left to train, a schedule that is not known or not constant, siblings with another schedule, or
            a curve too short to judge its own continuation.
    """
    seen = _tidy(curve)
    tokens = seen["tokens"].iloc[-1]
    if not tokens < horizon < np.inf:
        raise AnalysisError(
            f"the run has seen {tokens:.4g} tokens and its horizon is {horizon:.4g}: there is no rest to predict"
        )
    if siblings is not None:
        change, errors, spread, method = _from_siblings(seen, horizon, siblings, level)
    elif schedule == "constant":
        change, errors, spread, method = _from_itself(seen, horizon, level)
    else:
        raise AnalysisError(
            "what the learning rate will do is not known, and a decay changes the end: say schedule='constant' if it stays, or "
            "give finished siblings with the same schedule"
        )
    now = _average(seen, tokens)
    return FinalLoss(
        loss=float(np.exp(now + change)),
        low=float(np.exp(now + change - spread)),
        high=float(np.exp(now + change + spread)),
        now=float(np.exp(now)),
        tokens=float(tokens),
        horizon=float(horizon),
        level=level,
        method=method,
        errors=errors,
    )


def _from_siblings(seen: pd.DataFrame, horizon: float, siblings: pd.DataFrame, level: float) -> tuple[float, Array, float, str]:
    share = seen["tokens"].iloc[-1] / horizon
    falls, unlike = [], []
    for run, finished in siblings.groupby("run", sort=False):
        finished = _tidy(finished)
        end = finished["tokens"].iloc[-1]
        if _same_schedule(seen, finished, horizon / end):
            falls.append(_average(finished, end) - _average(finished, share * end))
        else:
            unlike.append(str(run))
    if len(falls) < 2:
        other = f"; another learning-rate schedule have {', '.join(unlike)}" if unlike else ""
        raise AnalysisError(f"{len(falls)} siblings with the same schedule; two are needed for an interval{other}")
    change = float(np.mean(falls))
    spread = float(np.std(falls, ddof=1) * np.sqrt(1 + 1 / len(falls)) * stats.t.ppf(0.5 + level / 2, len(falls) - 1))
    return (
        change,
        np.array(falls) - change,
        spread,
        f"the fall of {len(falls)} siblings from {share:.0%} of their tokens to the end",
    )


def _same_schedule(seen: pd.DataFrame, finished: pd.DataFrame, ratio: float) -> bool:
    """Whether the learning rates so far, over their highest, agree within 5 % at the same share of the run."""
    if "learning_rate" not in seen or "learning_rate" not in finished:
        return True
    mine = (seen["learning_rate"] / seen["learning_rate"].max()).to_numpy()
    theirs = np.interp(seen["tokens"] / ratio, finished["tokens"], finished["learning_rate"] / finished["learning_rate"].max())
    return bool(np.median(np.abs(mine - theirs)) < 0.05)


def _from_itself(seen: pd.DataFrame, horizon: float, level: float) -> tuple[float, Array, float, str]:
    tokens = seen["tokens"].iloc[-1]
    used = seen[seen["tokens"] >= TAIL * tokens]
    rates = used["learning_rate"].dropna() if "learning_rate" in used else pd.Series(dtype=float)
    if not rates.empty and rates.max() > STEADY * rates.min():
        raise AnalysisError(
            f"the learning rate went from {rates.iloc[0]:.3g} to {rates.iloc[-1]:.3g} in the part that is continued: "
            "that is not a constant schedule; give finished siblings with the same one"
        )
    ratio = horizon / tokens
    errors = []
    for cutoff in tokens / ratio * np.geomspace(EARLIEST, 1, ROLLOUTS):
        known = seen[seen["tokens"] <= cutoff]
        if (known["tokens"] >= TAIL * cutoff).sum() >= FEWEST_POINTS:
            errors.append(_average(seen, ratio * cutoff) - _continue(known, ratio * cutoff))
    if len(errors) < 2:
        raise AnalysisError(
            f"the curve is too short to predict {ratio:.3g} times its tokens: continuations over that ratio cannot be tried on "
            f"it (they need {FEWEST_POINTS} logged losses each); train on, or predict a nearer end"
        )
    spread = float(np.sqrt(np.mean(np.square(errors)))) * stats.t.ppf(0.5 + level / 2, len(errors) - 1)
    change = _continue(seen, horizon) - _average(seen, tokens)
    return change, np.array(errors), spread, f"E + A / D^gamma continued; errors of {len(errors)} rollouts within the curve"


def _continue(seen: pd.DataFrame, tokens: float) -> float:
    """Log loss at `tokens`, continued from the tail of a curve, which counts alike at each factor of tokens."""
    tail = seen[seen["tokens"] >= TAIL * seen["tokens"].iloc[-1]]
    log_d, log_loss = np.log(tail["tokens"].to_numpy()), np.log(tail["loss"].to_numpy())
    bins = np.floor((log_d - log_d[0]) / (log_d[-1] - log_d[0] + 1e-12) * BINS)
    binned = pd.DataFrame({"d": log_d, "loss": log_loss}).groupby(bins).mean()
    law = M2()
    theta = fitting.fit(law, binned["d"].to_numpy()[None], binned["loss"].to_numpy(), delta=NEVER).solution.theta[0]
    return float(law.log_value(theta, np.log([[tokens]]))[0])


def _average(curve: pd.DataFrame, tokens: float) -> float:
    """Mean log loss over the last 2 % before `tokens`; interpolated where nothing was logged there."""
    last = curve.loc[curve["tokens"].between((1 - WINDOW) * tokens, tokens * (1 + 1e-9)), "loss"]
    if last.empty:
        return float(np.interp(np.log(tokens), np.log(curve["tokens"]), np.log(curve["loss"])))
    return float(np.log(last).mean())


def _tidy(curve: pd.DataFrame) -> pd.DataFrame:
    for column in ("tokens", "loss"):
        if column not in curve:
            raise AnalysisError(f"a curve needs the column {column!r}; given: {', '.join(map(str, curve))}")
    curve = curve[curve["loss"].notna() & (curve["tokens"] > 0)].sort_values("tokens")
    if len(curve) < 2 or not ((curve["loss"] > 0) & np.isfinite(curve["loss"])).all():
        raise AnalysisError("a curve needs two points or more, and losses that are positive and finite")
    return curve

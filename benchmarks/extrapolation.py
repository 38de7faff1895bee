"""How far each law can be believed beyond its data: `python -m benchmarks.extrapolation`, about 10 CPU minutes.

    python -m benchmarks.extrapolation                     all of it
    python -m benchmarks.extrapolation epoch routing       these data sets only

First table: the rollouts of `analysis.selection.compare` on every data set present, for every law that its columns allow,
and for `select`. Root mean square errors are of log loss, in percent, within a factor 2 of the cut-off and beyond (to 8).
`statistical` is the share of the measured losses that 90 % intervals held; `shipped` the share when an error of the law is
allowed for as forecasts do. Curves are rolled out one by one and averaged.

Second table: the benchmark of Alabdulmohsin et al. 2022 with its own protocol. Laws see the rows with Training 1; the score is
the root mean square error of log loss on the others, averaged over the curves of a domain. A curve is won by the lowest
score after truncation to three decimals, and a tie is shared. `select` sees no more than the laws do.
"""

import sys
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from analysis import fitting, selection
from analysis.laws import LAWS
from benchmarks import datasets

TABLES = (datasets.epoch, datasets.datablations, datasets.routing)
CURVES = (datasets.routing_curves, datasets.multipowerlaw, datasets.datablations_curves)
PROTOCOL = ("m1", "m2", "m3", "m4", "bnsl1")
MOST = 6  # parameters of a law that is rolled out here: those with more take seconds a fit
DEFAULT = "default selection"
DRAWS = 40  # behind each interval: their shares are averaged over many


def rollouts(points: pd.DataFrame) -> pd.DataFrame:
    """The table of `compare` for the laws whose variables are columns, and what it says of the refused."""
    laws = [
        law
        for law in LAWS.values()
        if law.target == "loss" and set(law.variables) <= set(points) and len(law.parameters) <= MOST
    ]
    return selection.compare(points, laws, draws=DRAWS)


def by_rollouts(name: str, groups: list[pd.DataFrame]) -> Iterator[dict[str, object]]:
    tables = pd.concat([rollouts(group) for group in groups])
    for (law, window), rows in tables.groupby(["law", "window"], sort=False):
        tested = rows[rows["refused"] == ""]
        yield {
            "data": name,
            "law": law,
            "window": f"{window:g}",
            "tested": f"{len(tested)} of {len(rows)}",
            "score %": 100 * tested["score"].mean(),
            "near %": 100 * tested["near"].mean(),
            "far %": 100 * tested["far"].mean(),
            "bias %": 100 * tested["bias"].mean(),
            "statistical %": 100 * tested["coverage"].mean(),
            "shipped %": 100 * tested["covered"].mean(),
            "refused": "" if len(tested) else rows["refused"].iloc[0][:60],
        }


def protocol(curves: pd.DataFrame) -> pd.DataFrame:
    """Root mean square error of log loss on the rows kept back: one row per curve, with its `domain`."""
    rows = []
    for _, curve in curves.groupby("curve", sort=False):
        seen, kept = curve[curve["training"] == 1], curve[curve["training"] == 0]
        logs, ahead = np.log(seen[["examples"]].to_numpy().T), np.log(kept[["examples"]].to_numpy().T)
        measured = np.log(kept["loss"].to_numpy())
        row: dict[str, object] = {"domain": curve["domain"].iloc[0]}
        for name in PROTOCOL:
            theta = fitting.fit(LAWS[name], logs, np.log(seen["loss"].to_numpy())).solution.theta[0]
            row[name] = np.sqrt(np.mean((LAWS[name].log_value(theta, ahead) - measured) ** 2))
        predicted = selection.select(seen[["examples", "loss"]]).log_value({"examples": kept["examples"].to_numpy()})
        rows.append({**row, DEFAULT: np.sqrt(np.mean((predicted - measured) ** 2))})
    return pd.DataFrame(rows)


def wins(scores: pd.DataFrame) -> pd.Series:
    """Share of the curves that each column wins, in percent; ties after truncation to three decimals are shared."""
    truncated = np.trunc(scores * 1000)
    lowest = truncated.eq(truncated.min(axis=1), axis=0)
    return 100 * lowest.div(lowest.sum(axis=1), axis=0).mean()


def show_protocol() -> None:
    scores = protocol(datasets.alabdulmohsin())
    methods = [*PROTOCOL, DEFAULT]
    table = scores.groupby("domain")[methods].mean().T
    table["all curves"] = scores[methods].mean()
    table["wins %"] = wins(scores[methods])
    table["wins % without default"] = wins(scores[list(PROTOCOL)])
    print(f"\nAlabdulmohsin et al. 2022, {len(scores)} curves: mean RMSE of log loss on the rows kept back")
    print(table.round(5).to_string(na_rep=""))


def main() -> None:
    started, chosen = time.process_time(), sys.argv[1:]
    rows: list[dict[str, object]] = []
    for read in (*TABLES, *CURVES):
        if chosen and read.__name__ not in chosen:
            continue
        try:
            points = read()
        except FileNotFoundError as error:
            print(f"{read.__name__}: skipped, {error.filename} is not there")
            continue
        groups = [group for _, group in points.groupby("curve", sort=False)] if "curve" in points else [points]
        rows += by_rollouts(read.__name__, groups)
        print(f"{read.__name__}: done after {time.process_time() - started:.0f} CPU s", flush=True)
    if rows:
        print(pd.DataFrame(rows).round(2).to_string(index=False, na_rep=""))
    if not chosen or "alabdulmohsin" in chosen:
        try:
            show_protocol()
        except FileNotFoundError as error:
            print(f"alabdulmohsin: skipped, {error.filename} is not there")
    print(f"{time.process_time() - started:.0f} CPU s")


if __name__ == "__main__":
    main()

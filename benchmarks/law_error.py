"""How far real losses leave the law beyond the data it was fitted to: `python -m benchmarks.law_error`, about a minute.

On each data set present the law is fitted below cut-offs of size and the points beyond (to a factor 8) are predicted, by
`analysis.selection.roll_out`: points in parameters and tokens with Chinchilla's law, learning curves with M2. `statistical`
is the share of the measured losses that 90 % intervals held, which would be 90 % if the law held exactly; `shipped` the
share when `analysis.uncertainty.LAW_ERROR` is allowed for. `needed` is the law error per factor e of size at which 90 % would
be held on that data set. `left out` is the share held with the law error that the *other* data sets need, the largest of
them and their median: what a user with new data can expect of either choice. Points are weighted so that each curve counts
the same; those of one curve share their noise, so that the shares of a small data set are rough.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis import fitting, selection, uncertainty
from analysis.laws import LAWS
from analysis.selection import Candidate
from benchmarks import datasets

LEVEL = 0.9
DRAWS = 100
TABLES = (datasets.epoch, datasets.datablations, datasets.routing)
CURVES = (datasets.routing_curves, datasets.multipowerlaw, datasets.datablations_curves, datasets.alabdulmohsin)


def records(read: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Rollout errors of a data set: those of `selection.roll_out`, `half` the interval's length, and a `weight`."""
    law = LAWS["chinchilla" if read in TABLES else "m2"]
    points = read()
    parts = []
    for _, group in points.groupby("curve", sort=False) if "curve" in points else [("", points)]:
        logs = np.log(group[list(law.variables)].to_numpy(float).T)
        size, loss = law.sizes(np.exp(logs)), np.log(group["loss"].to_numpy())
        part = selection.roll_out(Candidate(law), logs, loss, size, delta=fitting.DELTA, level=LEVEL, draws=DRAWS)
        parts.append(part.assign(weight=1 / max(1, len(part))))
    table = pd.concat(parts)
    return table.assign(half=(table["high"] - table["low"]) / 2)


def held(table: pd.DataFrame, law_error: float) -> float:
    """Share of the errors within an interval that allows for a law error per factor e of size."""
    half = np.hypot(table["half"], selection.Z90 * law_error * table["distance"])
    return float(np.average(table["error"].abs() <= half, weights=table["weight"]))


def needed(table: pd.DataFrame) -> float:
    """The law error at which `LEVEL` of the errors are held."""
    excess = np.sqrt(np.maximum(0, table["error"] ** 2 - table["half"] ** 2)) / (selection.Z90 * table["distance"])
    order = excess.to_numpy().argsort()
    share = table["weight"].to_numpy()[order].cumsum() / table["weight"].sum()
    return float(excess.to_numpy()[order][np.searchsorted(share, LEVEL)])


def main() -> None:
    tables = {}
    for read in (*TABLES, *CURVES):
        try:
            tables[read.__name__] = records(read)
        except FileNotFoundError as error:
            print(f"{read.__name__}: skipped, {error.filename} is not there")
    need = {name: needed(table) for name, table in tables.items()}
    rows = []
    for name, table in tables.items():
        others = [value for other, value in need.items() if other != name]
        rows.append(
            {
                "data": name,
                "errors": len(table),
                "rms error %": 100 * np.sqrt(np.average(table["error"] ** 2, weights=table["weight"])),
                "statistical %": 100 * held(table, 0.0),
                "shipped %": 100 * held(table, uncertainty.LAW_ERROR),
                "needed %": 100 * need[name],
                "left out, largest %": 100 * held(table, max(others, default=0.0)),
                "left out, median %": 100 * held(table, float(np.median(others)) if others else 0.0),
            }
        )
    print(pd.DataFrame(rows).round(2).to_string(index=False))


if __name__ == "__main__":
    main()

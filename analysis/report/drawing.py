"""The numbers behind the interactive figures, as plain data: everything is computed here, the page only draws.

Losses are in nats per token, compute in FLOPs; whatever is not finite is None.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm, to_hex

from analysis import fitting
from analysis.allocation import compute_optimal
from analysis.errors import AnalysisError
from analysis.figures.axes import PARAMETERS, short
from analysis.figures.compute import labelled
from analysis.frontier import Frontier
from analysis.isoflop import DEGREES, group_budgets
from analysis.laws import Array, Law
from analysis.report.provenance import Records
from analysis.report.windows import windows
from analysis.results import Fit
from analysis.study import Study
from analysis.truth import sources

DIGITS = 6
ROWS = 150  # of a run's curve that are drawn
PLACES = 40  # along a line, and along each side of the surface
SIZES = 12  # model sizes with a line of their own
PER_DECADE = 10  # budgets of the table that the page looks into
BEYOND = 1e6  # times the largest fitted budget: where that table ends
LIGHTEST = 0.6  # of viridis: lighter colours have too little contrast on white


def drawing(study: Study, records: Records) -> dict[str, Any]:
    """All that the figures of a study show."""
    fits, refused = by_convention(study)
    found: dict[str, Any] = {
        "conventions": {name: PARAMETERS.get(name, name) for name in fits} or {study.convention.parameters: "parameters"},
        "convention": study.convention.parameters,
        "refused": refused,
        "runs": runs(study, records),
        "fits": {name: law_lines(each, study) for name, each in fits.items()},
        "isoflops": isoflops(study.frontiers["approach 2"], study.points) if "approach 2" in study.frontiers else None,
        "profiles": study.profiles,
        "sources": sources(study.points),
    }
    if study.fit is not None:
        fit = study.fit
        found |= {
            "level": fit.level,
            "largest": fit.largest,
            "parameters": {name: estimate.value for name, estimate in fit.estimates.items()},
            "frontiers": frontiers({**study.frontiers, "approach 3": fit}),
            "optimum": table(compute_optimal(fit, _budgets(fit))),
            "windows": windows(fit, study.points),
            "surface": surface(fit, study.points),
        }
    if study.comparison is not None:
        found["forecast"] = study.comparison
    return plain(found)


@dataclass(frozen=True)
class Counted:
    """The law under one way of counting parameters.

    Attributes:
        column: that N is read from.
        law: the functional form.
        theta: its coordinates.
        noise: standard deviation of log loss around it.
    """

    column: str
    law: Law
    theta: Array
    noise: float

    def loss(self, parameters: Array, tokens: Array) -> Array:
        """Nats per token at arrays of N and D."""
        logs = np.log(np.stack([np.ravel(parameters), np.ravel(tokens)]))
        return np.exp(self.law.log_value(self.theta, logs)).reshape(np.shape(parameters))


def by_convention(study: Study) -> tuple[dict[str, Counted], dict[str, str]]:
    """The law under every way of counting parameters that the points hold, the fit's own first, and why others have none."""
    fit = study.fit
    if fit is None:
        return {}, {}
    fits, refused = {fit.parameters_column: Counted(fit.parameters_column, fit.form, fit.theta, fit.noise.value)}, {}
    points = study.points[study.points["excluded"] == ""]
    log_losses = np.log(points["loss"].to_numpy(float))
    for name in PARAMETERS:
        if points[name].isna().any() or any(np.allclose(points[name], points[each]) for each in fits):
            continue
        logs = np.log(points[[name, "tokens"]].to_numpy(float).T)
        try:
            fitting.check(fit.form, np.exp(logs), np.exp(log_losses), points["run"].tolist())
        except AnalysisError as error:
            refused[name] = str(error)
            continue
        theta = fitting.fit(fit.form, logs, log_losses, delta=fit.delta).solution.theta[0]
        squares = ((log_losses - fit.form.log_value(theta, logs)) ** 2).sum()
        fits[name] = Counted(name, fit.form, theta, float(np.sqrt(squares / (len(points) - len(theta)))))
    return fits, refused


def runs(study: Study, records: Records) -> list[dict[str, Any]]:
    """What each run is, its curve, its colour (by size), and its record."""
    sizes = study.points[study.convention.parameters]
    colours = mpl.colormaps["viridis"](LIGHTEST * np.asarray(LogNorm(sizes.min() * 0.999, sizes.max() * 1.001)(sizes)))
    curves = dict(list(study.curves[study.curves["loss"].notna()].groupby("run", sort=False)))
    labels = [name for name in study.points if str(name).startswith("label.")]
    found = []
    for row, colour in zip(study.points.to_dict("records"), colours, strict=True):
        curve = curves.get(row["run"], study.curves.iloc[:0])
        curve = curve.iloc[np.unique(np.linspace(0, len(curve) - 1, min(len(curve), ROWS)).round().astype(int))]
        found.append(
            {
                **{
                    name: row[name] for name in ("run", "role", "state", "excluded", "tokens", "flops", "loss", "bits_per_byte")
                },
                "counts": {name: row[name] for name in PARAMETERS},
                "rung": row["baseline"] or short(row[study.convention.parameters]),
                "colour": to_hex(colour),
                "labels": {str(name)[6:]: _label(row[name]) for name in labels},
                "curve": {name: curve[name] for name in ("tokens", "flops", "loss")},
                "record": records.get(row["run"], {}),
            }
        )
    return found


def law_lines(fit: Counted, study: Study) -> dict[str, Any]:
    """The parameters, a line against tokens for each of some model sizes, and each run's residual in per cent."""
    points, column = study.points, fit.column
    there = points[points["loss"].notna() & points["excluded"].isin(["", "holdout"])]
    sizes = np.unique(there[column])
    sizes = sizes[np.unique(np.linspace(0, len(sizes) - 1, min(len(sizes), SIZES)).round().astype(int))]
    tokens = np.geomspace(there["tokens"].min() / 1.2, there["tokens"].max() * 1.2, PLACES)
    rungs = dict(zip(there[column], there[study.convention.parameters], strict=True))
    residuals = 100 * (there["loss"] / fit.loss(there[column].to_numpy(), there["tokens"].to_numpy()) - 1)
    return {
        "parameters": dict(zip(fit.law.names, fit.law.to_parameters(fit.theta), strict=True)),
        "noise": 100 * fit.noise,
        "tokens": tokens,
        "lines": [
            {"size": size, "rung": short(rungs[size]), "loss": fit.loss(np.full_like(tokens, size), tokens)} for size in sizes
        ],
        "residuals": dict(zip(there["run"], residuals, strict=True)),
    }


def isoflops(frontier: Frontier, points: pd.DataFrame) -> dict[str, Any]:
    """The runs of each budget, the curve through those of the budgets that are used, and the minima."""
    read = frontier.convention.read(points)
    used = frontier.optima["budget"].to_numpy()
    groups = []
    for _, group in read.groupby(group_budgets(read["c"].to_numpy())):
        budget = float(np.exp(np.log(group["c"]).mean()))
        kept = bool(np.isclose(used, budget, rtol=1e-6).any())
        cells = np.log(group.assign(log=group["loss"])[["n", "log"]]).groupby("n", as_index=False)["log"].mean()
        middle, places = cells["n"].mean(), np.linspace(cells["n"].min(), cells["n"].max(), PLACES)
        curve = np.polyval(np.polyfit(cells["n"] - middle, cells["log"], DEGREES["cubic"]), places - middle) if kept else None
        line = {"n": np.exp(places), "loss": np.exp(curve)} if curve is not None else None
        groups.append(
            {"budget": budget, "kept": kept, "runs": group["run"], "n": group["n"], "loss": group["loss"], "line": line}
        )
    return {
        "groups": groups,
        "optima": table(frontier.optima),
        "excluded": {f"{c:.3g}": why for c, why in frontier.excluded.items()},
    }


def frontiers(found: Mapping[str, Frontier | Fit]) -> dict[str, Any]:
    """N* and D* against compute as each procedure sees them, with their bands, and the optima behind them."""
    ranges = [
        each.optima["budget"] if isinstance(each, Frontier) else pd.Series(each.origin.ranges["flops"])
        for each in found.values()
    ]
    budgets = np.geomspace(min(each.min() for each in ranges), 10 * max(each.max() for each in ranges), PLACES)
    lines = {}
    for name, each in found.items():
        if isinstance(each, Frontier):
            lines[labelled(name, each)] = {**table(each.predict(budgets)), "optima": table(each.optima)}
        else:
            lines[name] = table(compute_optimal(each, budgets))
    return lines


def surface(fit: Fit, points: pd.DataFrame) -> dict[str, Any]:
    """The law's loss over parameters and tokens around the runs."""
    there = points[points["loss"].notna() & points["excluded"].isin(["", "holdout"])]
    sides = [
        np.geomspace(there[name].min() / 1.5, there[name].max() * 1.5, PLACES) for name in (fit.parameters_column, "tokens")
    ]
    return {"parameters": sides[0], "tokens": sides[1], "loss": fit.loss(*np.meshgrid(*sides))}


def _budgets(fit: Fit) -> np.ndarray:
    low = fit.origin.ranges["flops"][0]
    decades = np.log10(BEYOND * fit.largest / low)
    return np.geomspace(low, BEYOND * fit.largest, round(PER_DECADE * decades) + 1)


def table(frame: pd.DataFrame) -> dict[str, Any]:
    """The columns of a table by name."""
    return {str(name): frame[name].to_numpy() for name in frame}


def _label(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else str(value)


def plain(content: Any) -> Any:
    """As JSON has it: six digits, None for what is not finite."""
    if isinstance(content, (bool, str, int, type(None))):
        return content
    if isinstance(content, Mapping):
        return {str(name): plain(value) for name, value in content.items()}
    if isinstance(content, pd.DataFrame):
        return plain(content.to_dict("records"))
    if isinstance(content, (list, tuple, pd.Series)):
        return [plain(value) for value in content]
    if hasattr(content, "tolist"):
        return plain(content.tolist())
    if hasattr(content, "__dataclass_fields__"):
        return {name: plain(getattr(content, name)) for name in content.__dataclass_fields__}
    if not math.isfinite(content):
        return None
    return float(f"{content:.{DIGITS}g}") if content else 0.0

"""One self-contained HTML page that says what a sweep found, how sure it is, and from what."""

import base64
import io
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from analysis import checks, figures, results
from analysis.allocation import compute_optimal
from analysis.results import Fit
from analysis.study import Study

CAPTIONS = {
    "loss-curves": "Held-out loss of every run against its compute.",
    "baselines": "The same data counted: n-gram models beside the final losses of the networks.",
    "fitted-losses": "Final held-out losses and the fitted law, a line per model size.",
    "surface": "The fitted loss as a surface; each run is filled with the loss it measured, so that one that the law misses "
    "stands out from its background.",
    "residuals": "What the law leaves over. A pattern along compute or model size means that the law has the wrong form.",
    "isoflops": "IsoFLOP curves (approach 2): where a budget has its lowest loss, and the budgets whose runs do not show it.",
    "iso-losses": "Parameters and tokens that give the same loss.",
    "frontiers": "Compute-optimal parameters and tokens as each procedure sees them. Where bands part, believe none of them.",
    "parameter-pairs": "Draws of the law's coordinates. A narrow diagonal: the data determine a combination, neither alone.",
    "collapsed-curves": "Each run's reducible loss over its final value. A run that leaves the others was trained differently.",
    "profiles": "How surely the data refuse each value of a parameter. A side that never rises has no bound.",
    "rollouts": "Fits on the smaller runs, predicting the larger ones: the errors, and the interval each prediction had.",
    "allocation": "Parameters and tokens that minimise the loss at a budget.",
    "forecast": "The held-out runs: what was forecast before they were trained, and what they measured.",
}
DOWNLOAD = ["run", "role", "state", "parameters", "non_embedding_parameters", "non_embedding_and_head_parameters"]
DOWNLOAD += ["tokens", "unique_tokens", "flops", "flops_6nd", "step", "loss", "bits_per_byte", "excluded"]


def write(directory: Path, study: Study, drawn: Mapping[str, Figure]) -> Path:
    """Write `report.html` into the directory from a study and its figures, see `figures.collect`."""
    fit, points = study.fit, study.points
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=directory.resolve().name,
            fit=fit,
            truth=study.truth,
            forecast=study.forecast,
            comparison=[] if study.comparison is None else study.comparison.to_dict("records"),
            optimum=compute_optimal(fit, _budgets(fit)).to_dict("records") if fit else [],
            convention=figures.PARAMETERS.get(fit.parameters_column, fit.parameters_column) if fit else "",
            findings=checks.find(fit, points, study.comparison),
            figures=[{"name": name, "image": _inline(each), "caption": CAPTIONS[name]} for name, each in drawn.items()],
            refused=study.refused,
            runs=points.to_dict("records"),
            csv=base64.b64encode(points[DOWNLOAD].to_csv(index=False).encode()).decode(),
            written=results.now(),
        )
    )
    return results.write_text(page, directory / "report.html")


def _budgets(fit: Fit) -> list[float]:
    """The largest fitted budget, then 10 and 100 times it."""
    largest = fit.largest
    return [largest, 10 * largest, 100 * largest]


def _inline(figure: Figure) -> str:
    """The figure as a PNG data URI: text in an SVG would look different wherever the font is missing."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"count": _count, "flops": _flops, "number": _number, "time": _time}
    return environment


def _count(value: float) -> str:
    return "–" if pd.isna(value) else figures.short(value)


def _flops(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.2e}".replace("e+", "e")


def _number(value: Any, digits: int = 4) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.{digits}g}"


def _time(value: str) -> str:
    return f"{datetime.fromisoformat(value):%Y-%m-%d %H:%M:%S} UTC"

"""One self-contained HTML page that says what a sweep found, how sure it is, and from what."""

import base64
import io
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import checks, figures, results
from analysis import curves as curve_tables
from analysis.allocation import compute_optimal
from analysis.results import Fit

CAPTIONS = {
    "loss-curves": "Held-out loss of every run against the FLOPs it has spent.",
    "fitted-losses": "Final held-out losses and the fitted law, a line per model size.",
    "surface": "The fitted loss as a surface; each run is filled with the loss it measured, so that one that the law misses "
    "stands out from its background.",
    "residuals": "What the law leaves over. A pattern along compute or model size means that the law has the wrong form.",
    "allocation": "Parameters and tokens that minimise the loss at a budget.",
    "forecast": "The held-out runs: what was forecast before they were trained, and what they measured.",
}
DOWNLOAD = ["run", "role", "state", "parameters", "non_embedding_parameters", "non_embedding_and_head_parameters"]
DOWNLOAD += ["tokens", "unique_tokens", "flops", "flops_6nd", "step", "loss", "bits_per_byte", "excluded"]


def write(sweep_dir: str | Path) -> Path:
    """Write `report.html` into the sweep directory from what is there: curves, and the fit and forecast where they are.

    Raises:
        AnalysisError: nothing to report yet, or a damaged file.
    """
    sweep_dir = Path(sweep_dir)
    curves = curve_tables.read(sweep_dir)
    points = curve_tables.final_points(curves)
    drawn = figures.collect(sweep_dir)
    fit = results.read_fit(sweep_dir) if (sweep_dir / "fit.json").is_file() else None
    forecast = results.read_forecast(sweep_dir) if (sweep_dir / "forecast.json").is_file() else None
    comparison = results.compare_forecast(forecast, points) if forecast else None
    page = (
        _environment()
        .get_template("report.html.j2")
        .render(
            name=sweep_dir.resolve().name,
            fit=fit,
            forecast=forecast,
            comparison=[] if comparison is None else comparison.to_dict("records"),
            optimum=compute_optimal(fit, _budgets(fit)).to_dict("records") if fit else [],
            convention=figures.PARAMETERS.get(fit.parameters_column, fit.parameters_column) if fit else "",
            findings=checks.find(fit, points, comparison),
            figures=[{"name": name, "image": _inline(ax), "caption": CAPTIONS[name]} for name, ax in drawn.items()],
            runs=points.to_dict("records"),
            csv=base64.b64encode(points[DOWNLOAD].to_csv(index=False).encode()).decode(),
            written=results.now(),
        )
    )
    return results.write_text(page, sweep_dir / "report.html")


def _budgets(fit: Fit) -> list[float]:
    """The largest fitted budget, then 10 and 100 times it."""
    largest = fit.largest
    return [largest, 10 * largest, 100 * largest]


def _inline(ax: Axes) -> str:
    """The figure as a PNG data URI: text in an SVG would look different wherever the font is missing."""
    figure = ax.figure
    assert isinstance(figure, Figure)
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

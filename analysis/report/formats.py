"""A report's content as an HTML page and as Markdown."""

import base64
import gzip
import json
import re
from importlib.resources import files
from textwrap import shorten
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from analysis.figures.axes import short
from analysis.report.content import Content
from analysis.report.drawing import drawing
from analysis.report.methods import power, readable

FIGURES = {
    "curves": ("Loss curves", "Held-out loss against compute, a line per run; held-out runs are dashed."),
    "law": ("The fitted law", "Final held-out losses, and the fitted law as a line for each model size."),
    "residuals": (
        "What the law leaves over",
        "Measured over fitted loss. A pattern along compute or model size means that the law has the wrong form.",
    ),
    "windows": (
        "A fit to part of the runs",
        "Drag across the figure, or move the two ends: the law is fitted to the runs of that range alone, and judged "
        "by the others.",
    ),
    "surface": (
        "Loss over parameters and tokens",
        "The fitted loss as contours, the runs filled with what they measured, and the compute-optimal line.",
    ),
    "isoflops": (
        "IsoFLOP curves",
        "Approach 2: where a budget has its lowest loss. Grey budgets show no minimum, and are refused.",
    ),
    "frontiers": (
        "Compute-optimal sizes",
        "As each procedure sees them, with bands. Where the bands part, believe none of them.",
    ),
    "profiles": (
        "How surely values are refused",
        "Profile likelihood of each parameter. A side that never rises has no bound in these data.",
    ),
    "collapse": (
        "Collapsed learning curves",
        "Each run's loss above E over its final value. A run that leaves the others was trained differently.",
    ),
    "forecast": (
        "Forecast against measured",
        "What was forecast before the held-out runs were trained, and what they measured.",
    ),
}
COLUMNS = ["run", "role", "state", "parameters", "non_embedding_parameters", "non_embedding_and_head_parameters"]
COLUMNS += ["tokens", "unique_tokens", "flops", "flops_6nd", "step", "loss", "bits_per_byte", "excluded"]


def html(content: Content) -> str:
    """One self-contained page.

    The scripts and the numbers of the figures are in it, compressed. All of Plotly takes 1.9 MB of it
    (4.8 before) and comes with the Python package, which is locked like any other; its smaller bundles are in npm alone.
    """
    here = files("analysis.report")
    drawn = drawing(content.study, content.records)
    csv = content.study.points[COLUMNS].to_csv(index=False)
    return (
        _environment(autoescape=True)
        .get_template("report.html.j2")
        .render(
            content=content,
            study=content.study,
            fit=content.study.fit,
            figures=[(name, *FIGURES[name]) for name in FIGURES if _has(drawn, name)],
            conventions=drawn["conventions"],
            rungs=list(dict.fromkeys(run["rung"] for run in sorted(drawn["runs"], key=_size(drawn)))),
            csv=base64.b64encode(csv.encode()).decode(),
            style=Markup(here.joinpath("report.css").read_text("utf-8")),
            scripts=[Markup(here.joinpath(name).read_text("utf-8")) for name in ("figures.js", "report.js")],
            plotly=_compressed(files("plotly").joinpath("package_data", "plotly.min.js").read_text("utf-8")),
            data=_compressed(json.dumps(drawn, separators=(",", ":"), allow_nan=False)),
        )
    )


def markdown(content: Content) -> str:
    """The same without the figures, for a pull request or a lab log."""
    template = _environment(autoescape=False).get_template("report.md.j2")
    return template.render(content=content, study=content.study, fit=content.study.fit)


FORMATS = {"html": html, "md": markdown}


def _has(drawn: dict[str, Any], name: str) -> bool:
    """Whether there is anything to draw in a figure."""
    evaluated = max((len(run["curve"]["loss"]) for run in drawn["runs"]), default=0)
    needs = {
        "curves": drawn["runs"],
        "law": drawn["fits"],
        "residuals": drawn["fits"],
        "windows": drawn.get("windows", {}).get("fits"),
        "collapse": "E" in drawn.get("parameters", {}) and evaluated > 1,
    }
    return bool(needs[name] if name in needs else drawn.get(name))


def _size(drawn: dict[str, Any]) -> Any:
    return lambda run: run["counts"].get(drawn["convention"]) or 0.0


def _compressed(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _environment(autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report", "."), autoescape=autoescape, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "count": _count,
        "flops": _flops,
        "number": _number,
        "time": readable,
        "bare": _bare,
        "code": _code,
        "short": _short,
    }
    return environment


def _count(value: float) -> str:
    return "–" if pd.isna(value) else short(value)


def _flops(value: float) -> str:
    return "–" if pd.isna(value) else power(value, 3)


def _number(value: Any, digits: int = 4) -> str:
    return "–" if value is None or pd.isna(value) else f"{value:.{digits}g}"


def _bare(value: Any) -> str:
    """A number that sorts as one; empty for none."""
    return "" if value is None or pd.isna(value) else f"{value:.10g}"


def _short(text: str) -> str:
    return shorten(text, 240, placeholder=" …")


def _code(text: str) -> Markup:
    """Text with what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))

"""The methods of a report, in words, from what was really run, and how to cite it."""

import re
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from analysis.report.provenance import Records, commits, training_sentences
from analysis.results import Fit, Forecast
from analysis.study import Study


def methods(study: Study, records: Records) -> list[str]:
    """Paragraphs: training, fit, intervals, other procedures, forecast."""
    paragraphs = [" ".join(training_sentences(records))] if records else []
    if study.fit is not None:
        paragraphs += [_fit(study.fit), _intervals(study.fit)]
        if study.forecast is not None:
            paragraphs.append(_forecast(study.forecast, study.fit))
    others = [
        f"{name[:1].upper()}{name[1:]}: {each.procedure}; {each.convention}; intervals {each.interval_method}."
        for name, each in study.frontiers.items()
    ]
    return [*paragraphs, *([" ".join(others)] if others else [])]


def _fit(fit: Fit) -> str:
    low, high = fit.origin.ranges["flops"]
    return (
        f"{fit.form.formula} ({fit.form.source}) was fitted to the final held-out losses of {len(fit.origin.runs)} "
        f"runs, from {power(low, 3)} to "
        f"{power(high, 3)} FLOPs ({fit.size_convention}; N is the column `{fit.parameters_column}`), by minimising the "
        f"{fit.objective}. The "
        f"optimum {fit.solver.objective:.9g} was reached from {fit.solver.share_of_starts:.0%} of the starts; the "
        "largest derivative "
        f"there is {fit.solver.largest_gradient:.2g}, the condition number of the second derivatives "
        f"{fit.solver.condition_number:.2g}. The "
        f"table of points has the SHA-256 `{fit.origin.points_sha256}`."
    )


def _intervals(fit: Fit) -> str:
    beyond = fit.extrapolation
    tried = (
        "here there were too few runs to try"
        if beyond.drift_noise is None
        else f"here {100 * beyond.drift:+.2g} ± {100 * beyond.drift_noise:.2g} % per factor e, from {len(beyond.errors)} "
        "predictions over "
        f"a factor of up to {beyond.reach:.3g}"
    )
    return (
        f"Intervals are at {100 * fit.level:.0f} %, from {len(fit.draws)} refits ({fit.interval_method}). Beyond the largest "
        "fitted run, predicted "
        f"losses also carry an error of the law itself, {100 * beyond.law_error:.2g} % per factor e of compute: what "
        "such laws missed by on "
        "published data, and more where fits on the smaller runs missed the larger ones by more than their noise "
        f"({tried}). No interval "
        f"covers a change of recipe or data."
    )


def _forecast(forecast: Forecast, fit: Fit) -> str:
    since = (
        ""
        if forecast.origin.points_sha256 == fit.origin.points_sha256
        else "; the fit above has been made from other points since"
    )
    return (
        f"The forecast was written {readable(forecast.created)} from {len(forecast.origin.runs)} runs whose table of "
        "points has the SHA-256 "
        f"`{forecast.origin.points_sha256}`{since}."
    )


def citation(name: str, fit: Fit | None, records: Records, written: str) -> str:
    """BibTeX of this result: the software with its version, the commit of the code, the points by their hash."""
    try:
        released = version("scaling-lab")
    except PackageNotFoundError:
        released = "unknown"
    notes = [f"report of {written}"]
    notes += [f"trained at commit {commit}" for commit in commits(records)]
    if fit is not None:
        notes += [f"points SHA-256 {fit.origin.points_sha256}", f"law of {fit.form.source}"]
    key = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "report"
    fields = {
        "title": f"Scaling law of {name}",
        "author": "{Scaling Lab}",
        "version": released,
        "year": written[:4],
        "note": "; ".join(notes),
    }
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@software{{scaling-lab-{key},", *lines, "}"])


def readable(time: str) -> str:
    """ISO 8601 as people read it."""
    return f"{datetime.fromisoformat(time):%Y-%m-%d %H:%M:%S} UTC"


def power(value: float, digits: int = 2) -> str:
    """As a power of ten: 3.4e12."""
    return f"{value:.{digits - 1}e}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")

"""What a report says, whatever its format: the answer first, then its grounds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis import checks, uncertainty
from analysis.allocation import compute_optimal, optimum
from analysis.checks import Finding, Verdict
from analysis.figures.axes import PARAMETERS, short
from analysis.report.methods import citation, methods, power
from analysis.report.one_axis import along_one_axis
from analysis.report.provenance import Records, configuration, read_records
from analysis.results import Fit, now
from analysis.study import Study

QUESTION = (
    "How does held-out loss fall with model size and training tokens, how should compute be divided between them, "
    "and what will a "
    "larger run reach?"
)


@dataclass(frozen=True)
class Content:
    """Everything a report says.

    Attributes:
        name: of the sweep, or of the file the curves came from.
        written: when, ISO 8601, UTC.
        study: what it is about.
        records: of the runs, where they are ours.
        answer: sentences, the most important first.
        comparison: forecasts beside measured losses, a mapping per held-out run.
        optimum: the compute-optimal table, a mapping per budget.
        convention: what N counts, in words.
        verdicts: of every check.
        findings: theirs, the most severe first.
        runs: the points, a mapping per run.
        configuration: each field of the runs and its value or values.
        methods: paragraphs.
        citation: BibTeX.
    """

    name: str
    written: str
    study: Study
    records: Records
    answer: list[str]
    comparison: list[dict[str, Any]]
    optimum: list[dict[str, Any]]
    convention: str
    verdicts: list[Verdict]
    findings: list[Finding]
    runs: list[dict[str, Any]]
    configuration: list[tuple[str, str]]
    methods: list[str]
    citation: str

    @property
    def question(self) -> str:
        """What the report answers."""
        return QUESTION


def gather(study: Study, name: str, source: Any = None, budgets: Sequence[float] = ()) -> Content:
    """Put together what a report says of a study.

    Args:
        study: of the curves.
        name: of the report.
        source: the directory they came from; where it holds our run records, these are read too.
        budgets: FLOPs of the compute-optimal table; without any the largest fitted, 10 and 100 times it.
    """
    fit = study.fit
    records = read_records(source) if source is not None else {}
    said = checks.verdicts(fit, study.points, study.comparison)
    written = now()
    return Content(
        name=name,
        written=written,
        study=study,
        records=records,
        answer=answer(fit, study.points) if fit else along_one_axis(study.points, study.convention.parameters),
        comparison=[] if study.comparison is None else study.comparison.to_dict("records"),
        optimum=compute_optimal(fit, list(budgets) or default_budgets(fit)).to_dict("records") if fit else [],
        convention=PARAMETERS.get(fit.parameters_column, fit.parameters_column) if fit else "",
        verdicts=said,
        findings=checks.severest_first(said),
        runs=study.points.to_dict("records"),
        configuration=configuration(records),
        methods=methods(study, records),
        citation=citation(name, fit, records, written),
    )


def default_budgets(fit: Fit) -> list[float]:
    """The largest fitted budget, then 10 and 100 times it."""
    return [fit.largest, 10 * fit.largest, 100 * fit.largest]


def answer(fit: Fit, points: pd.DataFrame) -> list[str]:
    """The law's range and precision, how N* grows, and what ten times the compute is worth, a sentence each."""
    low, high = fit.origin.ranges["flops"]
    level = f"{100 * fit.level:.0f} %"
    said = [
        f"From {power(low)} to {power(high)} FLOPs the law below describes the {len(fit.origin.runs)} fitted runs to "
        f"{100 * fit.noise.value:.2g} % "
        f"of their loss."
    ]
    theta = np.concatenate([fit.theta[None], fit.draws])
    log_n, _, _ = optimum(fit.form, theta, np.array([fit.largest, 10 * fit.largest]))
    slopes = np.diff(log_n, axis=1)[:, 0] / np.log(10)
    ends = uncertainty.interval(slopes[1:, None], fit.level)
    said.append(
        f"Compute-optimal parameters grow as C^{slopes[0]:.2f} ({level}: {float(ends[0][0]):.2f} to "
        f"{float(ends[1][0]):.2f}), and tokens as "
        f"C^{1 - slopes[0]:.2f}."
    )
    best = compute_optimal(fit, [10 * fit.largest]).iloc[0]
    said.append(
        f"Ten times the largest budget is best spent on {short(best['parameters'])} parameters "
        f"({short(best['parameters_low'])} to {short(best['parameters_high'])}) and {short(best['tokens'])} tokens, "
        "for a loss of "
        f"{best['loss']:.4g} ({best['loss_low']:.4g} to {best['loss_high']:.4g})."
    )
    excluded = int((~points["excluded"].isin(["", "holdout"])).sum())
    if excluded:
        said.append(f"{excluded} of {len(points)} runs do not count; the table of runs says why.")
    return said

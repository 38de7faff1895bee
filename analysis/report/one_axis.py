"""What a report says where all runs have one size, or one number of tokens: no law of both can be told from these."""

import pandas as pd

from analysis.errors import AnalysisError
from analysis.figures.axes import short
from analysis.fits import fit_law
from analysis.laws import law
from analysis.truth import find_truth

DRAWS = 400


def along_one_axis(points: pd.DataFrame, parameters: str, level: float = 0.9) -> list[str]:
    """The law of the axis that varies, in sentences; none where both vary, neither does, or the runs cannot carry it.

    Args:
        points: of `curves.final_points`.
        parameters: column of N.
        level: of the intervals.
    """
    used = points[points["excluded"] == ""]
    forms = {
        "tokens": (parameters, "E + B / tokens**beta", "parameters", "L(D) = E + B / D^beta"),
        parameters: ("tokens", "E + A / parameters**alpha", "tokens", "L(N) = E + A / N^alpha"),
    }
    for varied, (fixed, definition, unit, formula) in forms.items():
        if used[fixed].nunique() != 1 or used[varied].nunique() == 1:
            continue
        form = law(definition)
        try:
            fit = fit_law(points, form, {"parameters": parameters} if varied == parameters else {}, level=level, draws=DRAWS)
        except AnalysisError:
            return []
        found = (f"{name} = {each.value:.3g} ({each.low:.3g} to {each.high:.3g})" for name, each in fit.estimates.items())
        truth = find_truth(fit, points)
        return [
            f"All {len(fit.origin.runs)} runs have {short(float(used[fixed].iloc[0]))} {unit}, and no law of N and D can be "
            f"told from them. Along the other axis alone, {formula}: {', '.join(found)}, {100 * level:.0f} % intervals.",
            *([f"{truth}."] if truth else []),
        ]
    return []

"""Checks that refit: how far the answer moves when a choice that nobody can defend to the digit is made otherwise.

The answer is the forecast at ten times the largest fitted size, and the exponents. Moves are in units of half the
statistical interval, so that 1 is where the interval no longer holds the other answer.
"""

from collections.abc import Iterator

import numpy as np

from analysis import fitting, selection, uncertainty
from analysis.checks.finding import Case, Finding, FitCheck, Severity
from analysis.laws import Array

AHEAD = 10.0
DELTAS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # from the sum of absolute errors to least squares
HIGHEST = 5  # highest losses dropped, as many as Besiroglu et al. 2024 (arXiv 2404.10102) left out
REFITS = 300
SHORT = 0.2  # of the nominal coverage that rollouts may lack
CONVENTIONS = {
    "parameters": ("parameters", "non_embedding_parameters", "non_embedding_and_head_parameters", "active_parameters"),
    "flops": ("flops", "flops_6nd"),
}
"""Columns that count the same thing otherwise, by the law's variable."""


def moves(case: Case, thetas: Array) -> tuple[Array, list[str]]:
    """How far each answer moves under other coordinates (B, P), as (B, answers), and the names of the answers."""
    fit, law = case.fit, case.fit.form
    largest = case.logs[:, [case.sizes.argmax()]]
    ahead = largest + np.log(AHEAD) / len(largest)
    low, high = (float(end) for end in uncertainty.interval(law.log_value(fit.draws, ahead)[:, 0], fit.level))
    shifts = [(law.log_value(thetas, ahead) - law.log_value(fit.theta, ahead))[:, 0] / half(low, high)]
    names = [f"the forecast at {AHEAD:g} times the largest {law.size[0]}"]
    for index, each in enumerate(law.parameters):
        if each.kind == "exponent":
            estimate = fit.estimates[each.name]
            shifts.append((thetas[:, index] - fit.theta[index]) / half(estimate.low, estimate.high))
            names.append(each.name)
    return np.abs(np.stack(shifts, 1)), names


def half(low: float, high: float) -> float:
    """Half the length of an interval, never zero."""
    return max((high - low) / 2, 1e-12)


def severity(move: float) -> Severity:
    """Of a move in half intervals."""
    return "serious" if move > 2 else "warning"


def to_delta(case: Case) -> Iterator[Finding]:
    """Huber's delta, which papers set between 1e-5 and 1 without saying why."""
    deltas = [delta for delta in DELTAS if not np.isclose(delta, case.fit.delta)]
    theta = case.fit.theta[None]
    thetas = [
        fitting.refine(case.fit.form, case.logs, case.log_values, None, theta, each, continuation=(10.0, 1.0)).theta[0]
        for each in deltas
    ]
    moved, names = moves(case, np.array(thetas))
    which, what = np.unravel_index(moved.argmax(), moved.shape)
    most = float(moved[which, what])
    if most > 1:
        text = (
            f"With Huber's delta at {deltas[which]:g} for {case.fit.delta:g}, {names[what]} moves by {most:.1f} half intervals."
        )
        advice = "Some points disagree with the rest: look at the largest residuals, and report both answers."
        yield Finding("delta", severity(most), text, most, advice, "residuals")


def to_single_points(case: Case) -> Iterator[Finding]:
    """Each point left out in turn."""
    points = len(case.counted)
    if points < len(case.fit.theta) + 2:
        return
    tried = np.abs(case.residuals).argsort()[::-1][:REFITS]
    weights = np.ones((len(tried), points))
    weights[np.arange(len(tried)), tried] = 0
    moved, names = moves(case, refit(case, weights))
    which, what = np.unravel_index(moved.argmax(), moved.shape)
    most = float(moved[which, what])
    if most > 1:
        run = case.counted["run"].iloc[tried[which]] if "run" in case.counted else f"row {tried[which] + 1}"
        text = f"Without {run} alone, {names[what]} moves by {most:.1f} half intervals: the answer hangs on one point."
        advice = "Repeat that run with another seed, or add runs beside it."
        yield Finding("single_point", severity(most), text, most, advice, "residuals")


def to_highest_losses(case: Case) -> Iterator[Finding]:
    """The highest losses left out, one after the other: the outlier rule of Besiroglu et al. 2024."""
    points = len(case.counted)
    most_dropped = min(HIGHEST, points - len(case.fit.theta) - 1)
    if most_dropped < 1:
        return
    order = case.log_values.argsort()[::-1]
    weights = np.ones((most_dropped, points))
    for count in range(most_dropped):
        weights[count, order[: count + 1]] = 0
    moved, names = moves(case, refit(case, weights))
    which, what = np.unravel_index(moved.argmax(), moved.shape)
    most = float(moved[which, what])
    if most > 1:
        dropped = f"the {which + 1} highest losses" if which else "the highest loss"
        text = f"Without {dropped}, {names[what]} moves by {most:.1f} half intervals."
        advice = "The law does not reach down to those runs: fit a narrower range, or say which points decide."
        yield Finding("highest_losses", severity(most), text, most, advice, "residuals")


def to_conventions(case: Case) -> Iterator[Finding]:
    """Every other way of counting the same thing that the table holds."""
    fit = case.fit
    for position, variable in enumerate(fit.form.variables):
        used = fit.columns[variable]
        group = CONVENTIONS.get(variable, ())
        for column in group:
            if used not in group or column == used or column not in case.counted:
                continue
            values = case.counted[column].to_numpy(float)
            if not (np.isfinite(values) & (values > 0)).all():
                continue
            logs = case.logs.copy()
            logs[position] = np.log(values)
            theta = fitting.fit(fit.form, logs, case.log_values, delta=fit.delta).solution.theta
            shifts, names = moves(case, theta)
            shifts, names = shifts[:, 1:], names[1:]  # a forecast needs the probe in that convention too
            if not names or shifts.max() <= 1:
                continue
            what = int(shifts[0].argmax())
            other = theta[0, fit.form.names.index(names[what])]
            text = (
                f"{names[what]} is {fit.estimates[names[what]].value:.3g} with N as {used} and {other:.3g} with {column}: "
                f"{shifts.max():.1f} half intervals apart."
            )
            advice = "Compare exponents with other work in its convention only."
            yield Finding("convention", "warning", text, float(shifts.max()), advice)


def to_larger_points(case: Case) -> Iterator[Finding]:
    """Statistical intervals of fits to the smaller points against the larger points themselves."""
    fit, candidate = case.fit, selection.Candidate(case.fit.form)
    rolled = selection.roll_out(
        candidate, case.logs, case.log_values, case.sizes, delta=fit.delta, level=fit.level, draws=selection.DRAWS
    )
    if len(rolled) == 0:
        return
    held = float(((rolled["low"] <= rolled["error"]) & (rolled["error"] <= rolled["high"])).mean())
    if held < fit.level - SHORT:
        text = f"Statistical {fit.level:.0%} intervals of fits on the smaller runs held {held:.0%} of the larger ones."
        advice = "Quote the forecast's interval, which allows for an error of the law, never the statistical one."
        yield Finding("narrow_intervals", "serious", text, fit.level - held, advice, "forecasts")


def refit(case: Case, weights: Array) -> Array:
    """Coordinates (B, P) of fits from the optimum, with weights (B, N) of the points."""
    fit = case.fit
    start = fit.theta[None]
    return fitting.refine(fit.form, case.logs, case.log_values, weights, start, fit.delta, continuation=(3.0, 1.0)).theta


CHECKS: tuple[FitCheck, ...] = (to_delta, to_single_points, to_highest_losses, to_conventions, to_larger_points)

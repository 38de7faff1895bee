"""Checks of a fit by what it says of itself: its optimum, its intervals, its residuals, its rollouts and its forecasts."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from analysis.checks.finding import Case, Finding, FitCheck

AGREEMENT = 0.5  # share of the starts that should reach the optimum
SPAN = 10.0  # of size between the smallest and the largest point
CORRELATION = 0.9
COEFFICIENT = 2.0  # ratio of the ends of a coefficient's interval
DIGITS = 3  # that papers print
SIGNIFICANCE = 0.01


def optimum(case: Case) -> Iterator[Finding]:
    """A solver that did not end in one interior optimum."""
    solver = case.fit.solver
    if not solver.converged:
        text = "The solver did not converge: the law does not describe these points."
        yield Finding("not_converged", "serious", text, solver.largest_gradient, "Try a law with fewer parameters.")
    if solver.at_bound:
        names = ", ".join(solver.at_bound)
        text = f"{names} ended on a bound of the search: the data do not determine it."
        advice = "Add points where that parameter acts, or fit a law without it."
        yield Finding("at_bound", "serious", text, len(solver.at_bound), advice)
    if solver.share_of_starts < AGREEMENT:
        text = f"Only {solver.share_of_starts:.0%} of the starts reached the optimum: the objective has other minima."
        yield Finding("other_minima", "note", text, 1 - solver.share_of_starts, "Compare laws with fewer parameters.")


def too_few_points(case: Case) -> Iterator[Finding]:
    """Fewer points than twice the parameters: intervals rest on a handful of residuals."""
    points, size = len(case.counted), len(case.fit.theta)
    if points < 2 * size:
        text = f"{points} points carry {size} parameters: only {points - size} are left to tell the noise from the law."
        advice = "Add runs (small ones will do), or fit a law with fewer parameters."
        yield Finding("too_few_points", "serious" if points - size < 3 else "warning", text, size / points, advice)


def narrow_range(case: Case) -> Iterator[Finding]:
    """A range of sizes over which any law looks straight."""
    span = float(case.sizes.max() / case.sizes.min())
    if span < SPAN:
        text = f"The fitted points span only a factor {span:.3g} of {case.fit.form.size[0]}: any smooth curve fits there."
        yield Finding("narrow_range", "warning", text, 1 / span, "Add runs a tenth as large: they cost least.", "residuals")


def exponents(case: Case) -> Iterator[Finding]:
    """Exponents that are not known, or known only together."""
    fit = case.fit
    names = [each.name for each in fit.form.parameters if each.kind == "exponent"]
    wide = [n for n in names if fit.estimates[n].high - fit.estimates[n].low > fit.estimates[n].value]
    if wide:
        width = max((fit.estimates[n].high - fit.estimates[n].low) / max(fit.estimates[n].value, 1e-12) for n in wide)
        text = f"The interval of {', '.join(wide)} is wider than the exponent: allocation far beyond the data is a guess."
        yield Finding("wide_exponent", "serious", text, width, "Add sizes at both ends of the range.")
    columns = [fit.form.names.index(name) for name in names]
    spread = fit.draws[:, columns].std(0) if columns else np.empty(0)
    if len(columns) >= 2 and (spread > 0).all():
        correlation = np.atleast_2d(np.corrcoef(fit.draws[:, columns].T)) - np.eye(len(columns))
        first, second = np.unravel_index(np.abs(correlation).argmax(), correlation.shape)
        most = float(correlation[first, second])
        if abs(most) > CORRELATION:
            text = f"The draws of {names[first]} and {names[second]} correlate by {most:+.2f}: neither is known on its own."
            advice = "Compare predictions and allocations between fits, not single exponents."
            yield Finding("correlated_exponents", "warning", text, abs(most), advice)


def coefficients(case: Case) -> Iterator[Finding]:
    """Coefficients known to a factor only, whose values nobody should compare or print alone."""
    fit = case.fit
    ratios = {
        each.name: fit.estimates[each.name].high / max(fit.estimates[each.name].low, 1e-300)
        for each in fit.form.parameters
        if each.kind == "coefficient"
    }
    loose = {name: ratio for name, ratio in ratios.items() if ratio > COEFFICIENT}
    if loose:
        listed = ", ".join(f"{name} (a factor {ratio:.2g})" for name, ratio in loose.items())
        text = f"The interval of {listed} is wide: it moves with its exponent, and says little alone."
        advice = "Quote predicted losses and N*, D* with their intervals instead."
        yield Finding("loose_coefficient", "note", text, max(loose.values()), advice)


def rounding(case: Case) -> Iterator[Finding]:
    """What parameters printed with three digits would predict (Besiroglu et al. 2024 found such a bias in Hoffmann's)."""
    law = case.fit.form
    exact = law.to_parameters(case.fit.theta)
    printed = law.to_coordinates({n: float(f"{value:.{DIGITS}g}") for n, value in zip(law.names, exact, strict=True)})
    moved = float(np.abs(law.log_value(printed, case.logs) - law.log_value(case.fit.theta, case.logs)).max())
    if moved > case.fit.noise.value:
        text = f"Rounded to {DIGITS} digits the parameters predict up to {100 * moved:.2g} % off, more than the noise."
        yield Finding("rounding", "note", text, moved, "Pass on fit.json, or print six digits and more.")


def noise_of_seeds(case: Case) -> Iterator[Finding]:
    """Residuals against the spread of runs that differ by their seed alone: an F test of the lack of fit."""
    places = np.unique(case.logs.round(6), axis=1, return_inverse=True)[1].ravel()
    counts = np.bincount(places)
    freedom = int((counts - 1)[counts > 1].sum())
    lacking = len(counts) - len(case.fit.theta)
    if freedom < 1 or lacking < 1:
        return
    means = np.bincount(places, case.log_values) / counts
    pure = float(((case.log_values - means[places]) ** 2).sum())
    lack = float((case.residuals**2).sum()) - pure
    if pure <= 0:
        text = f"{int(counts.sum() - len(counts))} runs repeat another's loss exactly: they are copies, not seeds."
        yield Finding("copies_for_seeds", "warning", text, 0.0, "Leave them out: they narrow the intervals.")
        return
    ratio = (lack / lacking) / (pure / freedom)
    if ratio > stats.f.isf(SIGNIFICANCE, lacking, freedom):
        seeds = np.sqrt(pure / freedom)
        text = f"The law misses its points by {np.sqrt(ratio):.2g} times what seeds explain ({100 * seeds:.2g} % of loss)."
        advice = "The form is wrong here, not the noise: look at the residuals, compare laws, distrust narrow intervals."
        yield Finding("lack_of_fit", "serious", text, float(np.sqrt(ratio)), advice, "residuals")


def uneven_noise(case: Case) -> Iterator[Finding]:
    """Residuals that grow or shrink with size, where the fit takes all points for equally good."""
    if len(case.counted) < 2 * len(case.fit.theta) or np.ptp(case.sizes) == 0:
        return
    correlation, chance = stats.spearmanr(case.sizes, np.abs(case.residuals))
    if chance < SIGNIFICANCE:
        where = "large" if correlation > 0 else "small"
        text = f"Residuals are larger for {where} runs (rank correlation {correlation:+.2f}): their noise is not one number."
        advice = "Intervals of predictions lean on the wrong runs: prefer resampled intervals, or fit a narrower range."
        yield Finding("uneven_noise", "note", text, abs(float(correlation)), advice, "residuals")


def rollouts(case: Case) -> Iterator[Finding]:
    """Whether fits on the smaller runs predicted the larger ones."""
    drift, usual = case.fit.extrapolation.drift, case.fit.extrapolation.drift_noise
    size = case.fit.form.size[0]
    if not case.fit.extrapolation.cutoffs:
        text = "Too few runs to test the law's extrapolation on smaller runs: it is taken on trust."
        yield Finding("untested", "serious", text, 0.0, "Add small runs, until a fit without the largest ones is possible.")
    if usual is not None and abs(drift) > 2 * usual:
        text = (
            f"Fits on the smaller runs missed the larger ones by {100 * drift:+.2g} % per factor e of {size}, where the "
            f"noise explains ±{100 * usual:.2g} %: the law bends."
        )
        advice = "Intervals of predicted losses are wider for it; `selection.compare` says which law bends least."
        yield Finding("drift", "serious", text, abs(drift) / usual, advice, "residuals")


def reach(case: Case) -> Iterator[Finding]:
    """Forecasts farther beyond the data than the law was tested within them."""
    if case.comparison is None:
        return
    farthest = float(case.comparison["extrapolation"].max())
    tested = case.fit.extrapolation.reach
    if farthest > tested:
        text = (
            f"The forecast reaches {farthest:.3g} times the largest fitted {case.fit.form.size[0]}; within the data the law "
            f"was tested over a factor of {tested:.3g}."
        )
        advice = "Train one run in between first, and see whether its forecast holds."
        yield Finding("reach", "note", text, farthest / tested, advice, "forecasts")


def forecasts(case: Case) -> Iterator[Finding]:
    """Measured losses outside their forecast, and forecasts never measured."""
    if case.comparison is None:
        return
    for row in case.comparison.to_dict("records"):
        if row["inside"] is False:
            interval = f"{row['low']:.4f} to {row['high']:.4f}"
            text = f"Run {row['run']} measured {row['measured']:.4f}, outside its forecast {interval}."
            advice = "Do not forecast farther with this fit; look for what this run does differently."
            yield Finding("missed", "serious", text, abs(row["error_percent"]), advice, "forecasts")
        elif row["note"]:
            text = f"Run {row['run']} has no measured loss: {row['note']}."
            yield Finding("unmeasured", "note", text, 0.0, "Finish the run, or say that its forecast was never tested.")


CHECKS: tuple[FitCheck, ...] = (
    optimum,
    too_few_points,
    narrow_range,
    exponents,
    coefficients,
    rounding,
    noise_of_seeds,
    uneven_noise,
    rollouts,
    reach,
    forecasts,
)

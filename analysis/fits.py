"""From a table of points to a fitted law with its intervals and the evidence for both."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import fitting, uncertainty
from analysis.errors import AnalysisError
from analysis.laws import Law
from analysis.penalties import Penalty
from analysis.results import Estimate, Extrapolation, Fit, Origin, Solver, digest, now

DRAWS = 1000


def fit_law(
    points: pd.DataFrame,
    law: Law,
    columns: Mapping[str, str] | None = None,
    *,
    delta: float | Penalty = fitting.DELTA,
    level: float = 0.9,
    draws: int = DRAWS,
    method: str | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a law by the sum of Huber losses of the residuals of the log target (Hoffmann et al. 2022, eq. 3), or others.

    Args:
        points: one row per run with the law's target and variables; rows with a reason in `excluded` are left out and
            reported, see `curves.final_points`. `run` names the rows; rows of one run share its noise.
        law: the functional form.
        columns: where a variable (or the target) is read from, unless from the column of its name. The column that
            parameters are read from is the convention of the fit and of all its predictions.
        delta: of Huber's loss, in the log target; or another penalty of the residuals.
        level: of the intervals.
        draws: how many draws the intervals come from.
        method: of `uncertainty.METHODS`; where absent, the one that holds for this many runs. With `profile` the parameters'
            intervals are profiles, and draws by the default method carry the predictions.
        seed: of those draws; the fit itself has nothing random.

    Raises:
        AnalysisError: an absent column, values without logarithm, or a method that is unknown or does not suit the points.
        NotIdentifiedError: data that cannot carry the law.
    """
    penalty = delta if isinstance(delta, Penalty) else Penalty(delta)
    columns = {name: (columns or {}).get(name, name) for name in (*law.variables, law.target)}
    points, left_out = counted(points, law, columns)
    values = points[[columns[name] for name in law.variables]].to_numpy(float).T
    target = points[columns[law.target]].to_numpy(float)
    fitting.check(law, values, target, points["run"].tolist())

    logs, log_values = np.log(values), np.log(target)
    size = law.sizes(values)
    best = fitting.fit(law, logs, log_values, delta=penalty)
    solution, theta = best.solution, best.solution.theta[0]
    free = ~solution.at_bound[0]
    if free.all():
        fitting.identify(law, logs, theta)
    problem = uncertainty.Problem(law, logs, log_values, theta, penalty, pd.factorize(points["run"])[0])
    drawn = uncertainty.draw(problem, draws, seed, None if method == "profile" else method)
    rollouts = uncertainty.roll_out(law, logs, log_values, theta, penalty, size, drawn, seed)

    at_optimum, sampled = law.to_parameters(theta), law.to_parameters(drawn.theta)
    estimates = {}
    for index, name in enumerate(law.names):
        estimates[name] = estimate(at_optimum[index], sampled[:, index], level)
        if method in ("delta", "profile"):
            low, high = uncertainty.interval_of(problem, uncertainty.parameter(law, name), level, method, drawn)
            estimates[name] = replace(estimates[name], low=low, high=high)
    used = [columns[name] for name in (*law.variables, law.target)]
    ranges = dict(zip(used, [*values, target], strict=True)) | {law.size[0]: size}
    return Fit(
        law=law.name,
        columns=columns,
        size_convention=law.size[1],
        objective=str(penalty).replace("loss residuals", f"{law.target} residuals"),
        delta=penalty.delta,
        estimates=estimates,
        noise=estimate(drawn.noise_level, drawn.noise, level),
        theta=theta,
        level=level,
        interval_method=f"profile likelihood; {drawn.method}" if method == "profile" else drawn.method,
        draws=drawn.theta,
        noise_draws=drawn.noise,
        origin=Origin(
            runs=sorted(points["run"].unique()),
            points_sha256=digest(points, used),
            excluded=left_out,
            ranges={name: (float(column.min()), float(column.max())) for name, column in ranges.items()},
        ),
        solver=Solver(
            objective=float(solution.objective[0]),
            largest_gradient=float(solution.gradient[0]),
            condition_number=float(np.linalg.cond(solution.curvature[0][free][:, free])),
            share_of_starts=float(best.share_of_starts[0]),
            converged=bool(solution.converged[0]),
            at_bound=[name for name, bound in zip(law.names, solution.at_bound[0], strict=True) if bound],
        ),
        extrapolation=Extrapolation(
            cutoffs=rollouts.cutoffs.tolist(),
            errors=rollouts.errors.tolist(),
            reach=rollouts.reach,
            drift=rollouts.drift,
            drift_noise=rollouts.drift_noise if rollouts.errors.size else None,
            law_error=rollouts.law_error,
        ),
        created=now(),
    )


def counted(points: pd.DataFrame, law: Law, columns: Mapping[str, str]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The points that count in a fit, each with a name in `run`, and the reason of each that does not.

    Raises:
        AnalysisError: a column that the law needs and the table lacks.
    """
    points = points.reset_index(drop=True)
    if "run" not in points:
        points["run"] = [f"row {number}" for number in range(1, len(points) + 1)]
    for variable, column in columns.items():
        if column not in points or points[column].isna().all():
            present = [name for name in points if points[name].notna().any() and pd.api.types.is_numeric_dtype(points[name])]
            raise AnalysisError(f"no column {column!r} to read the {law.name} law's {variable} from; columns here: {present}")
    reasons = points.get("excluded", pd.Series("", index=points.index)).fillna("")
    out = reasons != ""
    return points[~out], dict(zip(points["run"][out], reasons[out], strict=True))


def estimate(value: float, samples: np.ndarray, level: float) -> Estimate:
    """A number with the central interval of its draws."""
    low, high = uncertainty.interval(samples, level)
    spread = float(samples.std(ddof=1)) if np.isfinite(samples).all() else np.inf  # N_c, where its exponent is drawn near 0
    return Estimate(float(value), float(low), float(high), spread)

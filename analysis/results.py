"""What a fit and a forecast are, and their files `fit.json` and `forecast.json`.

`fit.json` holds everything a prediction needs: the law and its coordinates, the convention of parameters and FLOPs, the
draws behind the intervals, and what the fit was made from (run ids, SHA-256 of the table of points, ranges).
`forecast.json` repeats that origin beside its predictions, with the time it was written. Both are written whole or not
at all. Numbers are stored exactly; times are ISO 8601, UTC.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError
from analysis.laws import Array, Law, law


@dataclass(frozen=True)
class Estimate:
    """A number with its interval at the level of the fit, in the units of the law."""

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True)
class Origin:
    """The points a fit was made from.

    Attributes:
        runs: ids of the fitted runs.
        points_sha256: hash of the table of points, see `digest`.
        excluded: id and reason of each run that was left out.
        ranges: lowest and highest value of each column used, and of the points' size.
    """

    runs: list[str]
    points_sha256: str
    excluded: dict[str, str]
    ranges: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Solver:
    """Evidence that the optimum was reached: see `fitting.Solution` and `fitting.Best`.

    The condition number is that of the second derivatives by the coordinates that ended on no bound, centred.
    """

    objective: float
    largest_gradient: float
    condition_number: float
    share_of_starts: float
    converged: bool
    at_bound: list[str]


@dataclass(frozen=True)
class Extrapolation:
    """What the rollouts within the data said: see `uncertainty.Rollouts`. `drift_noise` is None without rollouts."""

    cutoffs: list[float]
    errors: list[float]
    reach: float
    drift: float
    drift_noise: float | None
    law_error: float


@dataclass(frozen=True)
class Fit:
    """A fitted law with its intervals.

    Attributes:
        law: its definition, as `laws.law` reads it.
        columns: where each variable of the law and its target were read from.
        size_convention: how the size of a point is counted: FLOPs where the law knows them, see `Law.size`.
        objective: what was minimised, in words.
        delta: of Huber's loss, in log loss.
        estimates: parameters of the law by name, with intervals.
        noise: standard deviation of log loss around the law, as an estimate with its interval.
        theta: coordinates of the law at the optimum.
        level: of every interval.
        interval_method: how the draws were made.
        draws: of the coordinates, (R, P).
        noise_draws: of the noise, (R,).
        origin: the points.
        solver: evidence of the optimum.
        extrapolation: rollouts within the data.
        created: when.
    """

    law: str
    columns: dict[str, str]
    size_convention: str
    objective: str
    delta: float
    estimates: dict[str, Estimate]
    noise: Estimate
    theta: Array
    level: float
    interval_method: str
    draws: Array
    noise_draws: Array
    origin: Origin
    solver: Solver
    extrapolation: Extrapolation
    created: str

    @property
    def form(self) -> Law:
        """The functional form."""
        return law(self.law)

    @property
    def parameters_column(self) -> str:
        """The convention in which parameters were counted: the column they were read from."""
        return self.columns["parameters"]

    @property
    def largest(self) -> float:
        """The size of the largest fitted point: what lies beyond it is extrapolation."""
        return self.origin.ranges[self.form.size[0]][1]

    def loss(self, parameters: Array, tokens: Array) -> Array:
        """The law's loss in nats per token at arrays of N and D."""
        logs = np.log(np.stack([np.ravel(parameters), np.ravel(tokens)]))
        return np.exp(self.form.log_value(self.theta, logs)).reshape(np.shape(parameters))


@dataclass(frozen=True)
class Prediction:
    """The forecast loss of one run, nats per token.

    Attributes:
        run: its id.
        parameters: in the convention of the fit.
        tokens: training tokens.
        flops: in the convention of the fit.
        loss: predicted.
        low: of the interval for the loss that the run will measure.
        high: of it.
        statistical_low: of the narrower interval that would do if the law held exactly beyond the data.
        statistical_high: of it.
        extrapolation: its FLOPs over the largest fitted run's.
    """

    run: str
    parameters: float
    tokens: float
    flops: float
    loss: float
    low: float
    high: float
    statistical_low: float
    statistical_high: float
    extrapolation: float


@dataclass(frozen=True)
class Forecast:
    """Predictions made before their runs exist, and where they come from."""

    law: str
    parameters_column: str
    flops_convention: str
    level: float
    interval_method: str
    estimates: dict[str, Estimate]
    origin: Origin
    predictions: list[Prediction]
    created: str


def now() -> str:
    """The time in ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest(points: pd.DataFrame, columns: list[str]) -> str:
    """SHA-256 of the given columns as canonical JSON, rows in order of the run: what a forecast was made from."""
    rows = points.sort_values("run")[["run", *columns]].to_numpy().tolist()
    return hashlib.sha256(json.dumps([["run", *columns], *rows], separators=(",", ":")).encode()).hexdigest()


def write_fit(fit: Fit, path: str | Path) -> Path:
    """Write `fit.json`; a directory as path means that name in it."""
    return _write(asdict(fit), Path(path), "fit.json")


def write_forecast(forecast: Forecast, path: str | Path) -> Path:
    """Write `forecast.json`; a directory as path means that name in it."""
    return _write(asdict(forecast), Path(path), "forecast.json")


def read_fit(path: str | Path) -> Fit:
    """Read what `write_fit` wrote.

    Raises:
        AnalysisError: no such file, or not a fit.
    """
    content = _read(Path(path), "fit.json", "scaling fit")
    try:
        return Fit(
            **{
                **content,
                "estimates": {name: Estimate(**value) for name, value in content["estimates"].items()},
                "noise": Estimate(**content["noise"]),
                "origin": _origin(content["origin"]),
                "solver": Solver(**content["solver"]),
                "extrapolation": Extrapolation(**content["extrapolation"]),
                **{name: np.array(content[name]) for name in ("theta", "draws", "noise_draws")},
            }
        )
    except (KeyError, TypeError) as error:
        raise AnalysisError(f"{path}: not a fit of this version ({error}); fit again") from None


def read_forecast(path: str | Path) -> Forecast:
    """Read what `write_forecast` wrote.

    Raises:
        AnalysisError: no such file, or not a forecast.
    """
    content = _read(Path(path), "forecast.json", "scaling forecast")
    try:
        return Forecast(
            **{
                **content,
                "estimates": {name: Estimate(**value) for name, value in content["estimates"].items()},
                "origin": _origin(content["origin"]),
                "predictions": [Prediction(**value) for value in content["predictions"]],
            }
        )
    except (KeyError, TypeError) as error:
        raise AnalysisError(f"{path}: not a forecast of this version ({error}); forecast again") from None


def compare_forecast(forecast: Forecast, points: pd.DataFrame) -> pd.DataFrame:
    """Put the measured losses of `curves.final_points` beside the forecast.

    Returns one row per prediction: its fields, `measured` (NaN where the run has no final loss), `inside` (whether the
    interval holds it; missing where nothing was measured), `error_percent` (measured over predicted, less one) and
    `note` (why nothing was measured).
    """
    excluded = dict(zip(points["run"], points["excluded"], strict=True))
    losses = dict(zip(points["run"], points["loss"].astype(float), strict=True))
    rows = []
    for prediction in forecast.predictions:
        note = excluded.get(prediction.run, "no such run")
        note = "" if note == "holdout" else note
        measured = np.nan if note else losses[prediction.run]
        rows.append(
            {
                **asdict(prediction),
                "measured": measured,
                "inside": None if note else bool(prediction.low <= measured <= prediction.high),
                "error_percent": 100 * (measured / prediction.loss - 1),
                "note": note,
            }
        )
    return pd.DataFrame(rows)


def write_text(text: str, path: Path) -> Path:
    """Write a whole file or leave the old one: beside its place, then renamed over it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    with beside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    return path


def _origin(content: dict[str, Any]) -> Origin:
    ranges = {name: (low, high) for name, (low, high) in content["ranges"].items()}
    return Origin(**{**content, "ranges": ranges})


def _write(content: dict[str, Any], path: Path, name: str) -> Path:
    text = json.dumps(content, indent=1, default=lambda array: array.tolist())
    return write_text(text + "\n", path / name if path.is_dir() else path)


def _read(path: Path, name: str, command: str) -> dict[str, Any]:
    path = path / name if path.is_dir() else path
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise AnalysisError(f"{path}: no such file; `{command}` writes it") from None
    except ValueError as error:
        raise AnalysisError(f"{path}: damaged JSON: {error}") from None

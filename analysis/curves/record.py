"""Our own run directories, in the format of `runs/README.md`: a sweep of them, or one."""

import json
from typing import Any

import numpy as np
import pandas as pd

from analysis.curves.paths import for_each
from analysis.errors import AnalysisError

FACTS = (
    "unique_tokens",
    "parameters",
    "active_parameters",
    "non_embedding_parameters",
    "non_embedding_and_head_parameters",
    "steps",
    "entropy",
    "source_loss",
)

Rows = list[dict[str, Any]]


def is_record(path: Any) -> bool:
    """Whether a directory is a sweep or a run of ours."""
    return (path / "run.json").is_file() or (path / "plan.json").is_file() or any(path.glob("*/run.json"))


def read_record(path: Any) -> pd.DataFrame:
    """The rows of a sweep directory or of one run directory, a row without a step for each planned run that left nothing.

    A torn last line of a curve, which a killed writer leaves, is skipped.

    Raises:
        AnalysisError: a damaged file: which, and which line.
    """
    if (path / "run.json").is_file():
        planned, order = {}, [path]
    else:
        plan = read_json(path / "plan.json") or {}
        planned = {cell["run_id"]: cell for cell in plan.get("cells", [])}
        recorded = sorted(each.parent.name for each in path.glob("*/run.json"))
        order = [path / run for run in [*planned, *(run for run in recorded if run not in planned)]]
    records = for_each(path, lambda directory: _read_run(directory, planned.get(directory.name, {})), order)
    runs, curves = [run for run, _ in records], [rows for _, rows in records]
    rows = pd.DataFrame([row for curve in curves for row in curve])
    of_run = pd.DataFrame(runs).loc[np.repeat(np.arange(len(runs)), [len(curve) for curve in curves])].reset_index(drop=True)
    table = pd.concat([of_run, rows.drop(columns=[name for name in rows if name in of_run])], axis=1)
    if "tokens" in table:
        table["flops_6nd"] = (
            6 * table["non_embedding_and_head_parameters"].astype("float64") * table["tokens"].astype("float64")
        )
    return table


def _read_run(directory: Any, cell: dict[str, Any]) -> tuple[dict[str, Any], Rows]:
    """What is the same in all rows of one run, and the rows; `cell` is the run's entry in the plan, where there is one."""
    run, status = read_json(directory / "run.json") or {}, read_json(directory / "status.json") or {}
    identity, facts = run.get("identity", {}), {**cell, **run.get("facts", {})}
    schedule = identity.get("schedule", {})
    objective = identity.get("training", {}).get("objective", "causal")
    common = {
        "run": run.get("run_id", directory.name),
        "role": cell.get("role", "fit"),
        "baseline": facts.get("baseline") or "",
        "state": status.get("state", "planned"),
        "reason": status.get("reason") or "",
        "evaluation": "validation" if objective == "causal" else "validation, each token hidden alone",
        "schedule": schedule.get("kind", ""),
        "seed": identity.get("seed"),
        "horizon": facts.get("tokens"),
        "batch_tokens": identity.get("training", {}).get("batch_tokens"),
        "warmup_tokens": schedule.get("warmup_tokens"),
        "decay_tokens": _decay_tokens(schedule, facts.get("tokens")),
        "peak_learning_rate": identity.get("optimizer", {}).get("learning_rate"),
        **{name: facts.get(name) for name in FACTS},
        **{f"label.{axis}": value for axis, value in cell.get("labels", {}).items()},
    }
    return common, _curve(directory / "curve.jsonl") or [{"row": 0}]


def _decay_tokens(schedule: dict[str, Any], horizon: float | None) -> float | None:
    """A cosine falls from the end of the warmup on, `wsd` over a fraction of the horizon, a constant rate not at all."""
    if horizon is None or schedule.get("kind") not in ("cosine", "wsd", "constant"):
        return None
    after_warmup = horizon - schedule.get("warmup_tokens", 0)
    of_wsd = schedule.get("decay_fraction", 0) * horizon
    return {"cosine": after_warmup, "wsd": of_wsd, "constant": 0}[schedule["kind"]]


def _curve(path: Any) -> Rows:
    content = _content(path)
    lines = content[: content.rfind(b"\n")].split(b"\n") if b"\n" in content else []
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        raise damaged(path, lines) from None
    for number, row in enumerate(rows, start=1):
        row["row"] = number
    return rows


def damaged(path: Any, lines: list[bytes]) -> AnalysisError:
    """The error that names the first line that is not JSON."""
    for number, line in enumerate(lines, start=1):
        try:
            json.loads(line)
        except ValueError as error:
            return AnalysisError(f"{path}, line {number}: damaged row: {error}")
    return AnalysisError(f"{path}: damaged rows")


def read_json(path: Any) -> dict[str, Any] | None:
    """The content of a file of the record, or None where there is none; an `AnalysisError` where it is damaged."""
    content = _content(path)
    try:
        return json.loads(content) if content else None
    except ValueError as error:
        raise AnalysisError(f"{path}: damaged JSON: {error}") from None


def _content(path: Any) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return b""

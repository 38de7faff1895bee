"""`plan.json`: the plan of a sweep as it is kept, submitted and read by every worker.        (no jax)

It begins with the SHA-256 of all that follows its time: two plans of one sweep have the same one, and a plan that was edited
is never taken for what was planned.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.record import RunDirectory, now, read_json, read_text, write_text
from scaling.stores import at_once

_HEAD = re.compile(r'\{\n "sha256": "([0-9a-f]{64})",\n "created": "([^"\n]*)",\n')


def write_plan(sweep: Path, plan: dict[str, Any]) -> Path:
    """Keep a plan in the directory of its sweep; one with the same content stays as it is. Returns its path."""
    path = sweep / "plan.json"
    plan = {name: value for name, value in plan.items() if name not in ("sha256", "created")}
    body = json.dumps(plan, indent=1, allow_nan=False).removeprefix("{\n") + "\n"
    digest = _hash(body)
    if _split(read_text(path) or "") != (digest, body):
        write_text(path, f'{{\n "sha256": "{digest}",\n "created": "{now()}",\n{body}')
    return path


def read_plan(sweep: Path) -> dict[str, Any]:
    """The plan of a sweep: `sha256`, `created`, `sweep`, `cells` and the rest of its record.

    Raises:
        ScalingError: there is none, or it is not as it was written.
    """
    path = sweep / "plan.json"
    text = read_text(path)
    if text is None:
        raise ScalingError(f"{sweep} is not a sweep: it holds no plan.json (`scaling sweep CONFIG` makes one)")
    digest, body = _split(text)
    if digest != _hash(body):
        raise ScalingError(
            f"{path} is not the plan that was made (its content is not that of its sha256): "
            "change the sweep file and plan again with `scaling sweep CONFIG`"
        )
    plan: dict[str, Any] = json.loads(text)
    return plan


def create_runs(sweep: Path, plan: dict[str, Any]) -> None:
    """Make the directory of each run of a plan, with its `run.json`: from then on each can be trained by itself."""

    def create(cell: dict[str, Any]) -> None:
        RunDirectory(sweep / cell["run_id"]).create({key: cell[key] for key in ("run_id", "identity", "facts", "config")})

    at_once(sweep, create, plan["cells"])


def check_forecast(sweep: Path, cells: Iterable[dict[str, Any]]) -> None:
    """Make sure that a forecast of each held-out run among the cells was written before it is trained.

    Raises:
        ScalingError: there is none of one that has not begun.
    """
    held_out = [cell["run_id"] for cell in cells if cell["role"] == "holdout"]
    forecast = (read_json(sweep / "forecast.json") if held_out else None) or {"predictions": []}
    known = {each["run"] for each in forecast["predictions"]}
    for run in held_out:
        if run not in known and RunDirectory(sweep / run).status["state"] == "planned":
            raise ScalingError(
                f"{sweep / run} is held out and has no forecast yet: `scaling sweep` writes one and then trains it"
            )


def has_begun(sweep: Path) -> bool:
    """Whether a run of the plan that is kept there has left a status; False where none is kept."""
    if read_text(sweep / "plan.json") is None:
        return False
    return any(RunDirectory(sweep / cell["run_id"]).status["state"] != "planned" for cell in read_plan(sweep)["cells"])


def _split(text: str) -> tuple[str, str]:
    """The hash that a plan states, and what it is of; an empty hash where there is none."""
    head = _HEAD.match(text)
    return (head[1], text[head.end() :]) if head else ("", text)


def _hash(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()

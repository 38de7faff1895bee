"""A sweep's curves in an experiment tracker, sent by whoever watches it: training never waits for a tracker.        (no jax)

What was sent is kept in `trackers/<name>.json` of the sweep, so that the next watcher goes on from there. A resumed run repeats
rows of the same numbers, which are not sent twice. Each tracker takes its address, account and offline mode from its own
environment variables (`WANDB_MODE=offline`, `MLFLOW_TRACKING_URI`, `TRACKIO_DIR`).
"""

import io
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError
from scaling.record import TERMINAL, RunDirectory, read_json, write_json
from scaling.sweeps.status import CellStatus, read_status

Rows = Sequence[dict[str, Any]]


class Tracker(ABC):
    """One of the trackers; `project` is the sweep's name."""

    def __init__(self, project: str):
        self.project = project

    @abstractmethod
    def send(self, run: str, known: str | None, config: dict[str, Any], rows: Rows, state: str) -> str:
        """Add rows to a run; those of an ended one end it.

        Args:
            run: its id in the record.
            known: its id in the tracker, where it is there already.
            config: its configuration and facts.
            rows: of the curve, without what is null.
            state: of the run.

        Returns:
            Its id in the tracker.
        """


class Wandb(Tracker):
    """Weights & Biases."""

    def send(self, run: str, known: str | None, config: dict[str, Any], rows: Rows, state: str) -> str:
        """See `Tracker`."""
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        with wandb.init(project=self.project, id=run, name=run, config=config, resume="allow", settings=settings) as open_run:
            for row in rows:
                open_run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])
            open_run.summary["state"] = state
        return run


class Mlflow(Tracker):
    """MLflow."""

    def send(self, run: str, known: str | None, config: dict[str, Any], rows: Rows, state: str) -> str:
        """See `Tracker`."""
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        client, now = MlflowClient(), int(time.time() * 1000)
        if known is None:
            experiment = client.get_experiment_by_name(self.project)
            home = experiment.experiment_id if experiment else client.create_experiment(self.project)
            known = client.create_run(home, run_name=run).info.run_id
            client.log_batch(known, params=[Param(name, str(value)) for name, value in _flat(config).items()])
        for row in rows:
            client.log_batch(
                known, metrics=[Metric(name, value, now, row["step"]) for name, value in row.items() if name != "step"]
            )
        if state in TERMINAL:
            client.set_terminated(known, "FINISHED" if state == "done" else "FAILED")
        return known


class Trackio(Tracker):
    """Hugging Face's Trackio: a database on this machine, or a Space or server where its environment variables name one.

    It keeps no state of a run beside its rows.
    """

    def send(self, run: str, known: str | None, config: dict[str, Any], rows: Rows, state: str) -> str:
        """See `Tracker`."""
        import trackio

        own = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}  # this machine need not be the one that trains
        with redirect_stdout(io.StringIO()):  # its greetings would go into the view
            open_run = trackio.init(project=self.project, name=run, config=config, resume="allow", **own)
            for row in rows:
                open_run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])
            open_run.finish()
        return run


TRACKERS: dict[str, type[Tracker]] = {"wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio}


def follow(sweep: Path, name: str) -> Callable[[], None]:
    """What sends the rows that are new each time it is called.

    Raises:
        ScalingError: the tracker's package is not installed, and how to get it.
    """
    from importlib.util import find_spec

    if find_spec(name) is None:
        raise ScalingError(f"--tracker {name} needs the package {name}: uv pip install -e '.[{name}]'")
    tracker, kept = TRACKERS[name](sweep.resolve().name), sweep / "trackers" / f"{name}.json"
    sent: dict[str, dict[str, Any]] = read_json(kept) or {}

    def send_new() -> None:
        for each in read_status(sweep):
            run = each.cell["run_id"]
            before = sent.get(run, {"step": -1, "state": "", "id": None})
            rows = [_numbers(row) for row in RunDirectory(sweep / run).rows() if row["step"] > before["step"]]
            state = each.state if each.state in TERMINAL else ""
            if rows or (before["id"] and state != before["state"]):
                known = tracker.send(run, before["id"], _config(sweep, each), rows, each.state)
                sent[run] = {"step": rows[-1]["step"] if rows else before["step"], "state": state, "id": known}
                write_json(kept, sent)

    return send_new


def _config(sweep: Path, each: CellStatus) -> dict[str, Any]:
    record = RunDirectory(sweep / each.cell["run_id"]).specification or {}
    return {
        "run_id": each.cell["run_id"],
        "role": each.cell["role"],
        **record.get("identity", {}),
        "facts": record.get("facts", {}),
    }


def _numbers(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _flat(fields: dict[str, Any], path: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{path}{name}.")
        else:
            found[f"{path}{name}"] = value
    return found

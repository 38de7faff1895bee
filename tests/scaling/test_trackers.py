"""Curves in experiment trackers, in their offline modes: what arrives, once, and how a second watch goes on."""

import json
import sqlite3
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from scaling.cli import app
from scaling.errors import ScalingError
from scaling.sweeps.stored import write_plan
from scaling.watch.trackers import follow

pytestmark = pytest.mark.filterwarnings("default")  # the trackers' own


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Two runs: one done, one half way."""
    home = tmp_path / "tracked"
    cells = []
    for number, last in enumerate((4, 2)):
        run = home / f"{number:012x}"
        run.mkdir(parents=True)
        facts = {"parameters": 1000, "flops": 6e6, "tokens": 4000}
        (run / "run.json").write_text(json.dumps({"run_id": run.name, "identity": {"model": {"width": 32}}, "facts": facts}))
        write(run, last, "done" if last == 4 else "saved")
        cells.append(
            {
                "run_id": run.name,
                "role": "fit",
                "labels": {"seed": number},
                "trunk": None,
                "branch": None,
                "parameters": 1000,
                "tokens": 4000,
                "flops": 6e6,
            }
        )
    write_plan(home, {"sweep": "tracked", "cells": cells})
    return home


def write(run: Path, last: int, state: str) -> None:
    rows = [
        {"step": step, "tokens": 1000 * step, "train_loss": 5.0 - step, "loss": None if step % 2 else 4.5 - step}
        for step in range(1, last + 1)
    ]
    (run / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "status.json").write_text(json.dumps({"state": state, "step": last, "steps": 4}))


def test_mlflow_gets_every_row_once(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="no mlflow: install the extra mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (sweep.parent / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    follow(sweep, "mlflow")()
    write(sweep / f"{1:012x}", 4, "done")
    follow(sweep, "mlflow")()  # another watcher
    client = mlflow.MlflowClient()
    home = client.get_experiment_by_name("tracked")
    runs = client.search_runs([home.experiment_id])
    assert {run.info.run_name for run in runs} == {f"{0:012x}", f"{1:012x}"}
    for run in runs:
        assert [(each.step, each.value) for each in client.get_metric_history(run.info.run_id, "train_loss")] == [
            (step, 5.0 - step) for step in range(1, 5)
        ]
        assert [each.step for each in client.get_metric_history(run.info.run_id, "loss")] == [2, 4]
        assert run.data.params["model.width"] == "32"
        assert run.info.status == "FINISHED"


def test_wandb_writes_offline(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="no wandb: install the extra wandb")
    monkeypatch.chdir(sweep.parent)
    monkeypatch.setenv("WANDB_MODE", "offline")
    follow(sweep, "wandb")()
    follow(sweep, "wandb")()
    files = list((sweep.parent / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {file.stem.removeprefix("run-") for file in files} == {f"{0:012x}", f"{1:012x}"}
    deadline = time.monotonic() + 30  # a process of wandb writes them
    while not all(b"train_loss" in file.read_bytes() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert len(files) == 2  # the second watch had nothing to send


def test_trackio_keeps_every_row_once_on_this_machine(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(sweep.parent / "trackio"))  # read when it is imported
    pytest.importorskip("trackio", reason="no trackio: install the extra trackio")
    follow(sweep, "trackio")()
    write(sweep / f"{1:012x}", 4, "done")
    follow(sweep, "trackio")()  # another watcher
    follow(sweep, "trackio")()  # with nothing to send
    with sqlite3.connect(sweep.parent / "trackio" / "tracked.db") as database:
        rows = database.execute("SELECT run_name, step, metrics FROM metrics ORDER BY run_name, step").fetchall()
        configs = dict(database.execute("SELECT run_name, config FROM configs").fetchall())
    assert [(run, step) for run, step, _ in rows] == [(f"{number:012x}", step) for number in (0, 1) for step in range(1, 5)]
    for _, step, metrics in rows:
        expected = {"tokens": 1000 * step, "train_loss": 5.0 - step} | ({} if step % 2 else {"loss": 4.5 - step})
        assert json.loads(metrics) == expected
    assert {run: json.loads(config)["model"] for run, config in configs.items()} == {
        f"{number:012x}": {"width": 32} for number in (0, 1)
    }
    assert capsys.readouterr().out == ""


def test_an_unknown_or_missing_tracker_is_one_line(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(app, ["watch", str(sweep), "--tracker", "wandbb"])
    assert isinstance(done.exception, ScalingError)
    assert "nearest is 'wandb'" in str(done.exception)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ScalingError, match=r"needs the package mlflow: .*\[mlflow\]"):
        follow(sweep, "mlflow")

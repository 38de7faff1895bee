"""A whole sweep on two cores: plan, runs, forecast before the held-out run, report; and what a second call does."""

import json
import os
import shutil
import signal
import time

import pytest

from scaling.errors import Exit
from scaling.record import read_json

SWEEP = {
    "name": "small",
    "base": {
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "training": {"tokens": "40k", "batch_tokens": 512},
        "optimizer": {"learning_rate": "4e-3"},
        "schedule": {"warmup_tokens": "2k"},
    },
    "axes": {
        "model": [
            {"width": 8, "layers": 1, "heads": 1},
            {"width": 16, "layers": 1, "heads": 1},
            {"width": 32, "layers": 2, "heads": 1},
        ],
        "training.tokens": ["20k", "40k", "80k"],
    },
    "holdouts": [{"model": {"width": 48, "layers": 2, "heads": 1}, "training.tokens": "160k"}],
}


def _write(lab, **changes):
    sweep = {**SWEEP, **changes}
    execution = {"cache_directory": str(lab.cache), "log_every": 10, "evaluations": 2}
    return lab.write("small.yaml", {**sweep, "base": {**sweep["base"], "execution": execution}})


def _runs(lab):
    return {cell["run_id"]: cell for cell in read_json(lab.path / "runs/small/plan.json")["cells"]}


def _statuses(lab):
    return {run: read_json(lab.path / "runs/small" / run / "status.json") for run in _runs(lab)}


def test_a_sweep_from_file_to_report(lab):
    config = _write(lab)
    planned = lab("sweep", config, "--dry-run")
    assert [path.name for path in (lab.path / "runs/small").iterdir()] == ["plan.json"]
    assert "10 runs" in planned.stdout
    assert max(map(len, planned.stdout.splitlines())) <= 80

    done = lab("sweep", config)
    assert "forecast against measured" in done.stdout
    assert "MISSED" in done.stdout or "inside" in done.stdout
    statuses = _statuses(lab)
    assert {status["state"] for status in statuses.values()} == {"done"}
    (held_out,) = [run for run, cell in _runs(lab).items() if cell["role"] == "holdout"]
    forecast = read_json(lab.path / "runs/small/forecast.json")
    assert forecast["created"] <= read_json(lab.path / "runs/small" / held_out / "environment.json")["started"]
    assert held_out not in forecast["origin"]["runs"]
    assert len(forecast["origin"]["runs"]) == 9

    again = lab("sweep", config)
    assert "10 done, 0 to train" in again.stdout
    assert _statuses(lab) == statuses
    assert read_json(lab.path / "runs/small/forecast.json") == forecast

    status = lab("status", "runs/small")
    assert "10 runs: 10 done; 100% of the FLOPs" in status.stdout
    more = _write(lab, cells=[{"model": {"width": 24, "layers": 1, "heads": 1}, "training.tokens": "40k"}])
    lab("sweep", more)
    assert read_json(lab.path / "runs/small/forecast.json") == forecast  # the held-out run has begun
    shutil.rmtree(lab.path / "runs/small" / held_out)
    lab("sweep", more)
    again = read_json(lab.path / "runs/small/forecast.json")
    assert len(again["origin"]["runs"]) == 10
    assert again["created"] <= read_json(lab.path / "runs/small" / held_out / "environment.json")["started"]
    report = lab("report", "runs/small")
    page = (lab.path / "runs/small/report.html").read_text()
    assert "report.html" in report.stdout
    assert "http-equiv" not in page
    for run in statuses:
        assert run in page
    for kind in ("png", "svg"):
        assert len(list((lab.path / "runs/small/figures").glob(f"*.{kind}"))) >= 4
    assert list((lab.path / "runs/small" / held_out / "tensorboard").glob("events.*"))


def test_a_failed_cell_is_named_leaves_the_others_alone_and_is_retried_alone(lab):
    config = _write(
        lab, holdouts=[], axes={"seed": [0, 1, 2]}, base={**SWEEP["base"], "model": {"width": 16, "layers": 1, "heads": 1}}
    )
    assert lab("sweep", config, "training.tokens=10k", "--dry-run").returncode == 0
    lab("sweep", config, "training.tokens=10k", "name=probe")  # the same runs elsewhere: their ids
    victim = next(iter(read_json(lab.path / "runs/probe/plan.json")["cells"]))["run_id"]
    blocked = lab.path / "runs/small" / victim / "checkpoints"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")

    failed = lab("sweep", config, "training.tokens=10k", check=False)
    assert failed.returncode == Exit.FAILED
    assert f"{victim} (seed" in failed.stdout
    assert f"runs/small/{victim}/log.txt" in failed.stdout.replace("\n", "")
    assert (lab.path / "runs/small" / victim / "log.txt").stat().st_size > 0
    states = {run: status["state"] for run, status in _statuses(lab).items()}
    assert states.pop(victim) == "failed"
    assert set(states.values()) == {"done"}

    others = {run: status for run, status in _statuses(lab).items() if run != victim}
    blocked.unlink()
    lab("sweep", config, "training.tokens=10k")
    statuses = _statuses(lab)
    assert statuses.pop(victim)["state"] == "done"
    assert statuses == others


@pytest.mark.parametrize("target", ["worker", "launcher"])
def test_a_sweep_survives_the_death_of(lab, target):
    config = _write(
        lab, holdouts=[], axes={"seed": [0, 1, 2, 3]}, base={**SWEEP["base"], "model": {"width": 32, "layers": 2, "heads": 1}}
    )
    lab("sweep", config, "training.tokens=150k", "name=undisturbed")
    launcher = lab.start("sweep", config, "training.tokens=150k")
    while not (leases := list(lab.path.glob("runs/small/*/leases/*.json"))) or not list(
        lab.path.glob("runs/small/*/curve.jsonl")
    ):
        assert launcher.poll() is None
        time.sleep(0.05)
    if target == "worker":
        os.kill(json.loads(leases[0].read_text())["pid"], signal.SIGKILL)
        launcher.wait(timeout=120)
    else:
        launcher.kill()
        launcher.wait()
    lab("sweep", config, "training.tokens=150k")
    for run, status in _statuses(lab).items():
        assert status["state"] == "done"
        killed, undisturbed = (_curve(lab.path / "runs" / sweep / run) for sweep in ("small", "undisturbed"))
        assert killed == undisturbed


def _curve(directory):
    return [{**json.loads(line), "seconds": None} for line in (directory / "curve.jsonl").read_text().splitlines()]

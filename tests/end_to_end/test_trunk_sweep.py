"""A sweep on trunks, from its stored plan to a longer run added later; what becomes of it when a trunk fails or is killed."""

import json
import os
import signal
import time

from scaling.errors import Exit
from scaling.record import read_json

SWEEP = {
    "name": "trunks",
    "base": {
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "model": {"width": 32, "layers": 2, "heads": 1},
        "training": {"tokens": "40k", "batch_tokens": 512},
        "optimizer": {"learning_rate": "4e-3"},
        "schedule": {"kind": "wsd", "warmup_tokens": "4k"},
    },
    "axes": {"training.tokens": ["20k", "40k", "60k"]},
}


def _write(lab, lengths, name="trunks.yaml"):
    execution = {"cache_directory": str(lab.cache), "log_every": 5, "evaluations": 5}
    base = {**SWEEP["base"], "execution": execution}
    return lab.write(name, {**SWEEP, "base": base, "axes": {"training.tokens": lengths}})


def _cells(lab, name="trunks"):
    return {cell["labels"]["training.tokens"]: cell for cell in read_json(lab.path / "runs" / name / "plan.json")["cells"]}


def _status(lab, cell, name="trunks"):
    return read_json(lab.path / "runs" / name / cell["run_id"] / "status.json")


def _curve(lab, cell, name):
    lines = (lab.path / "runs" / name / cell["run_id"] / "curve.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": None} for line in lines]


def test_a_stored_plan_is_trained_each_run_as_if_alone_and_a_longer_one_goes_on(lab):
    config = _write(lab, ["20k", "40k", "60k"])
    planned = lab("sweep", config, "hardware=v5e", "--dry-run")
    assert max(map(len, planned.stdout.splitlines())) <= 80
    assert "saved" in planned.stdout
    plan = lab.path / "runs/trunks/plan.json"
    text = plan.read_text()
    assert lab("sweep", config, "hardware=v5e", "--dry-run").returncode == 0
    assert plan.read_text() == text

    plan.write_text(text.replace('"learning_rate": 0.004', '"learning_rate": 0.04'))
    refused = lab("sweep", "runs/trunks", check=False)
    assert refused.returncode == Exit.USAGE
    assert "is not the plan that was made" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    plan.write_text(text)

    lab("sweep", "runs/trunks/plan.json")
    cells = _cells(lab)
    statuses = {length: _status(lab, cell) for length, cell in cells.items()}
    assert {status["state"] for status in statuses.values()} == {"done"}
    assert [status.get("branched") for status in statuses.values()] == [None, 30, 61]  # of 39 and 78 steps, 4/5 less one
    lab("sweep", _write(lab, ["60k"], "alone.yaml"), "name=alone")
    assert _curve(lab, cells["60k"], "trunks") == _curve(lab, cells["60k"], "alone")

    longer = _write(lab, ["20k", "40k", "60k", "100k", "50k"])
    before = plan.read_text()
    assert "is of runs that have begun, and stays" in " ".join(lab("sweep", longer, "--dry-run").stdout.split())
    assert plan.read_text() == before
    lab("sweep", longer)
    cells = _cells(lab)
    assert {length: _status(lab, cells[length]) for length in statuses} == statuses
    assert (_status(lab, cells["100k"])["branched"], _status(lab, cells["50k"])["branched"]) == (92, 61)


def test_a_failed_trunk_fails_its_branches_with_its_reason_until_it_is_tried_again(lab):
    config = _write(lab, ["20k", "40k"])
    lab("sweep", config, "--dry-run")
    cells = _cells(lab)
    blocked = lab.path / "runs/trunks" / cells["20k"]["run_id"] / "checkpoints"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")
    failed = lab("sweep", config, check=False)
    assert failed.returncode == Exit.FAILED
    assert f"its trunk, run {cells['20k']['run_id']}, failed" in " ".join(failed.stdout.split())
    assert _status(lab, cells["40k"]) is None  # it was never begun
    blocked.unlink()
    lab("sweep", config)
    assert {_status(lab, cell)["state"] for cell in cells.values()} == {"done"}
    assert _status(lab, cells["40k"])["branched"] == 30


def test_a_sweep_survives_the_death_of_the_worker_on_its_trunk(lab):
    config = _write(lab, ["100k", "200k"])
    lab("sweep", config, "name=undisturbed")
    launcher = lab.start("sweep", config)
    while not list(lab.path.glob("runs/trunks/*/curve.jsonl")):
        assert launcher.poll() is None
        time.sleep(0.02)
    (lease,) = lab.path.glob("runs/trunks/*/leases/*.json")
    os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
    launcher.wait(timeout=120)
    lab("sweep", config)
    for cell in _cells(lab).values():
        assert _status(lab, cell)["state"] == "done"
        assert _curve(lab, cell, "trunks") == _curve(lab, cell, "undisturbed")


def test_held_out_runs_are_not_trained_by_hand_before_their_forecast(lab):
    base = {**SWEEP["base"], "execution": {"cache_directory": str(lab.cache)}}
    config = lab.write("held.yaml", {**SWEEP, "name": "held", "base": base, "holdouts": [{"training.tokens": "80k"}]})
    lab("sweep", config, "--dry-run")
    refused = lab("work", "runs/held", "--role", "holdout", check=False)
    assert refused.returncode == Exit.USAGE
    assert "is held out and has no forecast yet" in refused.stderr
    assert not list(lab.path.glob("runs/held/*/status.json"))

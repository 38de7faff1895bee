"""Whole sweeps on a real Slurm: preemption, a run on two nodes, and workers and submitters killed at random instants."""

import json
import os
import random
import signal
import time

import numpy as np
import pytest

from scaling.errors import Exit
from scaling.record import read_json

MODEL = {"width": 16, "layers": 1, "heads": 2}
BASE = {
    "model": MODEL,
    "data": {"sequence_length": 64, "validation_tokens": "4k"},
    "training": {"tokens": 1024 * 400, "batch_tokens": 1024},
    "optimizer": {"learning_rate": "4e-3"},
    "schedule": {"warmup_tokens": "4k"},
}
SLURM = {"poll_seconds": 1, "options": {"time": 20, "partition": "spot"}}


@pytest.fixture
def on_slurm(lab, slurm):
    """The lab, with Slurm in reach of its command; and a sweep file of the given cells."""
    lab.environment["SLURM_CONF"] = slurm.environment["SLURM_CONF"]

    def write(name, **fields):
        execution = {"cache_directory": str(lab.cache), "log_every": 10, "evaluations": 2, "checkpoint_every_seconds": 0.5}
        base = {**BASE, "execution": execution}
        return lab.write(
            f"{name}.yaml", {"name": name, "base": base, "launcher": "slurm", "resources": {"slurm": SLURM}, **fields}
        )

    return write


def _runs(lab, sweep):
    return {cell["run_id"]: cell["labels"] for cell in read_json(lab.path / "runs" / sweep / "plan.json")["cells"]}


def _statuses(lab, sweep):
    return {run: read_json(lab.path / "runs" / sweep / run / "status.json") or {} for run in _runs(lab, sweep)}


def _rows(lab, sweep, run):
    lines = (lab.path / "runs" / sweep / run / "curve.jsonl").read_text().splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "seconds"} for line in lines]


@pytest.mark.slow
def test_a_sweep_with_a_preemption_and_a_run_on_two_nodes_has_the_curves_of_this_machine(lab, slurm, on_slurm):
    config = on_slurm("cluster", cells=[{"seed": 0}, {"seed": 1}, {"seed": 2, "execution.mesh": {"data": 2}}])
    submitter = lab.start("sweep", config)
    deadline = time.monotonic() + 240
    while not list(lab.path.glob("runs/cluster/*/curve.jsonl")):
        assert submitter.poll() is None, lab.output.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slurm("sbatch", "--partition=prod", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    assert submitter.wait(timeout=300) == Exit.DONE, lab.output.read_text()
    statuses = _statuses(lab, "cluster")
    assert {status["state"] for status in statuses.values()} == {"done"}
    assert max(status["attempt"] for status in statuses.values()) >= 2
    (wide,) = [run for run, labels in _runs(lab, "cluster").items() if "execution.mesh" in labels]
    environment = read_json(lab.path / "runs/cluster" / wide / "environment.json")
    assert environment["devices"]["processes"] == 2
    again = lab("sweep", config)
    assert "3 done, 0 to train" in again.stdout
    assert _statuses(lab, "cluster") == statuses
    assert f"{wide}" in (lab.path / "runs/cluster" / wide / "log.txt").read_text()

    lab("sweep", config, "name=here", "cells=[{seed: 0}, {seed: 1}, {seed: 2}]", "--launcher", "local")
    for run in statuses:  # the mesh is no part of what a run is
        here, there = (_rows(lab, sweep, run) for sweep in ("here", "cluster"))
        assert [row["step"] for row in here] == [row["step"] for row in there]
        losses = ([row["train_loss"] for row in rows] for rows in (there, here))
        np.testing.assert_allclose(*losses, rtol=1e-4)  # another mesh adds in another order, for 400 steps


@pytest.mark.slow
def test_twelve_runs_under_random_kills_of_workers_and_submitters_have_the_curves_of_an_undisturbed_sweep(
    lab, slurm, on_slurm, record_property
):
    fields = {"axes": {"seed": list(range(12))}}
    assert lab("sweep", on_slurm("undisturbed", **fields)).returncode == Exit.DONE
    config = on_slurm("killed", **fields)
    chooser, kills = random.Random(0), {"worker": 0, "submitter": 0}
    submitter = lab.start("sweep", config)
    deadline = time.monotonic() + 600
    while not (lab.path / "runs/killed/plan.json").exists():
        time.sleep(0.1)
    while submitter.poll() is None or {status.get("state") for status in _statuses(lab, "killed").values()} != {"done"}:
        assert time.monotonic() < deadline, kills
        if submitter.poll() is not None:
            submitter = lab.start("sweep", config)
        time.sleep(chooser.uniform(0, 1.5))
        workers = _workers(lab)
        if sum(kills.values()) >= 30:
            continue
        if chooser.random() < 0.3:
            submitter.kill()
            submitter.wait()
            kills["submitter"] += 1
        elif workers:
            os.kill(chooser.choice(workers), signal.SIGKILL)
            kills["worker"] += 1
    record_property("kills", kills)
    print(f"kills: {kills}")
    assert kills["worker"] >= 5
    assert kills["submitter"] >= 3
    for run in _runs(lab, "killed"):
        assert _rows(lab, "killed", run) == _rows(lab, "undisturbed", run)


def _workers(lab):
    """The processes that hold a run of the sweep `killed` now."""
    found = []
    for run in (lab.path / "runs/killed").glob("*/leases"):
        newest = max(run.glob("[0-9]*.json"), default=None)
        holder = json.loads(newest.read_text()) if newest else {"released": True}
        if not holder.get("released"):
            try:
                os.kill(holder["pid"], 0)
            except ProcessLookupError:
                continue
            found.append(holder["pid"])
    return found

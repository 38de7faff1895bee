"""A sweep under random SIGKILL, of its workers and of the command that submits it, ends as the undisturbed one did."""

import contextlib
import json
import os
import random
import signal
import time
from collections import Counter

import pytest

from scaling.errors import Exit
from scaling.lease import is_free, newest_lease
from scaling.record import read_json

KILLS = 30


def _sweep_file(lab):
    execution = {"cache_directory": str(lab.cache), "log_every": 5, "evaluations": 4, "checkpoint_every_seconds": 0.5}
    return lab.write(
        "chaos.yaml",
        {
            "name": "chaos",
            "base": {
                "model": {"width": 16, "layers": 1, "heads": 1},
                "data": {"sequence_length": 64, "validation_tokens": "4k"},
                "training": {"tokens": 512 * 300, "batch_tokens": 512},
                "optimizer": {"learning_rate": "4e-3"},
                "schedule": {"warmup_tokens": "2k"},
                "execution": execution,
            },
            "axes": {"seed": list(range(12))},
        },
    )


def _curves(lab, runs):
    """The rows of each run, without wall time."""
    found = {}
    for curve in (lab.path / runs / "chaos").glob("*/curve.jsonl"):
        rows = [json.loads(line) for line in curve.read_text().splitlines()]
        found[curve.parent.name] = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return found


def _workers(sweep):
    """The living processes that hold a run, by it."""
    holders = {run.parent.name: newest_lease(run.parent)[1] for run in sweep.glob("*/leases")}
    return {run: holder["pid"] for run, holder in holders.items() if holder and not is_free(holder)}


@pytest.mark.slow
def test_a_sweep_of_twelve_runs_survives_thirty_kills_of_its_workers_and_of_its_submitter(lab, record_property):
    config = _sweep_file(lab)
    lab("sweep", config, "base.execution.checkpoint_every_seconds=600", "--runs", "undisturbed")
    expected = _curves(lab, "undisturbed")
    assert len(expected) == 12

    chooser, kills, starts, sweep = random.Random(0), Counter(), 0, lab.path / "runs" / "chaos"
    submitter = None
    while submitter is None or submitter.poll() != Exit.DONE:
        if submitter is None or submitter.poll() is not None:
            submitter = lab.start("sweep", config)
            starts += 1
        if kills.total() >= KILLS:
            submitter.wait(timeout=300)
            continue
        workers = _workers(sweep)
        if not workers:
            time.sleep(0.05)
            continue
        time.sleep(chooser.uniform(0, 1.5))  # anywhere between the claim and the end of a run or two
        victims = sorted(set(_workers(sweep).values()))
        target = chooser.choice(["one worker", "all workers", "submitter", "everything"])
        for pid in victims[: 0 if target == "submitter" else 1 if target == "one worker" else None]:
            _kill(pid)
            kills["worker"] += 1
        if target in ("submitter", "everything") and submitter.poll() is None:
            submitter.kill()
            submitter.wait()
            kills["submitter"] += 1
    assert kills.total() >= KILLS, f"the sweep was done after {kills}"
    assert _curves(lab, "runs") == expected
    plan = read_json(sweep / "plan.json")["cells"]
    assert {cell["run_id"] for cell in plan} == set(expected)
    lost = sum(newest_lease(sweep / run)[1]["tally"].get("lost", 0) for run in expected)
    table = {**kills, "starts": starts, "attempts lost": lost}
    record_property("kills", table)
    print(table)
    assert min(kills["worker"], kills["submitter"], lost) > 0
    check = lab("status", "runs/chaos", "--check")
    assert "12 runs: 12 done; 100% of the FLOPs" in check.stdout


def _kill(pid):
    with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
        os.kill(pid, signal.SIGKILL)

"""The verbs of what is under way: status, cancel, retry, logs; and the end of a worker that lost its run."""

import json
import re
import signal
import time

import pytest

from scaling.errors import Exit
from scaling.lease import claim, lease_path
from scaling.policy import Ending
from scaling.record import read_json, write_json


def _long(lab, **changes):
    return lab.run_file(training={"tokens": 1024 * 4000}, execution={"checkpoint_every_seconds": 0.2}, **changes)


def _start(lab, *arguments):
    process = lab.start(*arguments)
    while not list(lab.path.glob("runs/*/*/curve.jsonl")) or not lab.rows():
        assert process.poll() is None, lab.output.read_text()
        time.sleep(0.05)
    (directory,) = (path.parent for path in lab.path.glob("runs/*/*/run.json"))
    return process, directory


def test_a_worker_that_lost_its_run_stops_and_writes_no_more(lab):
    process, run = _start(lab, "train", _long(lab))
    taken = {"host": "elsewhere", "boot": "other", "pid": 1, "process_start": "1", "heartbeat": time.time() + 1000, "tally": {}}
    write_json(lease_path(run, 2), taken)
    time.sleep(0.3)  # a write that was under way is done
    files = {name: (run / name).read_bytes() for name in ("status.json", "curve.jsonl")}
    checkpoints = sorted(path.parent.name for path in run.glob("checkpoints/*/SHA256SUMS"))
    assert process.wait(timeout=60) == Exit.SAVED, lab.output.read_text()
    assert "another worker has taken over" in lab.output.read_text()
    assert files == {name: (run / name).read_bytes() for name in files}
    assert checkpoints == sorted(path.parent.name for path in run.glob("checkpoints/*/SHA256SUMS"))


def test_a_run_is_cancelled_where_it_stands_and_goes_on_when_it_is_retried(lab):
    lab("train", lab.run_file(), "--runs", "undisturbed")  # compiles
    config = _long(lab)
    process, run = _start(lab, "train", config)
    assert "1 cancelled" in lab("cancel", str(run)).stdout
    assert process.wait(timeout=60) == Exit.SAVED, lab.output.read_text()
    status = lab.status()
    assert (status["state"], status["reason"]) == ("cancelled", "cancelled")
    assert status["checkpoint"] == status["step"] > 0
    again = lab("train", str(run), check=False)
    assert again.returncode == Exit.USAGE
    assert f"{run} was cancelled; `scaling retry {run}` lets it go on".replace("\n", "") in again.stderr.replace("\n", "")
    assert "1 to be tried again" in lab("retry", str(run)).stdout
    process = lab.start("train", str(run))
    while lab.status()["state"] != "running":
        assert process.poll() is None, lab.output.read_text()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == Exit.SAVED
    assert lab.status()["step"] > status["step"]


def curve(run):
    """The rows of a run, without wall time."""
    return [{**json.loads(line), "seconds": None} for line in (run / "curve.jsonl").read_text().splitlines()]


SEEDS = {"axes": {"seed": [0, 1, 2]}}


def _sweep(lab, **changes):
    base = {
        "model": {"width": 16, "layers": 1, "heads": 1},
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "training": {"tokens": "10k", "batch_tokens": 512},
        "optimizer": {"learning_rate": "4e-3"},
        "schedule": {"warmup_tokens": "1k"},
        "execution": {"cache_directory": str(lab.cache), "log_every": 10, "evaluations": 2},
    }
    return lab.write("fleet.yaml", {"name": "fleet", "base": base, **SEEDS, **changes})


@pytest.mark.slow
def test_a_sweep_with_a_cancelled_run_trains_the_others_and_says_what_is_missing(lab):
    config = _sweep(lab)
    lab("sweep", config, "name=probe")  # the same runs elsewhere: their ids
    victim = read_json(lab.path / "runs/probe/plan.json")["cells"][1]["run_id"]
    lab("cancel", "runs/probe")  # all are done: nothing to cancel
    assert lab("status", "runs/probe", "--check").returncode == Exit.DONE

    write_json(lab.path / "runs/fleet" / victim / "cancel.json", {})
    swept = lab("sweep", config, check=False)
    assert swept.returncode == Exit.FAILED, swept.stdout + swept.stderr
    status = lab("status", "runs/fleet", "--json", "--check", check=False)
    assert status.returncode == Exit.FAILED
    document = json.loads(status.stdout)
    states = {each["run_id"]: each["state"] for each in document["runs"]}
    assert states.pop(victim) == "cancelled"
    assert list(states.values()) == ["done", "done"]
    assert document["summary"] == "3 runs: 2 done, 1 cancelled; 67% of the FLOPs"
    assert "1 to be tried again" in lab("retry", "runs/fleet").stdout
    assert lab("status", "runs/fleet", "--check", check=False).returncode == Exit.SAVED
    lab("sweep", config)
    assert lab("status", "runs/fleet", "--check").returncode == Exit.DONE


@pytest.mark.slow
def test_two_submitters_at_once_train_each_run_once(lab):
    config = _sweep(lab, axes={"seed": [0, 1, 2, 3]})
    lab("sweep", config, "--runs", "alone")
    both = [lab.start("sweep", config) for _ in range(2)]
    assert [each.wait(timeout=200) for each in both] == [Exit.DONE, Exit.DONE], lab.output.read_text()
    statuses = list((lab.path / "runs/fleet").glob("*/status.json"))
    assert [(read_json(path)["state"], read_json(path)["attempt"]) for path in statuses] == [("done", 1)] * 4
    for path in statuses:
        twin = lab.path / "alone/fleet" / path.parent.name
        assert curve(path.parent) == curve(twin)


def test_status_fits_the_terminal_and_names_step_rate_and_reason(lab):
    lab("sweep", _sweep(lab), "--runs", "runs")
    cells = read_json(lab.path / "runs/fleet/plan.json")["cells"]
    failed = lab.path / "runs/fleet" / cells[0]["run_id"]
    write_json(failed / "status.json", {"state": "failed", "step": 3, "steps": 19, "reason": "no such corpus"})
    lease = claim(failed)
    lease.release(Ending.MISTAKEN, "no such corpus")
    shown = lab("status", "runs/fleet").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert re.search(rf"{cells[0]['run_id']} +\S+ +3/19 .*failed", shown)
    assert re.search(rf"{cells[1]['run_id']} +\S+ +19/19 +\d\.\d{{4}} +[\d,]+ +done", shown)
    assert "no such corpus" in shown


def test_logs_are_printed_and_followed_to_the_end_of_the_run(lab):
    lab("sweep", _sweep(lab))
    (log, *_) = (lab.path / "runs/fleet").glob("*/log.txt")
    log.write_text("first\n")
    assert lab("logs", str(log.parent)).stdout == "first\n"
    assert lab("logs", str(log.parent), "-f").stdout == "first\n"  # its run is done: it ends by itself
    assert lab("logs", "runs/fleet", check=False).stderr == "error: runs/fleet is not a run directory: it holds no run.json\n"


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_what_is_neither_sweep_nor_run_is_refused(lab, verb):
    refused = lab(verb, "nowhere", check=False)
    assert refused.returncode == Exit.USAGE
    assert refused.stderr.strip() == "error: nowhere is neither a sweep nor a run: it holds no plan.json and no run.json"


@pytest.mark.slow
def test_a_run_that_ran_out_of_memory_is_tried_once_more_with_half_the_micro_batch(lab):
    config = _sweep(lab, axes={"seed": [0]})
    huge = lab("sweep", config, "model.mlp_width=100000000000", check=False)
    assert huge.returncode == Exit.FAILED, huge.stdout + huge.stderr
    (run,) = (path.parent for path in (lab.path / "runs/fleet").glob("*/status.json"))
    assert read_json(run / "status.json")["attempt"] == 2
    assert read_json(run / "environment.json")["execution"]["micro_batch"] == 4
    assert "memory ran out before: 4 sequences at once instead of 8" in (run / "log.txt").read_text()

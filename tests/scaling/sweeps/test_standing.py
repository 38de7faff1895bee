"""The state of each run as its directory tells it, on every store: what users are shown and what workers act on."""

import time
from collections import Counter
from datetime import datetime

import pytest

from benchmarks.status import make_sweep
from scaling.errors import Exit, ScalingError
from scaling.lease import claim, lease_path, newest_lease
from scaling.policy import Ending
from scaling.record import RunDirectory, write_json
from scaling.sweeps.requests import cancel, give_up, report_death, retry
from scaling.sweeps.status import exit_code, most_telling, read_status
from scaling.sweeps.stored import write_plan


def _plan(sweep, *runs, **trunks):
    cells = [{"run_id": run, "role": "fit", "labels": {"seed": run}, "tokens": 100, "flops": 1.0} for run in runs]
    for cell in cells:
        cell["trunk"] = trunks.get(cell["run_id"])
        cell["branch"] = {"id": "shared", "step": 9, "start": 3}
    write_plan(sweep, {"sweep": "made up", "cells": cells})


def _attempt(run, ending, **status):
    lease = claim(run)
    RunDirectory(run, lease.check).update_status(**status)
    lease.release(ending, status.get("reason"))


def _states(sweep):
    return {each.cell["run_id"]: each.state for each in read_status(sweep)}


def test_each_way_to_stand(place):
    _plan(place, *"abcdefgh")
    _attempt(place / "a", Ending.DONE, state="done")
    _attempt(place / "b", Ending.DIVERGED, state="diverged", reason="the loss was not finite at step 3")
    _attempt(place / "c", Ending.MISTAKEN, state="failed", reason="no such corpus")
    _attempt(place / "d", Ending.CRASHED, state="failed", reason="ValueError: no")
    held = claim(place / "e")
    RunDirectory(place / "e", held.check).update_status(state="running", step=5, steps=10, tokens_per_second=7.0)
    _attempt(place / "f", Ending.PREEMPTED, state="saved", reason="stopped by a signal at step 4")
    cancel(place / "g")
    found = {each.cell["run_id"]: each for each in read_status(place)}
    states = ["done", "diverged", "failed", "queued", "running", "queued", "cancelled", "planned"]
    assert {run: each.state for run, each in found.items()} == dict(zip("abcdefgh", states, strict=True))
    assert found["c"].reason == "no such corpus"
    assert found["d"].is_ready  # a crash is tried again at once
    assert (found["e"].fraction, found["e"].seconds_left) == (0.5, pytest.approx(50 / 7))
    ended = datetime.fromisoformat(newest_lease(place / "f")[1]["ended"]).timestamp()
    assert found["f"].not_before == ended + 1  # a second after the first preemption
    assert exit_code(list(found.values())) is Exit.FAILED
    held.release(Ending.DONE)


def test_a_dead_workers_run_is_queued_and_its_lease_says_lost(place):
    _plan(place, "a")
    long_ago = {"host": "elsewhere", "boot": "", "pid": 1, "process_start": "1", "heartbeat": time.time() - 100, "tally": {}}
    RunDirectory(place / "a").update_status(state="running", step=5, steps=10)
    write_json(lease_path(place / "a", 1), long_ago)
    (found,) = read_status(place)
    assert (found.state, found.reason, found.is_ready) == ("queued", "its worker died", True)
    assert exit_code([found]) is Exit.SAVED


def test_a_branch_waits_for_its_trunk_and_no_longer(place):
    _plan(place, "trunk", "branch", branch="trunk")
    assert _states(place) == {"trunk": "planned", "branch": "waiting"}
    _attempt(place / "trunk", Ending.DONE, state="done")
    assert _states(place) == {"trunk": "done", "branch": "planned"}


def test_cancelling_and_retrying(place):
    _plan(place, "a", "done")
    _attempt(place / "done", Ending.DONE, state="done")
    assert not cancel(place / "done")
    assert not retry(place / "done")
    assert cancel(place / "a")
    assert _states(place) == {"a": "cancelled", "done": "done"}
    assert retry(place / "a")
    assert _states(place) == {"a": "planned", "done": "done"}
    held = claim(place / "a")
    with pytest.raises(ScalingError, match=r"a worker is training .* now"):
        retry(place / "a")
    assert not give_up(place / "a", Ending.CRASHED, "no")
    held.release(Ending.CRASHED)
    assert give_up(place / "a", Ending.CRASHED, "the engine ended it")
    assert _states(place)["a"] == "failed"  # its second crash


@pytest.mark.parametrize(("code", "state"), [(-9, "queued"), (-15, "queued"), (-11, "queued"), (1, "queued")])
def test_the_death_of_a_worker_counts_as_lost_if_it_was_killed_and_as_a_crash_if_not(place, code, state):
    _plan(place, "a")
    dead = {"host": "elsewhere", "boot": "", "pid": 77, "process_start": "1", "heartbeat": 0.0, "tally": {}}
    write_json(lease_path(place / "a", 1), dead)
    report_death(place / "a", 78, code, "log")  # another worker's
    report_death(place / "a", 77, code, "log")
    lease = claim(place / "a")
    assert lease.tally.get("crashed", 0) == (code in (-11, 1))
    assert lease.tally["lost"] == 1
    lease.release(Ending.DONE)


def test_of_many_runs_those_that_tell_most_are_shown(tmp_path):
    _plan(tmp_path, *(f"{number:03}" for number in range(300)))
    for number in (7, 250):
        _attempt(tmp_path / f"{number:03}", Ending.MISTAKEN, state="failed", reason="no")
    shown = most_telling(read_status(tmp_path), 10)
    assert [each.cell["run_id"] for each in shown] == ["000", "001", "002", "003", "004", "005", "006", "007", "008", "250"]


def test_what_is_no_sweep_is_refused(place):
    with pytest.raises(ScalingError, match=r"is not a sweep: it holds no plan\.json"):
        read_status(place)


def test_the_sweep_that_status_is_timed_on_stands_as_it_was_made(tmp_path):
    """40 runs on trunks of four; of ten, six are done, and one of each runs, was preempted, has failed and is planned."""
    make_sweep(tmp_path / "large", 40, tmp_path / "data")
    cells = read_status(tmp_path / "large")
    assert sum(each.cell["trunk"] is not None for each in cells) == 30
    found = Counter(each.status["state"] for each in cells)
    assert found == {"done": 24, "running": 4, "saved": 4, "failed": 4, "planned": 4}
    assert Counter(each.state for each in cells)["running"] == 4

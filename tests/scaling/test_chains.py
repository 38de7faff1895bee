"""What the runs of a trunk do while the one before them trains, when it has left its state, and when it fails."""

import os

import pytest

from scaling.errors import RecordError
from scaling.lease import claim
from scaling.policy import Ending
from scaling.record import RunDirectory
from scaling.sweeps.chains import awaited, record_divergence
from scaling.sweeps.requests import retry
from scaling.sweeps.status import failures, read_status
from scaling.sweeps.stored import write_plan
from scaling.trunks import Trunk, is_shared, share, shared_rows

TRUNK = Trunk("abc", 80)
CELL = {
    "run_id": "long",
    "role": "fit",
    "labels": {},
    "tokens": 10,
    "flops": 1.0,
    "facts": {"steps": 200},
    "trunk": "short",
    "branch": {"id": "abc", "step": 160, "start": 80},
}


@pytest.fixture
def sweep(tmp_path):
    for run in ("short", "long"):
        (tmp_path / run).mkdir()
    return tmp_path


def _short(sweep, **status):
    RunDirectory(sweep / "short").update_status(**status)


def _share(sweep):
    checkpoint = sweep / "short" / "checkpoints" / "80"
    (checkpoint / "default").mkdir(parents=True)
    (checkpoint / "default" / "state").write_bytes(bytes(range(100)))
    (checkpoint / "SHA256SUMS").write_text("sealed")
    share(TRUNK, sweep, checkpoint, '{"step": 80}\n')


def _states(sweep, *cells):
    cells = cells or (CELL,)
    write_plan(sweep, {"sweep": "s", "cells": [{**CELL, "run_id": "short", "trunk": None, "branch": None}, *cells]})
    return read_status(sweep)[1:]


def _state(sweep):
    return _states(sweep)[0].state


def test_a_run_waits_until_its_state_is_there_and_no_longer(sweep):
    assert awaited(sweep, {**CELL, "trunk": None, "branch": None}) is None
    for state in ("planned", "saved"):
        _short(sweep, state=state)
        assert awaited(sweep, CELL) == sweep / "short"
        assert _state(sweep) == "waiting"
    _share(sweep)
    assert awaited(sweep, CELL) is None
    assert _state(sweep) == "planned"


def test_a_run_with_a_state_of_its_own_waits_for_nothing(sweep):
    _short(sweep, state="planned")
    (sweep / "long" / "checkpoints" / "90").mkdir(parents=True)
    assert _state(sweep) == "planned"


def test_a_run_whose_trunk_is_done_but_gone_trains_it_again(sweep):
    _short(sweep, state="done")
    assert _state(sweep) == "planned"


def test_a_failed_trunk_fails_what_is_on_it_with_its_reason_until_it_has_a_new_chance(sweep):
    claim(sweep / "short").release(Ending.MISTAKEN, "no room")
    further = {**CELL, "run_id": "longer", "trunk": "long", "branch": {"id": "abc", "step": 320, "start": 160}}
    long, longer = _states(sweep, CELL, further)
    assert (long.state, long.reason) == ("failed", "its trunk, run short, failed: no room")
    assert longer.reason == "its trunk, run long, failed: its trunk, run short, failed: no room"
    assert "its trunk, run short, failed: no room" in failures(sweep, [long])[0]
    assert retry(sweep / "short")
    assert [each.state for each in _states(sweep, CELL, further)] == ["waiting", "waiting"]


def test_a_trunk_that_failed_behind_the_branch_fails_nothing(sweep):
    _share(sweep)
    claim(sweep / "short").release(Ending.MISTAKEN, "no room")
    assert _state(sweep) == "planned"


def test_a_trunk_that_diverged_is_the_beginning_of_its_branches_and_so_have_they(sweep):
    rows = '{"step": 10, "train_loss": 3.0}\n{"step": 20, "train_loss": 2.0}\n'
    (sweep / "short" / "curve.jsonl").write_text(rows)
    _short(sweep, state="diverged", reason="the loss was not finite at step 25", step=25, train_loss=2.0, steps=100)
    assert _state(sweep) == "diverged"
    record_divergence(sweep, CELL)
    status = RunDirectory(sweep / "long").status
    assert (status["state"], status["step"], status["steps"]) == ("diverged", 25, 200)
    assert "the loss was not finite at step 25" in status["reason"]
    assert (sweep / "long" / "curve.jsonl").read_text() == rows


def test_a_run_that_another_worker_holds_is_left_to_it(sweep):
    (sweep / "short" / "curve.jsonl").write_text("")
    _short(sweep, state="diverged", reason="the loss was not finite at step 25")
    lease = claim(sweep / "long")
    record_divergence(sweep, CELL)
    assert RunDirectory(sweep / "long").status["state"] == "planned"
    lease.release(Ending.LOST)
    record_divergence(sweep, CELL)
    assert RunDirectory(sweep / "long").status["state"] == "diverged"


def test_the_state_of_a_trunk_appears_once_and_whole(sweep, monkeypatch):
    def stopped(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("scaling.trunks._link", stopped)
        with pytest.raises(RecordError, match="cannot write"):
            _share(sweep)
    assert not is_shared(TRUNK, sweep)
    assert [path.name for path in TRUNK.home(sweep).iterdir()] == ["80.jsonl"]
    share(TRUNK, sweep, sweep / "short" / "checkpoints" / "80", "rows\n")
    assert is_shared(TRUNK, sweep)
    assert shared_rows(TRUNK, sweep, 80) == "rows\n"
    copied = TRUNK.home(sweep) / "80"
    assert (copied / "default" / "state").read_bytes() == bytes(range(100))
    assert os.path.samefile(copied / "default" / "state", sweep / "short" / "checkpoints" / "80" / "default" / "state")
    share(TRUNK, sweep, sweep / "nowhere", "others\n")  # it is there already
    assert shared_rows(TRUNK, sweep, 80) == "rows\n"


def test_a_file_system_without_links_gets_a_copy(sweep, monkeypatch):
    def refused(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refused)
    _share(sweep)
    assert (TRUNK.home(sweep) / "80" / "default" / "state").read_bytes() == bytes(range(100))

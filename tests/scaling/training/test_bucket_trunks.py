"""Trunks in a bucket: a branch leaves the record of the same run trained alone on disk, and a half copy is passed over."""

import pytest
from test_branches import WSD
from trainer import BATCH, LENGTH, Trainer

from scaling.errors import Exit
from scaling.record import RunDirectory
from scaling.stores import is_bucket, store_of
from scaling.stores.sealed import SEAL
from scaling.sweeps.chains import awaited, record_divergence
from scaling.sweeps.status import read_status
from scaling.sweeps.stored import write_plan
from scaling.trunks import is_shared, trunk_of


@pytest.fixture
def bucket(place):
    if not is_bucket(place):
        pytest.skip("a directory: test_branches.py and test_chains.py")
    return place


def _settings(steps):
    return (*WSD, f"training.tokens={steps * BATCH * LENGTH}")


def _rows(run):
    return [{**row, "seconds": None} for row in run.directory.rows()]


def test_a_branch_in_a_bucket_is_the_run_trained_alone_on_disk(bucket, dataset, tmp_path):
    alone = Trainer(tmp_path / "alone", dataset)
    trunk, branch, later = (Trainer(bucket / "sweep" / name, dataset) for name in ("short", "long", "later"))
    assert trunk(*_settings(16), crash_after=12) is None  # beyond the end of the trunk, whose state is there by then
    kept = trunk_of(trunk.specify(*_settings(16)))
    assert is_shared(kept, bucket / "sweep")
    assert trunk(*_settings(16)) is alone(*_settings(28)) is branch(*_settings(28)) is Exit.DONE
    assert _rows(branch) == _rows(alone)
    assert [step for _, step, _ in branch.seen] == list(range(11, 28))
    assert branch.directory.status["branched"] == 11

    home = kept.home(bucket / "sweep")
    store_of(home).remove(home / "11" / SEAL)  # as a copy that was cut off
    store_of(home).remove(home / "20")
    assert not is_shared(kept, bucket / "sweep")
    later(*_settings(29), stop_after=1)
    assert later.seen[0][1] == 0


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


def test_a_run_in_a_bucket_waits_for_its_trunk_and_diverges_with_it(bucket):
    write_plan(bucket, {"sweep": "s", "cells": [{**CELL, "run_id": "short", "trunk": None, "branch": None}, CELL]})
    short = RunDirectory(bucket / "short")
    short.update_status(state="saved")
    assert awaited(bucket, CELL) == bucket / "short"
    assert [each.state for each in read_status(bucket)] == ["queued", "waiting"]
    store = store_of(bucket)
    store.replace(bucket / "trunks" / "abc" / "80" / "data", b"half of it")
    assert read_status(bucket)[1].state == "waiting"
    store.replace(bucket / "trunks" / "abc" / "80" / SEAL, b"all of it")
    assert read_status(bucket)[1].state == "planned"
    store.remove(bucket / "trunks")
    short.append({"step": 10, "train_loss": 3.0})
    short.update_status(state="diverged", reason="the loss was not finite at step 25", step=25, steps=100)
    assert read_status(bucket)[1].state == "diverged"
    record_divergence(bucket, CELL)
    long = RunDirectory(bucket / "long")
    assert (long.status["state"], long.status["step"], long.status["steps"]) == ("diverged", 25, 200)
    assert long.rows() == [{"step": 10, "train_loss": 3.0}]


def test_a_worker_reads_the_runs_of_a_bucket_many_at_once_and_never_the_same_answer_twice(bucket, monkeypatch):
    """40 runs one after the other, as a worker asks: the first answer brings 32, and what was answered is asked for anew."""
    from scaling.sweeps import status

    runs = [f"{number:02}" for number in range(40)]
    write_plan(bucket, {"sweep": "s", "cells": [{**CELL, "run_id": run, "trunk": None, "branch": None} for run in runs]})
    asked = []
    read = status.read_cell
    monkeypatch.setattr(status, "read_cell", lambda sweep, cell: asked.append(cell["run_id"]) or read(sweep, cell))
    sweep = status.SweepStatus(bucket)
    assert {sweep.read_one(run).state for run in runs} == {"planned"}
    assert sorted(asked) == runs
    RunDirectory(bucket / "05").update_status(state="done")
    assert sweep.read_one("05").state == "done"
    assert asked.count("05") == 2
    monkeypatch.setattr(status, "FRESH_SECONDS", 0.0)
    asked.clear()
    sweep.read_one("06")
    assert asked[0] == "06"

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from scaling import lease as leases
from scaling.errors import RecordError
from scaling.lease import LostLease, claim, current_attempt, is_held, lease_path
from scaling.policy import Ending
from scaling.record import RunDirectory, read_json, write_json
from scaling.stores import store_of


def _claim_and_report(directory, barrier, queue):
    barrier.wait()
    lease = claim(directory)
    queue.put(None if lease is None else lease.attempt)
    barrier.wait()  # nobody dies, and so frees the lease, before everybody has tried


def _until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _from_elsewhere(age=0.0, **changes):
    """The lease of a worker on another machine."""
    holder = {"host": "elsewhere", "boot": "other", "pid": os.getpid(), "process_start": "1", "tally": {}}
    return {**holder, "heartbeat": time.time() - age, **changes}


def test_of_many_racing_workers_one_wins(tmp_path):
    context = multiprocessing.get_context("forkserver")
    barrier, queue = context.Barrier(8), context.Queue()
    workers = [context.Process(target=_claim_and_report, args=(tmp_path, barrier, queue)) for _ in range(8)]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=20) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(results, key=str) == [1] + [None] * 7


def test_of_many_racing_threads_one_wins_on_every_store(place):
    barrier, won = threading.Barrier(8), []

    def race():
        barrier.wait()
        won.append(claim(place / "run"))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (lease,) = [each for each in won if each is not None]
    assert lease.attempt == current_attempt(place / "run") == 1
    lease.release(Ending.DONE)


def test_a_held_run_is_refused_and_a_released_one_given_away(place):
    run = place / "run"
    first = claim(run)
    assert claim(run) is None
    assert is_held(run)
    first.release(Ending.PREEMPTED)
    assert not is_held(run)
    second = claim(run)
    assert (second.attempt, second.tally) == (2, {"preempted": 1})
    second.release(Ending.CRASHED)
    third = claim(run)
    assert third.tally == {"preempted": 1, "crashed": 1}
    third.release(Ending.RETRIED)
    fourth = claim(run)
    assert fourth.tally == {}
    fourth.release(Ending.DONE)


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    code = "import sys, time, pathlib; from scaling.lease import claim\n"
    code += "claim(pathlib.Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    lease = claim(tmp_path)
    assert (lease.attempt, lease.tally) == (2, {"lost": 1})
    lease.release(Ending.DONE)


@pytest.mark.parametrize(("age", "held"), [(1.0, True), (leases.STALE_SECONDS + 5, False)])
def test_on_another_machine_the_heartbeat_decides(place, age, held):
    write_json(lease_path(place, 1), _from_elsewhere(age))
    assert is_held(place) == held
    taken = claim(place)
    assert (taken is None) == held
    if taken:
        assert taken.tally == {"lost": 1}
        taken.release(Ending.DONE)


def test_a_holder_is_told_when_its_run_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    lost = []
    lease = claim(tmp_path, on_loss=lambda: lost.append(True))
    lease.keep()
    write_json(lease_path(tmp_path, 2), _from_elsewhere())
    _until(lambda: lost)
    with pytest.raises(LostLease, match="another worker has taken over"):
        lease.keep()
    lease.release(Ending.CRASHED)
    assert "released" not in read_json(lease_path(tmp_path, 1))
    assert current_attempt(tmp_path) == 2


def _write_everything(directory):
    """Each way to write to a run directory, by name."""
    return {
        "status": lambda: directory.update_status(state="running", step=9),
        "row": lambda: (directory.append({"step": 9}), directory.flush()),
        "truncation": lambda: directory.truncate(0),
        "file": lambda: directory.write("environment.json", {}),
    }


def test_every_write_after_the_loss_is_refused_though_no_heartbeat_has_told_of_it(place):
    run = place / "run"
    lease = claim(run)
    directory = RunDirectory(run, lease.check)
    directory.truncate(0)
    directory.append({"step": 1})
    directory.update_status(state="running", step=1)
    write_json(lease_path(run, 2), _from_elsewhere())
    before = {name: store_of(run).read(run / name) for name in ("status.json", "curve.jsonl", "environment.json")}
    for write in _write_everything(directory).values():
        with pytest.raises(LostLease):
            write()
    assert before == {name: store_of(run).read(run / name) for name in before}
    lease.release(Ending.CRASHED)


def test_a_write_that_was_under_way_at_the_loss_does_not_reach_the_new_holders_record(place):
    """The old holder asked just before the run was taken over, and writes just after: the worst moment there is."""
    run = place / "run"
    old = RunDirectory(run)  # its guard lets everything pass
    old.truncate(0)
    old.append({"step": 1})
    old.update_status(state="running", step=1, attempt=1)
    new = RunDirectory(run)
    new.truncate(0)
    new.append({"step": 1, "of": "new"})
    new.flush()
    new.update_status(state="done", step=2, attempt=2)

    def lost():
        raise LostLease

    checks = iter([None, lost])  # passes once; when the store refuses the write and it asks again, it knows
    old.guard = lambda: (next(checks) or (lambda: None))()
    old._put_status._guard = old.guard
    with pytest.raises(LostLease):
        old.update_status(state="running", step=3)
    assert new.status["state"] == "done"
    if hasattr(old._curve, "_put"):
        checks = iter([None, lost])
        old._curve._put._guard = lambda: (next(checks) or (lambda: None))()
        old._curve._content += b'{"step": 2}\n'
        with pytest.raises(LostLease):
            old._curve.flush()
    else:
        old._curve.append(b'{"step": 2}\n')  # to the file that has no name any more
    assert new.rows() == [{"step": 1, "of": "new"}]


def test_a_cancelled_run_is_found_by_its_holder_and_by_nobody_else(place, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    first, second = claim(place / "a"), claim(place / "b")
    write_json(place / "a" / leases.CANCEL, {})
    _until(lambda: first.cancelled)
    time.sleep(0.05)
    assert not second.cancelled
    first.release(Ending.CANCELLED)
    second.release(Ending.DONE)


def test_a_holder_outlives_a_disk_that_cannot_be_written_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    refused = []

    def refuse(path, content):
        refused.append(path)
        raise RecordError("cannot write")

    lease = claim(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "write_json", refuse)
        _until(lambda: len(refused) >= 3)
    path = lease_path(tmp_path, 1)
    before = json.loads(path.read_text())["heartbeat"]
    _until(lambda: json.loads(path.read_text())["heartbeat"] > before)
    lease.release(Ending.DONE)
    assert not is_held(tmp_path)

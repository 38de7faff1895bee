import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest

from scaling import lease as leases
from scaling.errors import RecordError
from scaling.lease import claim, current_attempt, is_held


def _claim_and_report(directory, barrier, queue):
    barrier.wait()
    lease = claim(directory, on_loss=lambda: None)
    queue.put(None if lease is None else lease.attempt)
    barrier.wait()  # nobody dies, and so frees the lease, before everybody has tried


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


def test_a_held_run_is_refused_and_a_released_one_given_away(tmp_path):
    first = claim(tmp_path, on_loss=lambda: None)
    assert claim(tmp_path, on_loss=lambda: None) is None
    assert is_held(tmp_path)
    first.release()
    assert not is_held(tmp_path)
    second = claim(tmp_path, on_loss=lambda: None)
    assert second.attempt == 2
    second.release()


def test_the_lease_of_a_killed_process_is_free_at_once(tmp_path):
    code = "import sys, time, pathlib; from scaling.lease import claim\n"
    code += "claim(pathlib.Path(sys.argv[1]), on_loss=lambda: None); print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        assert is_held(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
    lease = claim(tmp_path, on_loss=lambda: None)
    assert lease.attempt == 2
    lease.release()


@pytest.mark.parametrize(("age", "held"), [(1.0, True), (leases.STALE_SECONDS + 5, False)])
def test_on_another_machine_the_heartbeat_decides(tmp_path, age, held):
    (tmp_path / "leases").mkdir()
    holder = {"host": "elsewhere", "boot": "other", "pid": os.getpid(), "process_start": "1", "heartbeat": time.time() - age}
    (tmp_path / "leases" / "000001.json").write_text(json.dumps(holder))
    assert is_held(tmp_path) == held


def test_a_holder_is_told_when_its_run_was_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    lost = []
    claim(tmp_path, on_loss=lambda: lost.append(True))
    (tmp_path / "leases" / "000002.json").write_text("{}")
    deadline = time.monotonic() + 5
    while not lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert lost == [True]
    assert current_attempt(tmp_path) == 2


def test_a_holder_outlives_a_disk_that_cannot_be_written_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.01)
    refused = []

    def refuse(path, content):
        refused.append(path)
        raise RecordError("cannot write")

    lease = claim(tmp_path, on_loss=lambda: None)
    with monkeypatch.context() as patch:
        patch.setattr(leases, "write_json", refuse)
        deadline = time.monotonic() + 5
        while len(refused) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    path = tmp_path / "leases" / "000001.json"
    before = json.loads(path.read_text())["heartbeat"]
    deadline = time.monotonic() + 5
    while json.loads(path.read_text())["heartbeat"] == before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(refused) >= 3
    assert json.loads(path.read_text())["heartbeat"] > before
    lease.release()
    assert not is_held(tmp_path)

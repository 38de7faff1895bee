"""The same promises on every store: a directory, S3 (moto's server), Google Cloud Storage (gcs.py enforces generations)."""

import builtins
import errno
import fcntl
import os
import subprocess
import sys
import threading
import uuid

import buckets
import pytest

from scaling import stores
from scaling.errors import ScalingError
from scaling.stores import Conflict, locate, store_of, verify


@pytest.fixture
def bucket(gcs_server, monkeypatch):
    """A directory of the fake Google Cloud Storage."""
    for name, value in buckets.gcs_variables(gcs_server).items():
        monkeypatch.setenv(name, value)
    stores._bucket.cache_clear()
    return locate(f"gs://runs/{uuid.uuid4().hex}")


def test_a_file_is_created_once(place):
    store, path = store_of(place), place / "run" / "a.json"
    version = store.create(path, b"first")
    with pytest.raises(Conflict):
        store.create(path, b"second")
    assert store.read(path) == stores.Stored(b"first", version)


def test_a_swap_replaces_the_version_it_names_and_no_other(place):
    store, path = store_of(place), place / "a.json"
    first = store.create(path, b"1")
    second = store.swap(path, b"2", first)
    with pytest.raises(Conflict):
        store.swap(path, b"3", first)
    assert store.read(path).content == b"2"
    store.replace(path, b"4")
    with pytest.raises(Conflict):
        store.swap(path, b"5", second)
    store.remove(path)
    with pytest.raises(Conflict):
        store.swap(path, b"6", second)
    assert store.read(path) is None


def test_names_are_those_directly_below_and_removal_takes_all(place):
    store = store_of(place)
    for name in ("run/leases/000001.json", "run/leases/000002.json", "run/status.json", "run-2/x", "plan.json"):
        store.replace(place / name, b"")
    assert store.names(place) == ["plan.json", "run", "run-2"]
    assert store.names(place / "run") == ["leases", "status.json"]
    assert store.names(place / "run" / "leases") == ["000001.json", "000002.json"]
    assert store.names(place / "nothing") == []
    store.remove(place / "run")
    assert store.names(place) == ["plan.json", "run-2"]
    store.remove(place / "run")


def test_of_racing_creators_one_wins_and_of_racing_swappers_none_is_lost(place):
    store, barrier, won = store_of(place), threading.Barrier(8), []

    def race(number):
        barrier.wait()
        try:
            store.create(place / "once", str(number).encode())
            won.append(number)
        except Conflict:
            pass
        for _ in range(5):
            while True:
                present = store.read(place / "count")
                try:
                    store.swap(place / "count", str(int(present.content) + 1).encode(), present.version)
                    break
                except Conflict:
                    continue

    store.create(place / "count", b"0")
    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(number).encode() for number in won] == [store.read(place / "once").content]
    assert store.read(place / "count").content == b"40"


COUNT = """if True:
    import sys
    from pathlib import Path
    from scaling.stores import Conflict, store_of
    path = Path(sys.argv[1])
    for _ in range(100):
        while True:
            present = store_of(path).read(path)
            try:
                store_of(path).swap(path, str(int(present.content) + 1).encode(), present.version)
                break
            except Conflict:
                pass
"""

HOLD = """if True:
    import fcntl, os, sys, time
    fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)
    print("locked", flush=True)
    time.sleep(60)
"""


def test_swaps_of_several_processes_are_all_counted_and_a_killed_one_leaves_no_lock(tmp_path):
    path = tmp_path / "count"
    version = store_of(path).create(path, b"0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, path]) for _ in range(3)]
    assert [worker.wait(timeout=60) for worker in workers] == [0, 0, 0]
    assert path.read_bytes() == b"300"
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path / ".count.lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        holder.kill()
    with pytest.raises(Conflict):
        store_of(path).swap(path, b"301", version)


def test_a_write_whose_answer_was_lost_is_not_taken_for_another_writers(gcs_server, bucket):
    store = store_of(bucket)
    gcs_server.swallow_answers = 1  # the client sends it again, and is told that the name exists
    version = store.create(bucket / "a", b"mine")
    gcs_server.swallow_answers = 1
    version = store.swap(bucket / "a", b"mine too", version)
    assert store.read(bucket / "a") == stores.Stored(b"mine too", version)
    puts = [key for verb, key in gcs_server.requests if verb == "PUT" and key.endswith(f"{bucket.name}/a")]
    assert len(puts) == 4


def test_a_bucket_that_ignores_conditions_is_refused(gcs_server, bucket, monkeypatch):
    verify(bucket)
    monkeypatch.setattr(gcs_server, "enforces", False)
    with pytest.raises(ScalingError, match=r"gs://runs/.*does not refuse creating a name that exists: runs cannot be kept"):
        verify(bucket / "other")
    assert store_of(bucket).names(bucket / "other") == []


@pytest.mark.parametrize(("call", "module", "what"), [("link", os, "hard links"), ("flock", fcntl, "file locks")])
def test_a_file_system_without_the_primitive_is_refused_by_name(tmp_path, monkeypatch, call, module, what):
    store, path = store_of(tmp_path), tmp_path / "a"
    store.replace(path, b"1")

    def refuse(*_, **__):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(module, call, refuse)
    with pytest.raises(OSError, match=f"this file system has no {what}"):
        store.create(tmp_path / "b", b"1") if call == "link" else store.swap(path, b"2", store.read(path).version)
    assert path.read_bytes() == b"1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "az://container/runs",
            r"az://container/runs: runs can be kept in a directory, at gs:// or at s3://; of az:// it is not",
        ),
        ("memory://runs", r"memory://runs: runs can be kept"),
        ("gs://", r"gs:// names no bucket: write gs://BUCKET/runs"),
    ],
)
def test_another_kind_of_store_is_refused(text, message):
    with pytest.raises(ScalingError, match=message):
        locate(text)


def test_without_its_package_a_bucket_names_the_extra(monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] == "obstore":
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    stores._bucket.cache_clear()
    with pytest.raises(ScalingError, match=r"gs://some: runs in a bucket need obstore: pip install 'scaling-lab\[buckets\]'"):
        store_of(locate("gs://some/runs"))


def test_a_bucket_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    pytest.importorskip("obstore", reason="no obstore: s3:// is not tested")
    monkeypatch.setattr("scaling.stores.buckets.RETRIES", {"max_retries": 0})
    stores._bucket.cache_clear()
    place = locate("s3://nowhere/runs")
    with pytest.raises(OSError, match=r"^[^\n]+$"):
        store_of(place).read(place / "a")
    stores._bucket.cache_clear()

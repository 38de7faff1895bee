"""Checkpoints in a bucket: sealed last, checked on the way back, the newest two kept."""

import pytest
from trainer import Trainer

from scaling.errors import Exit, ScalingError
from scaling.stores import is_bucket, store_of
from scaling.training import processes
from scaling.training.checkpoints import SEAL, restore
from scaling.training.staging import check_location


@pytest.fixture
def bucket(place):
    if not is_bucket(place):
        pytest.skip("a directory: test_checkpoints.py")
    return place


def _steps(run):
    return [int(name) for name in store_of(run).names(run / "checkpoints")]


def test_a_run_goes_on_from_its_bucket_with_the_curve_of_an_undisturbed_one(bucket, trainer, dataset):
    undisturbed, run = trainer("undisturbed"), Trainer(bucket / "run", dataset)
    undisturbed()
    assert run(stop_after=7) is Exit.SAVED
    assert run(stop_after=7) is Exit.SAVED
    assert sorted(_steps(bucket / "run")) == [7, 14]
    assert run(crash_after=9) is None  # nothing is said of it in the bucket
    assert run() is Exit.DONE
    assert sorted(_steps(bucket / "run")) == [14, 40]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in run.directory.rows()]
    assert rows == undisturbed.rows


@pytest.mark.parametrize("damage", ["flipped", "unsealed", "incomplete"])
def test_a_damaged_step_is_found_and_the_one_before_it_is_used(bucket, dataset, damage):
    run, store = Trainer(bucket / "run", dataset), store_of(bucket)
    for _ in range(2):
        assert run(stop_after=7) is Exit.SAVED
    newest = bucket / "run" / "checkpoints" / "14"
    if damage == "unsealed":
        store.remove(newest / SEAL)
    else:
        largest = max(store.objects(newest), key=lambda each: each["size"])
        path = newest / largest["path"].partition("/14/")[2]
        content = bytearray(store.read(path).content)
        content[len(content) // 2] ^= 1
        store.replace(path, bytes(content)) if damage == "flipped" else store.remove(path)
    assert run() is Exit.DONE
    assert "the checkpoint of step 14 is damaged" in run.directory.status["warning"]
    assert run.seen[-1][1] == 39
    assert next(step for attempt, step, _ in run.seen if attempt == 3) == 7


def test_several_processes_cannot_share_a_bucket(bucket, monkeypatch):
    check_location(bucket)
    monkeypatch.setattr(processes, "several", lambda: True)
    with pytest.raises(ScalingError, match=r"is in a bucket, and each of several processes .*\(NFS, "):
        check_location(bucket)


def test_nothing_is_restored_from_an_empty_bucket(bucket):
    assert restore(bucket / "run" / "checkpoints", None) == (None, {})

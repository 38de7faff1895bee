import errno
import json
import os
from pathlib import Path

import pytest

from scaling.errors import RecordError, ScalingError
from scaling.record import RunDirectory, read_json, write_json
from scaling.stores import is_bucket, store_of


def test_a_torn_last_line_is_not_a_row_and_is_cut_off(tmp_path):
    directory = RunDirectory(tmp_path)
    for step in (10, 20, 30):
        directory.append({"step": step})
    with directory.curve_path.open("a") as file:
        file.write('{"step": 4')
    assert [row["step"] for row in directory.rows()] == [10, 20, 30]
    directory.truncate(20)
    assert directory.curve_path.read_text() == '{"step": 10}\n{"step": 20}\n'


def test_a_failed_write_leaves_the_old_content(tmp_path):
    write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(ValueError, match="nan"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert read_json(tmp_path / "a.json") == {"x": 1}


def test_status_is_replaced_field_by_field(tmp_path):
    directory = RunDirectory(tmp_path)
    assert directory.status == {"state": "planned"}
    directory.update_status(state="running", step=3)
    directory.update_status(step=4)
    status = directory.status
    assert (status["state"], status["step"]) == ("running", 4)
    assert json.dumps(status)


def test_another_identity_under_the_same_id_is_refused(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.create({"identity": {"seed": 0}})
    directory.create({"identity": {"seed": 0}})
    with pytest.raises(ScalingError, match="another identity"):
        directory.create({"identity": {"seed": 1}})


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ScalingError, match=r"cannot write .*a\.json: File exists"):
        write_json(tmp_path / "file" / "a.json", {})


@pytest.fixture
def broken_disk(monkeypatch):
    """(errno) -> from now on no new file can be written."""

    def break_it(number):
        def refuse(path, *_, **__):
            path.touch()  # a full disk still makes the empty file
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Path, "write_bytes", refuse)

    return break_it


def test_on_a_full_disk_the_status_is_written_over_its_own_block_and_nothing_is_left_behind(tmp_path, broken_disk):
    directory = RunDirectory(tmp_path)
    directory.update_status(state="running", step=3, reason="x" * 100)
    broken_disk(errno.ENOSPC)
    directory.update_status(state="failed", reason="full")
    status = directory.status
    assert (status["state"], status["step"], status["reason"]) == ("failed", 3, "full")
    with pytest.raises(RecordError, match=r"cannot write .*run\.json: No space left on device"):
        write_json(tmp_path / "run.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".status.json.lock", "status.json"]


def test_on_a_read_only_disk_the_status_is_an_error(tmp_path, broken_disk):
    directory = RunDirectory(tmp_path)
    directory.update_status(state="running")
    broken_disk(errno.EROFS)
    with pytest.raises(RecordError, match=r"status\.json: Read-only file system"):
        directory.update_status(state="failed")
    assert directory.status["state"] == "running"


def test_rows_and_status_come_back_from_every_store(place):
    directory = RunDirectory(place / "run")
    directory.create({"identity": {"seed": 0}})
    for step in (10, 20, 30):
        directory.append({"step": step})
    directory.update_status(state="running", step=30)
    again = RunDirectory(place / "run")
    assert [row["step"] for row in again.rows()] == [10, 20, 30]
    assert (again.status["state"], again.status["step"]) == ("running", 30)
    assert again.specification == {"identity": {"seed": 0}}
    again.truncate(20)
    again.append({"step": 25})
    again.flush()
    assert [row["step"] for row in RunDirectory(place / "run").rows()] == [10, 20, 25]


def test_a_bucket_is_written_now_and_then_and_at_every_change_of_state(place, monkeypatch):
    if not is_bucket(place):
        pytest.skip("a directory is written at once")
    directory = RunDirectory(place)
    directory.update_status(state="running", step=0)
    for step in range(1, 50):
        directory.append({"step": step})
        directory.update_status(step=step)
    assert RunDirectory(place).status["step"] == 0
    directory.update_status(state="done")
    assert RunDirectory(place).status["step"] == 49
    assert len(RunDirectory(place).rows()) == 49
    monkeypatch.setattr(type(store_of(place)), "seconds_between_writes", 0.0)
    directory.append({"step": 50})
    directory.update_status(step=50)
    assert (RunDirectory(place).status["step"], len(RunDirectory(place).rows())) == (50, 50)

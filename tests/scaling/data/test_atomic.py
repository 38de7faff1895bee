import errno
from pathlib import Path

import pytest

from scaling.data.atomic import WORK, new_directory, new_file, resumable_directory
from scaling.errors import ScalingError


def test_it_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_directory(tmp_path / "a" / "b") as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "file").write_text("x")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "inner" / "file").read_text() == "x"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def fail(directory: Path, error: Exception) -> None:
    with new_directory(directory) as partial:
        (partial / "file").write_text("x")
        raise error


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        fail(tmp_path / "a", KeyError())
    with pytest.raises(ScalingError, match=r"cannot prepare .*No space left"):
        fail(tmp_path / "a", OSError(errno.ENOSPC, "No space left on device"))
    assert not list(tmp_path.iterdir())


def test_the_first_of_two_stays(tmp_path: Path) -> None:
    with new_directory(tmp_path / "a") as slow:
        (slow / "file").write_text("slow")
        with new_directory(tmp_path / "a") as fast:
            (fast / "file").write_text("fast")
    assert (tmp_path / "a" / "file").read_text() == "fast"
    assert len(list(tmp_path.iterdir())) == 1


def fail_writing(path: Path) -> None:
    with new_file(path) as partial:
        partial.write_text("half")
        raise KeyError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as partial:
        partial.write_text("new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_text() == "new"
    with pytest.raises(KeyError):
        fail_writing(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def filled(path: Path, error: Exception | None = None) -> list[str]:
    """What the block found; it adds a file and then fails with the error."""
    with resumable_directory(path) as partial:
        found = sorted(each.name for each in partial.iterdir())
        (partial / WORK).mkdir(exist_ok=True)
        (partial / f"file{len(found)}").write_text("x")
        (partial / ".abandoned").write_text("half")
        if error:
            raise error
    return found


def test_a_directory_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with pytest.raises(ScalingError, match=r"cannot prepare .*No space left.*what is done is kept"):
        filled(path, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        filled(path, KeyboardInterrupt())
    assert not path.exists()
    assert filled(path) == [".abandoned", "file0", "file3", "work"]
    assert sorted(each.name for each in path.iterdir()) == ["file0", "file3", "file4"]
    with pytest.raises(ScalingError, match="a mistake"):
        filled(tmp_path / "other", ScalingError("a mistake"))
    assert [each.name for each in tmp_path.iterdir()] == ["made"]


def test_a_directory_that_another_process_made_meanwhile_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with resumable_directory(path) as slow:
        with resumable_directory(path) as fast:
            (fast / "file").write_text("fast")
        (slow / "file").write_text("slow")
    assert (path / "file").read_text() == "fast"

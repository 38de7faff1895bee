"""Disks that fill up or cannot be written, for real: a small file system of its own, and a limit on the size of files."""

import signal
import subprocess
import time

import pytest
from small_disk import small_disk

from scaling.errors import Exit


@pytest.fixture
def disk(lab):
    """A file system of 8 MB in `runs`."""
    with small_disk(lab.path / "runs", "8m") as disk:
        yield disk


def _long_run(lab):
    return lab.run_file(training={"tokens": 1024 * 500}, execution={"checkpoint_every_seconds": 0.3})


def test_a_disk_that_fills_up_stops_the_run_with_its_last_good_state(lab, disk):
    config = _long_run(lab)
    lab("train", config, "--runs", "undisturbed")
    process = lab.start("train", config)
    while not list(disk.glob("*/*/checkpoints/*/SHA256SUMS")):
        assert process.poll() is None, lab.output.read_text()
        time.sleep(0.01)
    with (disk / "other").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(1024))
        except OSError:
            pass
    assert process.wait(timeout=300) == Exit.FAILED, lab.output.read_text()
    status = lab.status()
    assert status["state"] == "failed"
    assert "No space left on device" in status["reason"]
    assert not list(disk.glob("*/*/checkpoints/*tmp*"))
    (directory,) = disk.glob("*/*/checkpoints")
    newest = directory / str(status["checkpoint"])
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=newest, check=True)

    (disk / "other").unlink()
    lab("train", config)
    assert lab.status()["state"] == "done"
    assert lab.rows() == lab.rows("undisturbed")


def test_a_read_only_disk_is_refused_in_one_line_and_keeps_what_it_holds(lab, disk):
    config = _long_run(lab)
    process = lab.start("train", config)
    while not list(disk.glob("*/*/checkpoints/*/SHA256SUMS")):
        assert process.poll() is None, lab.output.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == Exit.SAVED
    saved = lab.status()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    refused = lab("train", config, check=False)
    assert refused.returncode == Exit.USAGE
    assert "Traceback" not in refused.stderr
    assert refused.stderr.strip().endswith("Read-only file system")
    assert lab.status() == saved
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    lab("train", config)
    assert lab.status()["state"] == "done"


def test_a_state_that_cannot_be_written_stops_the_run_and_says_why(lab):
    """Files of at most 100 kB: the record fits, the data of a checkpoint does not."""
    config = lab.run_file(execution={"checkpoint_every_seconds": 0})
    lab("train", config, "--runs", "elsewhere")  # prepares the data and compiles, in larger files
    process = subprocess.run(
        ["bash", "-c", 'ulimit -f 97; exec "$@"', "limited", *lab.command("train", config)],  # blocks of 1,024 bytes
        cwd=lab.path,
        env=lab.environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert process.returncode == Exit.FAILED, process.stdout + process.stderr
    status = lab.status()
    assert status["state"] == "failed"
    assert status["reason"].startswith("the state after step 1 could not be saved: ")
    assert "File too large" in status["reason"]
    assert status["checkpoint"] is None
    assert not list(lab.path.glob("runs/*/*/checkpoints/*"))

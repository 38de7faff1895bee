"""A sweep that goes on by itself: started from a terminal that is gone at once, refused twice, and stopped."""

import os
import re
import signal
import subprocess
import time

import pytest

from scaling.errors import Exit, ScalingError
from scaling.sweeps.detached import start


def _write(lab, **changes):
    base = {
        "model": {"width": 16, "layers": 1, "heads": 1},
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "training": {"tokens": "100M", "batch_tokens": 512, **changes},
        "optimizer": {"learning_rate": "4e-3"},
        "execution": {"cache_directory": str(lab.cache), "log_every": 10, "evaluations": 2, "checkpoint_every_seconds": 600},
    }
    return lab.write(
        "alone.yaml", {"name": "alone", "base": {**base, "data": {**base["data"], "max_epochs": 100}}, "axes": {"seed": [0]}}
    )


def _wait(condition, log):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)


def _is_alive(pid):
    """Of a process whose parent is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_detached_sweep_outlives_its_terminal_and_is_stopped_with_its_state_saved(lab):
    config, log = _write(lab), lab.path / "runs/alone/logs/submission.txt"
    command = lab.command("sweep", config, "--detach")
    with subprocess.Popen(
        command, cwd=lab.path, env=lab.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as terminal:
        said = terminal.stdout.read()
        assert terminal.wait(timeout=120) == Exit.DONE
    pid = int(re.search(r"process (\d+) goes on", said)[1])
    assert os.getsid(pid) == pid != terminal.pid  # what a closing terminal signals is the session of its shell
    assert "scaling cancel runs/alone" in said
    assert str(log.relative_to(lab.path)) in said
    _wait(lambda: list(lab.path.glob("runs/alone/*/curve.jsonl")), log)
    with pytest.raises(ScalingError, match="runs/alone is being submitted by a detached process"):
        start(lab.path / "runs/alone", ["--help"])
    os.kill(pid, signal.SIGTERM)
    _wait(lambda: not _is_alive(pid), log)
    status = lab.status()
    assert (status["state"], status["checkpoint"] == status["step"] > 0) == ("saved", True)
    assert "the same command goes on" in log.read_text()


def test_what_cannot_be_trained_is_said_before_anything_is_detached(lab):
    refused = lab("sweep", _write(lab, batch_tokens=500), "--detach", check=False)
    assert refused.returncode == Exit.USAGE
    assert "batch_tokens" in refused.stderr
    both = lab("sweep", _write(lab), "--detach", "--dry-run", check=False)
    assert both.stderr == "error: --detach trains and --dry-run does not; leave one out\n"
    assert not (lab.path / "runs").exists()

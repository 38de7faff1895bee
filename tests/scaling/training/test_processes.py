"""Runs over several real processes on this machine: the same curve, one record, stopped together, resumed on another mesh."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from scaling.errors import Exit, ScalingError
from scaling.record import RunDirectory
from scaling.training import processes

RUN = {
    "model": {"width": 16, "layers": 1, "heads": 2},
    "data": {"sequence_length": 16, "validation_tokens": 512, "max_epochs": 10},
    "training": {"tokens": 20 * 256, "batch_tokens": 256},
    "optimizer": {"learning_rate": 0.001},
    "execution": {"log_every": 1, "evaluations": 2, "mesh": {"data": 4, "fsdp": 2}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), size=rng.integers(2, 7))) for _ in range(50)]
    documents = [{"text": " ".join(rng.choice(words, size=60))} for _ in range(60)]
    (path / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def _start(folder, name, count, *assignments):
    """`count` processes with eight devices between them, all told to train the run `name`."""
    (folder / "run.yaml").write_text(yaml.safe_dump(RUN))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={8 // count}"}
    data = f"data.corpus=files:{folder}/corpus.jsonl"
    command = [sys.executable, "-m", "scaling", "train", str(folder / "run.yaml"), data, *assignments]
    command += [f"execution.cache_directory={folder}/cache", "--runs", str(folder / name)]
    joined = ["--coordinator", coordinator, "--processes", str(count), "--process-id"]
    started = []
    for index in range(count):
        with (folder / f"{name}.{index}.txt").open("a") as log:
            of_several = [*joined, str(index)] if count > 1 else []
            started.append(subprocess.Popen([*command, *of_several], env=environment, stdout=log, stderr=log))
    return started


def _end(started, expected=Exit.DONE):
    assert [process.wait(timeout=500) for process in started] == [expected] * len(started)


def _directory(folder, name):
    (path,) = (folder / name / "run").iterdir()
    return RunDirectory(path)


def _curve(folder, name):
    rows = _directory(folder, name).rows()
    assert [row["step"] for row in rows] == list(range(1, 21))
    return np.array([[row["train_loss"], row["gradient_norm"], row["loss"] or 0.0] for row in rows])


@pytest.mark.slow
def test_the_curve_is_the_same_for_one_two_and_four_processes_with_eight_devices(folder):
    curves = []
    for count in (1, 2, 4):
        _end(_start(folder, f"of-{count}", count))
        curves.append(_curve(folder, f"of-{count}"))
        assert _directory(folder, f"of-{count}").status["state"] == "done"
        leases = list((_directory(folder, f"of-{count}").path / "leases").iterdir())
        assert len(leases) == 1
        (events,) = (_directory(folder, f"of-{count}").path / "tensorboard").iterdir()
        assert events.stat().st_size > 0
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-5)
    np.testing.assert_allclose(curves[2], curves[0], rtol=1e-5)


@pytest.mark.slow
def test_a_signal_to_one_process_saves_all_at_the_same_step_and_another_layout_goes_on(folder):
    """No row is lost, doubled or different after a change of process count, mesh, micro-batch, remat and scan."""
    tokens = f"training.tokens={400 * 256}"
    started = _start(folder, "stopped", 2, tokens)
    deadline = time.monotonic() + 300
    while not list((folder / "stopped").glob("run/*/curve.jsonl")) or len(_directory(folder, "stopped").rows()) < 5:
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in started)
        time.sleep(0.02)
    started[1].send_signal(signal.SIGTERM)
    _end(started, Exit.SAVED)
    status = _directory(folder, "stopped").status
    assert status["state"] == "saved"
    assert 5 <= status["step"] < 400
    execution = ["execution.mesh={data: 1, fsdp: 2, tensor: 2, replica: 2}", "execution.micro_batch=8"]
    execution += ["execution.remat=full", "execution.scan_layers=true"]
    _end(_start(folder, "stopped", 1, tokens, *execution))
    rows = _directory(folder, "stopped").rows()
    assert [row["step"] for row in rows] == list(range(1, 401))
    _end(_start(folder, "unstopped", 1, tokens))
    expected = _directory(folder, "unstopped").rows()
    for column in ("train_loss", "gradient_norm"):
        np.testing.assert_allclose([row[column] for row in rows], [row[column] for row in expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (("127.0.0.1:1", None, 0), "--processes must be stated too"),
        ((None, 2, None), "--coordinator and --process-id must be stated too"),
        ((None, None, None), "finds no Slurm step, Kubernetes job or TPU slice"),
    ],
)
def test_what_is_missing_to_join_others_is_one_clear_line(stated, message):
    with pytest.raises(ScalingError, match=message):
        processes.join(*stated)


def test_one_process_decides_for_itself_and_is_the_first():
    assert processes.decide(lambda: 3) == 3
    assert processes.is_first()

"""Runs in a bucket leave what runs in a directory leave: trained, killed, gone on with, watched, cancelled and read."""

import json
import signal
import time
import uuid

import buckets
import pytest

from analysis import curves
from analysis.curves.paths import as_path
from scaling import stores
from scaling.errors import Exit
from scaling.lease import current_attempt
from scaling.record import RunDirectory, read_json
from scaling.stores import locate, store_of


@pytest.fixture(params=["gs", "s3"])
def cloud(request, lab, monkeypatch):
    """A directory of runs in a bucket, which the command and this process can reach."""
    if request.param == "s3":
        variables = request.getfixturevalue("s3_variables")
    else:
        variables = buckets.gcs_variables(request.getfixturevalue("gcs_server"))
    lab.environment |= variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stores._bucket.cache_clear()
    return locate(f"{request.param}://runs/{uuid.uuid4().hex}")


def _run(place):
    """The directory of the one run of the one sweep in a place."""
    (sweep,) = store_of(place).names(place)
    (run,) = [name for name in store_of(place).names(place / sweep) if not name.startswith(".")]
    return place / sweep / run


def _rows(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in RunDirectory(run).rows()]


def test_a_run_in_a_bucket_survives_sigterm_and_sigkill_with_the_curve_of_one_on_disk(lab, cloud):
    config = lab.run_file(training={"tokens": 1024 * 300}, execution={"checkpoint_every_seconds": 1})
    lab("train", config, "execution.checkpoint_every_seconds=600", "--runs", "local")
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = lab.start("train", config, "--runs", str(cloud))
        before = read_json(_run(cloud) / "status.json")["checkpoint"] if number == signal.SIGKILL else 0
        deadline = time.monotonic() + 120
        while not _sealed(cloud, beyond=before):
            assert process.poll() is None, lab.output.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(number)
        assert process.wait(timeout=120) == (Exit.SAVED if number == signal.SIGTERM else -signal.SIGKILL), (
            lab.output.read_text()
        )
    run = _run(cloud)
    assert current_attempt(run) == 2
    assert "done at step 300 of 300" in lab("train", str(run)).stdout
    assert _rows(run) == lab.rows("local")
    status = RunDirectory(run).status
    assert (status["state"], status["attempt"], status["checkpoint"]) == ("done", 3, 300)
    kept = store_of(run).names(run / "checkpoints")
    assert len(kept) == 2
    assert "300" in kept
    for step in kept:
        assert "SHA256SUMS" in store_of(run).names(run / "checkpoints" / step)
    lab("export", str(run), "exported")
    assert (lab.path / "exported" / "model.safetensors").exists()


def _sealed(place, beyond):
    store = store_of(place)
    runs = [name for sweep in store.names(place) for name in store.names(place / sweep) if not name.startswith(".")]
    if not runs:  # what is there so far is a probe
        return False
    run = _run(place)
    steps = [int(step) for step in store.names(run / "checkpoints")]
    return any(step > beyond and "SHA256SUMS" in store.names(run / "checkpoints" / str(step)) for step in steps)


def test_a_sweep_in_a_bucket_is_trained_shown_and_read_by_the_analysis(lab, cloud):
    sweep = {
        "name": "small",
        "base": {
            "model": {"width": 16, "layers": 1, "heads": 1},
            "data": {"sequence_length": 64, "validation_tokens": "4k"},
            "training": {"tokens": "20k", "batch_tokens": 512},
            "optimizer": {"learning_rate": "4e-3"},
            "schedule": {"kind": "wsd", "warmup_tokens": "2k"},
            "execution": {"cache_directory": str(lab.cache), "log_every": 10, "evaluations": 2},
        },
        "axes": {"training.tokens": ["10k", "20k"]},
    }
    config = lab.write("small.yaml", sweep)
    lab("sweep", config, "--runs", "local")
    done = lab("sweep", config, "--runs", str(cloud))
    assert "2 runs: 2 done" in lab("status", f"{cloud}/small").stdout
    assert "2 done, 0 to train" in lab("sweep", config, "--runs", str(cloud)).stdout
    runs = [each["run_id"] for each in json.loads(lab("status", f"{cloud}/small", "--json").stdout)["runs"]]
    for run in runs:
        assert _rows(cloud / "small" / run) == _rows(lab.path / "local/small" / run), done.stdout
    branched = [RunDirectory(cloud / "small" / run).status.get("branched") for run in runs]
    assert branched == [None, 14]  # 19 steps, of which the last fifth decays: 15 at the constant rate, and one less
    assert lab("logs", f"{cloud}/small/{runs[0]}").returncode == Exit.DONE
    if str(cloud).startswith("s3"):  # the fake Google Cloud Storage does not speak the interface that gcsfs uses
        pytest.importorskip("s3fs", reason="no s3fs: reading curves from s3:// is not tested")
        read, local = curves.read(f"{cloud}/small"), curves.read(lab.path / "local/small")
        assert read.drop(columns="seconds").equals(local.drop(columns="seconds"))


def test_curves_that_came_after_a_first_look_are_read(s3_variables, monkeypatch):
    """A watcher and a notebook live longer than a listing."""
    pytest.importorskip("s3fs", reason="no s3fs: reading curves from s3:// is not tested")
    for name, value in s3_variables.items():
        monkeypatch.setenv(name, value)
    stores._bucket.cache_clear()
    place = locate(f"s3://runs/{uuid.uuid4().hex}")
    table = b"parameters,tokens,loss\n1000,2000,3.5\n"
    for name in ("first", "second"):
        store_of(place).replace(place / f"{name}.csv", table)
        assert f"{name}.csv" in [each.name for each in as_path(str(place)).iterdir()]
        assert curves.read(f"{place}/{name}.csv")["loss"].tolist() == [3.5]

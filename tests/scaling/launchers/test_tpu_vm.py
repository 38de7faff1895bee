"""The Cloud TPU launcher through the real `gcloud`, against a small API on this machine; what it renders needs no gcloud."""

import os
import shlex
import shutil
import subprocess
import time

import pytest
from cells import cell
from fake_tpu_api import FakeTpuApi

from scaling.errors import ScalingError
from scaling.lease import claim
from scaling.policy import Ending
from scaling.record import RunDirectory
from scaling.sweeps.launchers.launcher import open_launcher
from scaling.sweeps.submission import Submission

FIELDS = {
    "project": "p",
    "zone": "us-east5-b",
    "slices": ["v6e:1x1", "v6e:4x4"],
    "runs": "/mnt/runs",
    "setup": ["pip install 'jax[tpu]'"],
    "service_account": "trainer@p.iam.gserviceaccount.com",
    "valid_hours": 6,
}


def _open(sweep, **fields):
    return open_launcher("tpu-vm", sweep, {"tpu-vm": {**FIELDS, **fields}})


@pytest.fixture
def api(tmp_path, monkeypatch):
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud is not on this machine")
    fake = FakeTpuApi()
    for name, value in {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "true",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "true",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_TPU": f"{fake.url}/",
    }.items():
        monkeypatch.setenv(name, value)
    yield fake
    fake.close()


@pytest.mark.slow
def test_a_request_has_what_the_api_wants_is_made_once_and_can_be_cancelled(api, tmp_path):
    launcher = _open(tmp_path / "sweep-1")
    cells = [cell("aaaaaaaaaaaa", fsdp=16)]
    launcher.submit(cells)
    made = api.resources["sweep-1-aaaaaaaaaaaa"]
    (spec,) = made["tpu"]["nodeSpec"]
    node = spec["node"]
    assert (node["acceleratorType"], node["runtimeVersion"]) == ("v6e-16", "v2-alpha-tpuv6e")
    assert node["labels"] == {"sweep": "sweep-1", "run": "aaaaaaaaaaaa"}
    assert node["serviceAccount"]["email"] == "trainer@p.iam.gserviceaccount.com"
    assert made["spot"] == {}
    assert made["queueingPolicy"] == {"validUntilDuration": "21600s"}
    script = node["metadata"]["startup-script"]
    assert "pip install 'jax[tpu]'\n" in script
    assert "scaling train /mnt/runs/sweep-1/aaaaaaaaaaaa --distributed" in script
    launcher.submit(cells)  # another submitter that did not know: the name is the key
    assert len(api.resources) == 1
    report = launcher.poll()["aaaaaaaaaaaa"]
    assert (report.phase, report.reason) == ("queued", "waiting for resources")
    assert _open(tmp_path / "other").poll() == {}
    launcher.cancel(["aaaaaaaaaaaa", "bbbbbbbbbbbb"])
    assert api.resources == {}


@pytest.mark.slow
def test_what_was_suspended_is_deleted_and_asked_for_again_and_what_idles_is_deleted(api, tmp_path):
    launcher, cells = _open(tmp_path / "s"), [cell("aaaaaaaaaaaa")]
    submission = Submission(launcher, launcher.sweep, cells)
    name = "s-aaaaaaaaaaaa"
    api.set_state(name, "ACTIVE")
    submission.poll()
    assert submission.reports["aaaaaaaaaaaa"].phase == "running"
    api.set_state(name, "SUSPENDED")
    submission.poll()
    assert api.deleted == [name]
    assert api.resources[name]["state"]["state"] == "WAITING_FOR_RESOURCES"
    api.set_state(name, "ACTIVE")
    RunDirectory(launcher.sweep / "aaaaaaaaaaaa").update_status(state="done")
    submission.poll()
    assert submission.finished
    assert api.resources == {}


@pytest.mark.slow
def test_a_worker_that_died_on_machines_that_stay_is_asked_for_again(api, tmp_path):
    launcher = _open(tmp_path / "s")
    submission = Submission(launcher, launcher.sweep, [cell("aaaaaaaaaaaa")])
    name, run = "s-aaaaaaaaaaaa", launcher.sweep / "aaaaaaaaaaaa"
    api.set_state(name, "ACTIVE")
    RunDirectory(run).update_status(state="running")
    claim(run).release(Ending.LOST)
    submission.poll()
    assert submission.reports["aaaaaaaaaaaa"].reason == f"its worker on {name} died"
    assert api.deleted == [name]
    time.sleep(1.1)  # the first pause of the policy
    submission.poll()
    assert api.resources[name]["state"]["state"] == "WAITING_FOR_RESOURCES"


def test_a_dry_run_is_the_commands_with_their_startup_scripts(tmp_path):
    text = _open(tmp_path / "s", capacity="reserved").render([cell("aaaaaaaaaaaa", fsdp=16)])
    command, _, script = text.partition("\n# STARTUP_SCRIPT\n")
    words = shlex.split(command)
    assert words[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", "s-aaaaaaaaaaaa"]
    assert {"--reserved", "--accelerator-type=v6e-16", "--zone=us-east5-b"} <= set(words)
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("slice_name", "accelerator"),
    [("v4:4x4x4", "v4-128"), ("v5p:2x2x1", "v5p-8"), ("v5e:4x4", "v5litepod-16"), ("v6e:2x4", "v6e-8")],
)
def test_an_accelerator_type_counts_cores_of_v4_and_v5p_and_chips_of_the_others(tmp_path, slice_name, accelerator):
    """docs.cloud.google.com/tpu/docs/v4, v5p, v5e, v6e: two TensorCores a chip of the former."""
    launcher = _open(tmp_path / "s", slices=[slice_name])
    devices = {"v4:4x4x4": 64, "v5p:2x2x1": 4, "v5e:4x4": 16, "v6e:2x4": 8}[slice_name]
    assert f"--accelerator-type={accelerator}" in launcher.render([cell(data=devices)])


def test_the_startup_script_starts_again_only_what_saved(tmp_path):
    """With a stand-in for python3 that ends with the next of some codes each time."""
    script = _open(tmp_path / "s", setup=["cd $HOME"]).render([cell("aaaaaaaaaaaa")]).partition("# STARTUP_SCRIPT\n")[2]
    (tmp_path / "python3").write_text(
        '#!/bin/bash\nread code rest < codes; echo "$rest" > codes; echo x >> starts; exit $code\n'
    )
    (tmp_path / "sleep").write_text("#!/bin/bash\n")
    for name in ("python3", "sleep"):
        (tmp_path / name).chmod(0o755)
    for codes, starts in (("0", 1), ("75 75 0", 3), ("3", 1), ("75 2 0", 2), ("1", 1)):
        (tmp_path / "codes").write_text(f"{codes}\n")
        (tmp_path / "starts").unlink(missing_ok=True)
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        subprocess.run(["bash"], input=script, text=True, env=environment, check=False)
        assert (tmp_path / "starts").read_text().count("x") == starts, codes


def test_what_cannot_be_had_is_said(tmp_path, monkeypatch):
    with pytest.raises(ScalingError, match="v7x:2x2x1 is only to be had through GKE: --launcher kubernetes"):
        _open(tmp_path, slices=["v7x:2x2x1"])
    with pytest.raises(ScalingError, match=r"resources.tpu-vm: runs: .*got 'bucket/runs'"):
        _open(tmp_path, runs="bucket/runs")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScalingError, match="needs gcloud: install the Google Cloud CLI"):
        _open(tmp_path).poll()


def test_a_refusal_names_what_was_asked_for_before_it(tmp_path, monkeypatch):
    """A `gcloud` that refuses the second run in the words of the real one."""
    stand_in = tmp_path / "gcloud"
    stand_in.write_text(
        """#!/bin/sh
        case "$*" in
            *" list "*) echo "[]" ;;
            *bbbbbbbbbbbb*) echo "ERROR: (gcloud.compute.tpus) RESOURCE_EXHAUSTED: Quota limit" >&2; exit 1 ;;
        esac
        """
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launcher = _open(tmp_path / "s")
    with pytest.raises(ScalingError, match=r"gcloud failed: .*Quota limit; submitted before it: s-aaaaaaaaaaaa$"):
        launcher.submit([cell("aaaaaaaaaaaa"), cell("bbbbbbbbbbbb"), cell("cccccccccccc")])
    with pytest.raises(ScalingError, match=r"Quota limit; nothing was submitted$"):
        launcher.submit([cell("bbbbbbbbbbbb")])

"""The manifests against the published schema, beside xpk's, and what each exit code does by the rules of both controllers."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from cells import cell

from scaling.config import build
from scaling.sweeps.launchers.launcher import open_launcher
from scaling.sweeps.launchers.manifests import KubernetesConfig, job_name, job_set
from scaling.sweeps.launchers.topologies import read_slice

FIELDS = {"image": "registry/lab:1", "slices": ["v5e:4x4", "v6e:4x4"], "runs": "/mnt/runs", "queue": "multislice-queue"}
FULL = {**FIELDS, "spot": True, "volume": "filestore", "runs": "/runs", "priority": "low", "service_account": "trainer"}


def _manifest(place="v6e:4x4", run=None, **fields):
    return job_set(run or cell(fsdp=16), Path("runs/my.Sweep"), read_slice(place), build(KubernetesConfig, fields or FIELDS))


def _job(manifest):
    (replicated,) = manifest["spec"]["replicatedJobs"]
    return replicated["template"]["spec"]


@pytest.mark.parametrize("fields", [FIELDS, FULL])
@pytest.mark.parametrize("place", ["v5e:1x1", "v6e:4x4", "v5p:4x4x4", "v7x:2x2x1"])
def test_a_manifest_is_what_the_published_schema_reads_to_the_last_key(fields, place):
    """The models are generated from the OpenAPI of JobSet and Kubernetes; they drop a key that they do not know: a round trip
    finds every misspelt one."""
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    manifest = _manifest(place, **fields)
    assert models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict() == manifest


def test_a_misspelt_key_would_be_found():
    models = pytest.importorskip("kubeflow_trainer_api.models", reason="kubeflow-trainer-api is not installed")
    manifest = _manifest()
    _job(manifest)["podFailurePolicies"] = _job(manifest).pop("podFailurePolicy")
    assert models.JobsetV1alpha2JobSet.from_dict(manifest).to_dict() != manifest


def test_a_slice_becomes_a_pod_for_each_host_with_all_its_chips():
    manifest = _manifest("v6e:4x4")
    job = _job(manifest)
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert (job["parallelism"], job["completions"]) == (4, 4)
    assert container["resources"]["limits"] == {"google.com/tpu": 4}
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v6e-slice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    assert container["command"][-2:] == ["/mnt/runs/my.Sweep/0123456789ab", "--distributed"]
    assert manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "multislice-queue"
    alone = _job(_manifest("v5e:1x1", run=cell()))
    assert alone["parallelism"] == 1
    assert "--distributed" not in alone["template"]["spec"]["containers"][0]["command"]


def test_spot_slices_save_within_what_gke_leaves_them():
    pod = _job(_manifest(**FULL))["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-spot"] == "true"
    assert pod["terminationGracePeriodSeconds"] == 15
    assert pod["containers"][0]["volumeMounts"] == [{"name": "runs", "mountPath": "/runs"}]
    assert pod["containers"][0]["command"][-2] == "/runs/my.Sweep/0123456789ab"


def _fate(manifest, code=None, disrupted=False):
    """What the two controllers do with a pod's end.

    batch/v1: the first rule of `podFailurePolicy` that matches decides; FailJob is reason PodFailurePolicy, and its message is
    that of kubernetes/pkg/controller/job/pod_failure_policy.go. None with backoffLimit 0 is BackoffLimitExceeded. jobset: the
    first rule of `failurePolicy` whose reasons and message patterns (RE2) match, else RestartJobSet.
    """
    job = _job(manifest)
    reason, message = "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    for index, rule in enumerate(job["podFailurePolicy"]["rules"]):
        if "onExitCodes" in rule and code in rule["onExitCodes"]["values"]:
            container = rule["onExitCodes"]["containerName"]
            reason = "PodFailurePolicy"
            message = (
                f"Container {container} for pod default/p failed with exit code {code} matching FailJob rule at index {index}"
            )
            break
        if "onPodConditions" in rule and disrupted:
            reason = "PodFailurePolicy"
            message = f"Pod default/p has condition DisruptionTarget matching FailJob rule at index {index}"
            break
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        patterns = rule.get("onJobFailureMessagePatterns", [])
        if reason in rule["onJobFailureReasons"] and (not patterns or any(re.search(each, message) for each in patterns)):
            return rule["action"]
    return "RestartJobSet"


def test_only_a_crash_uses_up_a_restart():
    manifest = _manifest()
    assert _fate(manifest, 75) == "RestartJobSetAndIgnoreMaxRestarts"
    assert _fate(manifest, 137, disrupted=True) == "RestartJobSetAndIgnoreMaxRestarts"
    assert [_fate(manifest, code) for code in (2, 3, 4)] == ["FailJobSet"] * 3
    assert [_fate(manifest, code) for code in (1, 134, 137, 42)] == ["RestartJobSet"] * 4
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 1
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        assert re.fullmatch("[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?", rule["name"])  # without its webhook the CRD demands one


@pytest.mark.parametrize("sweep", ["small", "My.Sweep_2", "2026-11", "x" * 90, "a" * 26 + "-b"])
def test_names_are_ones_that_kubernetes_takes(sweep):
    name = job_name(sweep, "0123456789ab")
    assert re.fullmatch("[a-z]([-a-z0-9]*[a-z0-9])?", name)
    assert len(f"{name}-slice-0-63-abcde") <= 63
    assert name.endswith("-0123456789ab")
    value = job_set(cell(), Path(sweep), read_slice("v5e:1x1"), build(KubernetesConfig, FIELDS))["metadata"]["labels"]
    assert all(re.fullmatch("[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", each) for each in value.values())


def test_a_dry_run_is_manifests_that_kubectl_can_apply(tmp_path):
    launcher = open_launcher("kubernetes", tmp_path / "sweep", {"kubernetes": FIELDS})
    documents = list(yaml.safe_load_all(launcher.render([cell("aaaaaaaaaaaa", fsdp=16), cell("bbbbbbbbbbbb", data=16)])))
    assert [each["metadata"]["name"] for each in documents] == ["sweep-aaaaaaaaaaaa", "sweep-bbbbbbbbbbbb"]


def test_beside_what_xpk_writes(tmp_path):
    """The same slice by xpk's own dry run: what decides where the pods go and how many they are must be the same."""
    if shutil.which("xpk") is None:
        pytest.skip("xpk is not on this machine: uv tool install xpk")
    config = tmp_path / "home" / ".config" / "xpk"
    config.mkdir(parents=True)
    environment = {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    subprocess.run(["xpk", "config", "set", "send-telemetry", "false"], env=environment, check=True, capture_output=True)
    flags = ["--dry-run", "--skip-validation", "--cluster=c", "--project=p", "--zone=us-east5-b", "--tpu-type=v6e-16"]
    flags += ["--workload=sweep-9f3a", "--command=true", "--max-restarts=1", "--restart-on-exit-codes=75"]
    flags += [f"--output-manifest-file={tmp_path / 'xpk.yaml'}", "--docker-image=registry/lab:1"]
    subprocess.run(["xpk", "workload", "create", *flags], env=environment, check=True, capture_output=True, timeout=120)
    theirs, ours = yaml.safe_load((tmp_path / "xpk.yaml").read_text()), _manifest("v6e:4x4")
    assert ours["apiVersion"] == theirs["apiVersion"]
    assert ours["metadata"]["annotations"] == theirs["metadata"]["annotations"]
    assert ours["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == theirs["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    for field in ("parallelism", "completions", "backoffLimit"):
        assert _job(ours)[field] == _job(theirs)[field]
    pods = [_job(each)["template"]["spec"] for each in (ours, theirs)]
    assert pods[0]["restartPolicy"] == pods[1]["restartPolicy"]
    assert pods[0]["nodeSelector"].items() <= pods[1]["nodeSelector"].items()
    assert pods[0]["containers"][0]["resources"] == pods[1]["containers"][0]["resources"]
    keys = [{each["key"] for each in pod["tolerations"]} for pod in pods]
    assert keys[0] <= keys[1]
    (rule,) = _job(theirs)["podFailurePolicy"]["rules"]
    assert 75 in rule["onExitCodes"]["values"]
    assert rule["onExitCodes"]["operator"] == "NotIn"  # xpk restarts on 75, and counts it

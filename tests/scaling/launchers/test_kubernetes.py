"""The real Kubernetes client against a small server that is held to the recorded answers of a real one."""

import json
import os
import sys
from pathlib import Path

import pytest
from cells import cell
from fake_kubernetes import FakeKubernetes

from scaling.errors import ScalingError
from scaling.sweeps.launchers.kubernetes import KubernetesLauncher
from scaling.sweeps.launchers.launcher import open_launcher
from scaling.sweeps.submission import Submission

pytest.importorskip("kubernetes", reason="the extra `kubernetes` is not installed")
ROOT = Path(__file__).resolve().parents[3]
FIELDS = {"image": "registry/lab:1", "slices": ["v5e:1x1", "v5e:4x4"], "runs": "/mnt/runs", "queue": "tpus"}


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    fake = FakeKubernetes()
    path = str(fake.kubeconfig(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)  # $KUBECONFIG when it was imported
    for name in ("KUBERNETES_SERVICE_HOST", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    yield fake
    fake.close()


@pytest.fixture
def launcher(tmp_path) -> KubernetesLauncher:
    return open_launcher("kubernetes", tmp_path / "sweep-1", {"kubernetes": FIELDS})


def test_the_server_answers_as_a_real_one_did(cluster):
    """Recorded from Kubernetes' own API server with the CRD of JobSet: codes, and bodies but for times, ids and defaults."""
    path = Path(os.environ.get("SCALING_LAB_DATA", ROOT / "../shared/data")).parent / "k8s_wire.json"
    if not path.exists():
        pytest.skip(f"no {path}: recorded answers are not part of the project")
    recorded = {each["name"]: each for each in json.loads(path.read_text())}
    manifest = dict(recorded["create"]["body"])
    manifest["metadata"] = {key: manifest["metadata"][key] for key in ("name", "labels", "annotations")}
    base = recorded["create"]["url"]
    wrong_type = json.loads(json.dumps(manifest))
    wrong_type["metadata"]["name"] = "wire-b"
    wrong_type["spec"]["replicatedJobs"][0]["template"]["spec"]["parallelism"] = "four"
    wrong_name = {**manifest, "metadata": {"name": "Wire_B"}}
    for name, method, where, body in (
        ("create", "POST", base, manifest),
        ("duplicate", "POST", base, manifest),
        ("get", "GET", f"{base}/wire-a", {}),
        ("missing", "GET", f"{base}/nope", {}),
        ("list", "GET", base, {}),
        ("invalid", "POST", base, wrong_type),
        ("badname", "POST", base, wrong_name),
        ("delete", "DELETE", f"{base}/wire-a", {}),
        ("delete-missing", "DELETE", f"{base}/wire-a", {}),
    ):
        query = {"labelSelector": "lab/sweep=w"} if name == "list" else {}
        code, content = cluster.route(method, where, query, body)
        assert code == recorded[name]["status"], name
        assert _comparable(content) == _comparable(recorded[name]["body"]), name


def _comparable(content):
    """Without what differs between two servers or two moments."""
    varying = ("uid", "creationTimestamp", "resourceVersion", "managedFields")
    if isinstance(content, dict):
        return {key: _comparable(value) for key, value in content.items() if key not in varying}
    return [_comparable(each) for each in content] if isinstance(content, list) else content


def test_a_sweep_is_created_once_and_followed(cluster, launcher):
    cells = [cell("aaaaaaaaaaaa"), cell("bbbbbbbbbbbb", fsdp=16)]
    launcher.submit(cells)
    assert sorted(cluster.jobsets) == ["sweep-1-aaaaaaaaaaaa", "sweep-1-bbbbbbbbbbbb"]
    launcher.submit(cells)  # another submitter that did not know: the name is the key
    assert len(cluster.jobsets) == 2
    assert {run: report.phase for run, report in launcher.poll().items()} == dict.fromkeys(
        ("aaaaaaaaaaaa", "bbbbbbbbbbbb"), "queued"
    )
    first, second = "sweep-1-aaaaaaaaaaaa", "sweep-1-bbbbbbbbbbbb"
    cluster.jobsets[second]["spec"]["suspend"] = True  # what Kueue does until there is room
    cluster.jobsets[first]["status"] = {"replicatedJobsStatus": [{"name": "slice", "ready": 1}]}
    reports = launcher.poll()
    assert reports["aaaaaaaaaaaa"].phase == "running"
    assert (reports["bbbbbbbbbbbb"].phase, reports["bbbbbbbbbbbb"].reason) == ("queued", "queue tpus")
    cluster.condition(first, "Completed")
    assert (launcher.poll()["aaaaaaaaaaaa"].phase, launcher.poll()["aaaaaaaaaaaa"].code) == ("ended", 0)


@pytest.mark.parametrize("version", ["v1beta1", "v1beta2"])
def test_a_queued_run_has_the_reason_that_kueue_gives(cluster, launcher, version):
    """The messages are those of its scheduler (`pkg/scheduler/flavorassigner`) and of its admission checks."""
    cluster.kueue = version
    runs = ["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc", "dddddddddddd"]
    launcher.submit([cell(run) for run in runs])
    names = [f"sweep-1-{run}" for run in runs]
    for name in names:
        cluster.jobsets[name]["spec"]["suspend"] = True
    quota = (
        "couldn't assign flavors to pod set slice: insufficient unused quota for google.com/tpu in flavor v5e, 4 more needed"
    )
    none = ("False", "NoReservation", "The workload has no reservation")
    cluster.workload(names[0], Admitted=none, QuotaReserved=("False", "Pending", quota))
    reserved = ("True", "QuotaReserved", "Quota reserved in ClusterQueue tpus")
    checks = ("False", "UnsatisfiedChecks", "The workload has not all checks ready")
    cluster.workload(names[1], QuotaReserved=reserved, Admitted=checks)
    cluster.workload(names[2], QuotaReserved=("False", "Pending", ""))
    found = launcher.poll()  # of the last one Kueue has not heard yet
    assert [found[run].reason for run in runs] == [quota, checks[2], "Pending", "queue tpus"]
    assert {each.phase for each in found.values()} == {"queued"}
    for name in names:
        cluster.jobsets[name]["spec"]["suspend"] = False
    before = len(cluster.requests)
    launcher.poll()
    assert len(cluster.requests) == before + 1  # it is asked only where something waits


def test_a_cluster_that_does_not_say_why_a_run_waits_is_no_error(cluster, launcher, monkeypatch):
    cluster.kueue = ""
    launcher.submit([cell("aaaaaaaaaaaa")])
    cluster.jobsets["sweep-1-aaaaaaaaaaaa"]["spec"]["suspend"] = True
    assert launcher.poll()["aaaaaaaaaaaa"].reason == "queue tpus"
    monkeypatch.setattr(launcher, "_kueue", "v1beta3")  # 404; one who may not look gets 403 in the same way
    assert launcher.poll()["aaaaaaaaaaaa"].reason == "queue tpus"


@pytest.mark.parametrize("code", [1, 2, 3, 4, 75, 137])
def test_a_failed_run_has_the_exit_code_of_the_pod_that_failed_first(cluster, launcher, code):
    launcher.submit([cell("aaaaaaaaaaaa", fsdp=16)])
    name = "sweep-1-aaaaaaaaaaaa"
    cluster.pod(name, index=1, code=code, minutes=1)
    cluster.pod(name, index=0, code=134, minutes=2)  # then missed its neighbour
    cluster.condition(name, "Failed", "ReachedMaxRestarts", "jobset failed due to reaching max number of restarts")
    report = launcher.poll()["aaaaaaaaaaaa"]
    assert (report.phase, report.code) == ("ended", code)
    assert "reaching max number of restarts" in report.reason


def test_an_ended_run_is_handed_over_again_once_its_pods_are_gone(cluster, launcher, tmp_path):
    submission = Submission(launcher, launcher.sweep, [cell("aaaaaaaaaaaa")])
    name = "sweep-1-aaaaaaaaaaaa"
    before = cluster.jobsets[name]["metadata"]["uid"]
    cluster.pod(name, code=75)
    cluster.condition(name, "Failed")
    cluster.linger = 0.7
    submission.poll()
    assert cluster.jobsets[name]["metadata"]["uid"] != before
    assert "status" not in cluster.jobsets[name]


def test_a_jobset_whose_pods_do_not_go_is_said(cluster, launcher, monkeypatch):
    monkeypatch.setattr("scaling.sweeps.launchers.kubernetes.DELETION_SECONDS", 0.2)
    cluster.linger = 5
    launcher.submit([cell("aaaaaaaaaaaa")])
    launcher.cancel(["aaaaaaaaaaaa"])
    with pytest.raises(ScalingError, match="the JobSet sweep-1-aaaaaaaaaaaa is still being deleted; nothing was submitted"):
        launcher.submit([cell("aaaaaaaaaaaa")])


def test_what_was_submitted_before_a_refusal_is_named(cluster, launcher, monkeypatch):
    create = cluster.create

    def refuse_second(namespace, body):
        if body["metadata"]["name"].endswith("bbbbbbbbbbbb"):
            return 403, {"message": "jobsets.jobset.x-k8s.io is forbidden: exceeded quota: tpus", "code": 403}
        return create(namespace, body)

    monkeypatch.setattr(cluster, "create", refuse_second)
    with pytest.raises(
        ScalingError, match=r"refused it \(403\): .*exceeded quota: tpus; submitted before it: sweep-1-aaaaaaaaaaaa"
    ):
        launcher.submit([cell("aaaaaaaaaaaa"), cell("bbbbbbbbbbbb"), cell("cccccccccccc")])
    with pytest.raises(ScalingError, match="fits no offered slice"):  # found before anything is sent
        launcher.submit([cell("dddddddddddd"), cell("eeeeeeeeeeee", data=3, fsdp=7)])
    assert sorted(cluster.jobsets) == ["sweep-1-aaaaaaaaaaaa"]


def test_a_long_list_comes_in_pages_and_holds_no_other_sweep(cluster, launcher, monkeypatch):
    monkeypatch.setattr("scaling.sweeps.launchers.kubernetes.PAGE", 3)
    launcher.submit([cell(f"{index:012x}") for index in range(8)])
    open_launcher("kubernetes", launcher.sweep.with_name("other"), {"kubernetes": FIELDS}).submit([cell("ffffffffffff")])
    cluster.requests.clear()
    assert sorted(launcher.poll()) == [f"{index:012x}" for index in range(8)]
    assert len(cluster.requests) == 3


def test_cancel_deletes_and_logs_are_those_of_the_newest_first_host(cluster, launcher):
    launcher.submit([cell("aaaaaaaaaaaa"), cell("bbbbbbbbbbbb")])
    cluster.pod("sweep-1-aaaaaaaaaaaa", log="before\n")
    cluster.pod("sweep-1-aaaaaaaaaaaa", log="step 3\n", minutes=5)
    cluster.pod("sweep-1-aaaaaaaaaaaa", index=1, log="not the first host\n", minutes=6)
    assert launcher.logs("aaaaaaaaaaaa") == "step 3\n"
    assert launcher.logs("bbbbbbbbbbbb") == ""
    launcher.cancel(["aaaaaaaaaaaa", "cccccccccccc"])
    assert sorted(cluster.jobsets) == ["sweep-1-bbbbbbbbbbbb"]


def test_a_jobset_of_that_name_from_another_sweep_is_not_taken_for_ours(cluster, launcher):
    other = open_launcher("kubernetes", launcher.sweep.with_name("sweep.1"), {"kubernetes": FIELDS})
    other.submit([cell("aaaaaaaaaaaa")])
    with pytest.raises(ScalingError, match="sweep-1-aaaaaaaaaaaa is another sweep's"):
        launcher.submit([cell("aaaaaaaaaaaa")])


def test_a_cluster_that_cannot_be_used_says_what_to_do(cluster, launcher, tmp_path, monkeypatch):
    cluster.installed = False
    with pytest.raises(ScalingError, match="no JobSet controller"):
        launcher.poll()
    cluster.kubeconfig(tmp_path / "kubeconfig", token="stale")
    with pytest.raises(ScalingError, match=r"refused it \(401\): Unauthorized"):
        open_launcher("kubernetes", tmp_path, {"kubernetes": FIELDS}).poll()
    cluster.close()
    with pytest.raises(ScalingError, match="cannot be reached"):
        launcher.poll()
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(ScalingError, match="gcloud container clusters get-credentials"):
        open_launcher("kubernetes", tmp_path, {"kubernetes": FIELDS}).poll()


def test_without_its_extra_the_launcher_names_it(launcher, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    with pytest.raises(ScalingError, match=r"scaling-lab\[kubernetes\]"):
        launcher.poll()

"""A small Kubernetes API server for JobSets and pods: what the launcher uses of a real one, and nothing that runs them.

`test_kubernetes.py` holds its answers to those recorded from a real server.
"""

import re
import threading
import uuid
from datetime import UTC, datetime, timedelta

import yaml
from fake_api import FakeApi

GROUP = "jobset.x-k8s.io"
KUEUE = "kueue.x-k8s.io"
JOBSETS = f"/apis/{GROUP}/v1alpha2/namespaces/([^/]+)/jobsets"
NAME = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
BAD_NAME = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    f"with an alphanumeric character (e.g. 'example.com', regex used for validation is '{NAME}')"
)
TOKEN = "a-test"


class FakeKubernetes(FakeApi):
    """`jobsets` and `pods` by name, for a test to look at and to change, as a controller would."""

    def __init__(self):
        self.jobsets, self.pods, self.logs, self.workloads = {}, {}, {}, []
        self.installed, self.linger, self.kueue = True, 0, "v1beta2"
        self.requests: list[tuple[str, str]] = []
        self._version = 100
        super().__init__()

    def kubeconfig(self, path, token=TOKEN):
        """Write a kubeconfig for it."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "tester"}}],
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": {"token": token}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    def condition(self, name, kind, reason="", message=""):
        """Set a condition of a JobSet, as its controller would."""
        condition = {"type": kind, "status": "True", "reason": reason, "message": message}
        self.jobsets[name].setdefault("status", {}).setdefault("conditions", []).append(condition)

    def workload(self, jobset, **conditions):
        """Add what Kueue keeps of a JobSet, with conditions as (status, reason, message).

        Fields as in kubernetes-sigs/kueue, `apis/kueue/v1beta2/workload_types.go`; the label as its page "Troubleshooting Jobs"
        (kueue.sigs.k8s.io) has it.
        """
        metadata = self.jobsets[jobset]["metadata"]
        owner = {
            "apiVersion": f"{GROUP}/v1alpha2",
            "kind": "JobSet",
            "name": jobset,
            "uid": metadata["uid"],
            "controller": True,
        }
        said = [
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": message,
                "lastTransitionTime": "2026-11-22T00:00:00Z",
                "observedGeneration": 1,
            }
            for kind, (status, reason, message) in conditions.items()
        ]
        self.workloads.append(
            {
                "apiVersion": f"{KUEUE}/{self.kueue}",
                "kind": "Workload",
                "metadata": {
                    "name": f"jobset-{jobset}-{uuid.uuid4().hex[:5]}",
                    "namespace": metadata["namespace"],
                    "labels": {f"{KUEUE}/job-uid": metadata["uid"]},
                    "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
                },
                "spec": {"queueName": metadata["labels"][f"{KUEUE}/queue-name"], "active": True},
                "status": {"conditions": said},
            }
        )

    def pod(self, jobset, index=0, code=None, log="", minutes=0):
        """Add a pod of a JobSet, ended with an exit code or running."""
        name = f"{jobset}-slice-0-{index}-{uuid.uuid4().hex[:5]}"
        when = (datetime(2026, 11, 22, tzinfo=UTC) + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code, "finishedAt": when}}
        status = {"name": "worker", "image": "i", "imageID": "i", "ready": code is None, "restartCount": 0, "state": state}
        labels = {"jobset.sigs.k8s.io/jobset-name": jobset, "batch.kubernetes.io/job-completion-index": str(index)}
        self.pods[name] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": labels, "creationTimestamp": when},
            "spec": {"containers": [{"name": "worker"}]},
            "status": {"containerStatuses": [status]},
        }
        self.logs[name] = log

    def respond(self, request, path, query, body):
        self.requests.append((request.command, request.path))
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _failure(401, "Unauthorized", "Unauthorized")
        return super().respond(request, path, query, body)

    def route(self, method, path, query, body):
        if self.installed and (found := re.fullmatch(f"{JOBSETS}(?:/([^/]+))?", path)):
            namespace, name = found.groups()
            if method == "POST":
                return self.create(namespace, body)
            if name is None:
                return self.list_jobsets(query)
            if name not in self.jobsets:
                return _missing(name)
            return (200, self.jobsets[name]) if method == "GET" else self.delete(name)
        if path == "/apis/":
            groups = [_group(GROUP, "v1alpha2"), *([_group(KUEUE, self.kueue)] if self.kueue else [])]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        if self.kueue and re.fullmatch(f"/apis/{KUEUE}/{self.kueue}/namespaces/[^/]+/workloads", path):
            kind = {"apiVersion": f"{KUEUE}/{self.kueue}", "kind": "WorkloadList"}
            return 200, {**kind, "metadata": {"continue": "", "resourceVersion": "1"}, "items": self.workloads}
        if found := re.fullmatch(r"/api/v1/namespaces/[^/]+/pods(?:/([^/]+)/log)?", path):
            if found[1]:
                return 200, self.logs[found[1]]
            items = [pod for pod in self.pods.values() if _selected(pod, query)]
            return 200, {"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items}
        return 404, "404 page not found\n"

    def create(self, namespace, body):
        name = body["metadata"]["name"]
        if not re.fullmatch(NAME, name):
            return _invalid(name, "metadata.name", f'Invalid value: "{name}": {BAD_NAME}')
        for job in body["spec"]["replicatedJobs"]:
            if not isinstance(job["template"]["spec"].get("parallelism", 1), int):
                field = "spec.replicatedJobs.template.spec.parallelism"
                return _invalid(name, field, f'Invalid value: "string": {field} in body must be of type integer: "string"')
        if name in self.jobsets:
            details = {"name": name, "group": GROUP, "kind": "jobsets"}
            return _failure(409, "AlreadyExists", f'jobsets.{GROUP} "{name}" already exists', details)
        self._version += 1
        made = {
            "creationTimestamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "generation": 1,
            "namespace": namespace,
            "resourceVersion": str(self._version),
            "uid": str(uuid.uuid4()),
        }
        self.jobsets[name] = {**body, "metadata": {**body["metadata"], **made}}
        return 201, self.jobsets[name]

    def list_jobsets(self, query):
        items = sorted(
            (each for each in self.jobsets.values() if _selected(each, query)), key=lambda each: each["metadata"]["name"]
        )
        start, limit = int(query.get("continue", 0)), int(query.get("limit", 500))
        more = str(start + limit) if start + limit < len(items) else ""
        metadata = {"continue": more, "resourceVersion": str(self._version)}
        kind = {"apiVersion": f"{GROUP}/v1alpha2", "kind": "JobSetList"}
        return 200, {**kind, "metadata": metadata, "items": items[start : start + limit]}

    def delete(self, name):
        uid = self.jobsets[name]["metadata"]["uid"]
        if self.linger:  # pods that take their time: the object stays, marked, and a new one of its name is refused
            self.jobsets[name]["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
            threading.Timer(self.linger, self.jobsets.pop, (name,)).start()
        else:
            del self.jobsets[name]
        details = {"name": name, "group": GROUP, "kind": "jobsets", "uid": uid}
        return 200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def _group(name, version):
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _selected(item, query):
    wanted = (each.split("=") for each in query.get("labelSelector", "").split(",") if each)
    return all(item["metadata"].get("labels", {}).get(key) == value for key, value in wanted)


def _missing(name):
    details = {"name": name, "group": GROUP, "kind": "jobsets"}
    return _failure(404, "NotFound", f'jobsets.{GROUP} "{name}" not found', details)


def _invalid(name, field, message):
    cause = {"reason": "FieldValueInvalid", "message": message, "field": field}
    details = {"name": name, "group": GROUP, "kind": "JobSet", "causes": [cause]}
    return _failure(422, "Invalid", f'JobSet.{GROUP} "{name}" is invalid: {field}: {message}', details)


def _failure(code, reason, message, details=None):
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason}
    return code, {**status, **({"details": details} if details else {}), "code": code}

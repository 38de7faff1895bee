"""The Kubernetes launcher: a JobSet for each run, on TPU slices of GKE, queued by Kueue.        (no jax)

JobSet starts a run again that saved and ended with 75 or lost its nodes, without counting it; Kueue admits whole slices. The
name of a JobSet is made from the sweep and the run, so that the API server refuses a second one.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scaling.errors import ScalingError
from scaling.sweeps.launchers.kueue import KUEUE_GROUP, why_waiting
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report
from scaling.sweeps.launchers.manifests import (
    API_GROUP,
    API_VERSION,
    CONTAINER,
    LABEL,
    KubernetesConfig,
    job_name,
    job_set,
    label,
)
from scaling.sweeps.launchers.topologies import choose_slice, read_slice

PAGE = 500
CONFLICT, NOT_FOUND = 409, 404
DELETION_SECONDS = 60.0
TIMEOUT_SECONDS = 30.0


class KubernetesLauncher(Launcher):
    """Through the official client, as whoever the kubeconfig (or the pod's service account) says."""

    name = "kubernetes"
    Config = KubernetesConfig

    def __init__(self, sweep: Path, config: Any):
        super().__init__(sweep, config)
        self._offered = [read_slice(each) for each in config.slices]
        self._codes: dict[str, int | None] = {}
        self._kueue: str | None = None
        """The version of its interface that the cluster has; empty where it has none, None before it was asked."""

    def render(self, cells: Sequence[Cell]) -> str:
        """The manifests, as YAML documents for `kubectl apply`."""
        return yaml.safe_dump_all(self._manifests(cells), sort_keys=False, explicit_start=True)

    def submit(self, cells: Sequence[Cell]) -> None:
        """Create the JobSets; one of an earlier attempt that has ended is deleted first."""
        manifests = self._manifests(cells)
        ended = {run_id for run_id, report in self.poll().items() if report.phase == "ended"}
        submitted: list[str] = []
        for cell, manifest in zip(cells, manifests, strict=True):
            try:
                if cell["run_id"] in ended:
                    self._delete(manifest["metadata"]["name"])
                self._create(manifest)
            except ScalingError as error:
                before = f"; submitted before it: {', '.join(submitted)}" if submitted else "; nothing was submitted"
                raise ScalingError(f"{error}{before}") from None
            submitted.append(manifest["metadata"]["name"])

    def poll(self) -> Mapping[str, Report]:
        """One listing of the sweep's JobSets, by label; the pods only of one that failed, Kueue's workloads where one waits."""
        found = list(self._list(*self._of_jobsets, label_selector=f"{LABEL}/sweep={label(self.sweep.name)}"))
        waiting = self.config.queue and any(item["spec"].get("suspend") for item in found)
        reasons = self._reasons() if waiting else {}
        return {item["metadata"]["labels"][f"{LABEL}/run"]: self._report(item, reasons) for item in found}

    def cancel(self, run_ids: Iterable[str]) -> None:
        """Delete the JobSets: their pods get a SIGTERM and save."""
        for run_id in run_ids:
            self._delete(job_name(self.sweep.name, run_id))

    def logs(self, run_id: str) -> str:
        """Of the first host, as long as the pod exists; what went before is in the run directory."""
        pods = self._pods(job_name(self.sweep.name, run_id), "batch.kubernetes.io/job-completion-index=0")
        newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp, default=None)
        if newest is None:
            return super().logs(run_id)
        return self._call(self._core.read_namespaced_pod_log, newest.metadata.name, self.config.namespace)

    def _manifests(self, cells: Sequence[Cell]) -> list[dict[str, Any]]:
        return [job_set(cell, self.sweep, choose_slice(cell, self._offered, self.config.runs), self.config) for cell in cells]

    def _create(self, manifest: dict[str, Any]) -> None:
        """Until an old one of that name is gone; one that is there and alive is another submitter's, and as good."""
        deadline = time.monotonic() + DELETION_SECONDS
        while True:
            try:
                self._call(self._objects.create_namespaced_custom_object, *self._of_jobsets, manifest)
                return
            except _Conflict:
                present = self._get(manifest["metadata"]["name"])
                if present and not present["metadata"].get("deletionTimestamp"):
                    if present["metadata"].get("labels", {}) | manifest["metadata"]["labels"] != present["metadata"]["labels"]:
                        raise ScalingError(
                            f"the JobSet {manifest['metadata']['name']} is another sweep's; rename one of the two"
                        ) from None
                    return
                if time.monotonic() > deadline:
                    raise ScalingError(f"the JobSet {manifest['metadata']['name']} is still being deleted") from None
                time.sleep(0.5)

    def _get(self, name: str) -> dict[str, Any] | None:
        try:
            return self._call(self._objects.get_namespaced_custom_object, *self._of_jobsets, name)
        except _NotFound:
            return None

    def _delete(self, name: str) -> None:
        with suppress(_NotFound):
            self._call(self._objects.delete_namespaced_custom_object, *self._of_jobsets, name, propagation_policy="Foreground")

    def _list(self, *resource: str, **options: str) -> Iterator[dict[str, Any]]:
        while True:
            page = self._call(self._objects.list_namespaced_custom_object, *resource, limit=PAGE, **options)
            yield from page["items"]
            if not page["metadata"].get("continue"):
                return
            options["_continue"] = page["metadata"]["continue"]

    def _reasons(self) -> dict[str, str]:
        """Why Kueue has JobSets wait, by their uids; nothing where it cannot be asked: they wait all the same."""
        try:
            if self._kueue is None:
                groups = self._call(self._client().ApisApi().get_api_versions).groups
                versions = [each.preferred_version.version for each in groups if each.name == KUEUE_GROUP]
                self._kueue = versions[0] if versions else ""
            if not self._kueue:
                return {}
            return why_waiting(self._list(KUEUE_GROUP, self._kueue, self.config.namespace, "workloads"))
        except ScalingError:
            return {}

    def _report(self, item: dict[str, Any], reasons: Mapping[str, str]) -> Report:
        status = item.get("status", {})
        conditions = {each["type"]: each for each in status.get("conditions", []) if each["status"] == "True"}
        if "Completed" in conditions:
            return Report("ended", code=0)
        if "Failed" in conditions:
            name, why = item["metadata"]["name"], conditions["Failed"].get("message") or conditions["Failed"].get("reason", "")
            code = self._code(name, item["metadata"]["uid"])
            return Report("ended", f"its JobSet {name} failed: {why}" + ("" if code is None else f" (exit code {code})"), code)
        if item["spec"].get("suspend"):
            queue = f"queue {self.config.queue}" if self.config.queue else "suspended"
            return Report("queued", reasons.get(item["metadata"]["uid"], queue))
        if any(each.get("ready") for each in status.get("replicatedJobsStatus", [])):
            return Report("running")
        return Report("queued", "for nodes")

    def _code(self, name: str, uid: str) -> int | None:
        """Of the first pod that failed, where pods are left."""
        if uid not in self._codes:
            ends = [
                container.state.terminated
                for pod in self._pods(name)
                for container in pod.status.container_statuses or []
                if container.name == CONTAINER and container.state.terminated and container.state.terminated.exit_code
            ]
            first = min(ends, key=lambda end: end.finished_at, default=None)
            self._codes[uid] = None if first is None else first.exit_code
        return self._codes[uid]

    def _pods(self, name: str, *labels: str) -> list[Any]:
        selector = ",".join([f"jobset.sigs.k8s.io/jobset-name={name}", *labels])
        return self._call(self._core.list_namespaced_pod, self.config.namespace, label_selector=selector).items

    @property
    def _of_jobsets(self) -> tuple[str, str, str, str]:
        return API_GROUP, API_VERSION, self.config.namespace, "jobsets"

    @property
    def _objects(self) -> Any:
        return self._client().CustomObjectsApi()

    @property
    def _core(self) -> Any:
        return self._client().CoreV1Api()

    def _client(self) -> Any:
        try:
            from kubernetes import client, config
        except ImportError:
            raise ScalingError("the launcher kubernetes needs its extra: uv pip install 'scaling-lab[kubernetes]'") from None
        if not self._configured:
            try:
                config.load_kube_config()
            except config.ConfigException as error:
                with suppress(config.ConfigException):
                    config.load_incluster_config()
                    self._configured = True
                    return client
                raise ScalingError(
                    f"no Kubernetes cluster is configured ({error}): "
                    "gcloud container clusters get-credentials NAME --location ZONE"
                ) from None
            self._configured = True
        return client

    _configured = False

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            return method(*arguments, **options, _request_timeout=TIMEOUT_SECONDS)
        except ApiException as error:
            raise _explain(error) from None
        except HTTPError as error:
            reason = getattr(error, "reason", error)
            raise ScalingError(f"the Kubernetes API server cannot be reached: {reason}; try `kubectl get jobsets`") from None


class _Conflict(ScalingError):
    """A thing of that name is there."""


class _NotFound(ScalingError):
    """No thing of that name is there."""


def _explain(error: Any) -> ScalingError:
    """A refusal of the API server as one line."""
    try:
        message = yaml.safe_load(error.body)["message"]
    except (yaml.YAMLError, TypeError, KeyError):
        message = error.reason
    if error.status == CONFLICT:
        return _Conflict(message)
    if error.status == NOT_FOUND and "jobsets" in message and "page not found" not in message:
        return _NotFound(message)
    if error.status == NOT_FOUND:
        return ScalingError(f"the cluster has no JobSet controller ({message}); install it: kubernetes-sigs/jobset")
    return ScalingError(f"the Kubernetes API server refused it ({error.status}): {message}")

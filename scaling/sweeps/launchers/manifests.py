"""A run as a Kubernetes JobSet: one pod for each host of its TPU slice.        (no jax)

JobSet is `jobset.x-k8s.io/v1alpha2` (kubernetes-sigs/jobset, `api/jobset/v1alpha2/jobset_types.go`). Its restarts are told
apart by the pods' exit codes (batch/v1 `podFailurePolicy`, whose message names the code):

    75, or the node is taken away    the job fails as `PodFailurePolicy`: the JobSet starts again, and that is not counted
    2, 3, 4                          the same reason, told apart by the message: the JobSet fails at once
    anything else                    `BackoffLimitExceeded`: one more start
"""

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from scaling.errors import Exit
from scaling.section import Section
from scaling.sweeps.launchers.launcher import Cell
from scaling.sweeps.launchers.topologies import Slice

API_GROUP, API_VERSION = "jobset.x-k8s.io", "v1alpha2"
LABEL = "scaling-lab"
CONTAINER = "worker"

FINAL_CODES = (Exit.USAGE, Exit.DIVERGED, Exit.OUT_OF_MEMORY)

SPOT_GRACE_SECONDS = 15
"""What GKE leaves ordinary pods of a spot node's 30 seconds of notice, unless the node pool says otherwise
(docs.cloud.google.com/kubernetes-engine/docs/concepts/spot-vms)."""

LONGEST_NAME = 40
"""Of a JobSet: pods are called after it and the JobSet's job, index and a random ending, within 63 characters."""


class KubernetesConfig(Section):
    """What the runs get of a GKE cluster with JobSet and Kueue."""

    image: str
    """With this package and `jax[tpu]` in it."""
    slices: list[str] = Field(min_length=1)
    """The slices on offer, such as `[v5e:2x2, v5e:4x4]`; a run takes the smallest that it fits."""
    runs: str
    """The directory of runs as the pods see it: a bucket `gs://BUCKET/PATH`, or where `volume` is mounted."""
    volume: str | None = None
    """A persistent volume claim to mount at `runs`: Filestore, or a bucket through its driver."""
    namespace: str = "default"
    queue: str | None = None
    """Kueue's LocalQueue; null for a cluster without Kueue."""
    priority: str | None = None
    """A PriorityClass."""
    service_account: str | None = None
    """That may write to the bucket (Workload Identity)."""
    spot: bool = False
    restart_strategy: Literal["Recreate", "BlockingRecreate"] = "BlockingRecreate"
    """BlockingRecreate waits until every old pod is gone, so that no chip is asked for twice."""


def job_set(cell: Cell, sweep: Path, place: Slice, config: KubernetesConfig) -> dict[str, Any]:
    """The manifest of one run."""
    labels = {f"{LABEL}/sweep": label(sweep.name), f"{LABEL}/run": cell["run_id"]}
    queue = {"kueue.x-k8s.io/queue-name": config.queue} if config.queue else {}
    return {
        "apiVersion": f"{API_GROUP}/{API_VERSION}",
        "kind": "JobSet",
        "metadata": {
            "name": job_name(sweep.name, cell["run_id"]),
            "namespace": config.namespace,
            "labels": labels | queue,
            "annotations": {"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"},
        },
        "spec": {
            "failurePolicy": {
                "maxRestarts": 1,
                "restartStrategy": config.restart_strategy,
                "rules": [
                    {
                        "name": "final",
                        "action": "FailJobSet",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                        "onJobFailureMessagePatterns": [f"exit code {code} " for code in map(int, FINAL_CODES)],
                    },
                    {
                        "name": "saved",
                        "action": "RestartJobSetAndIgnoreMaxRestarts",
                        "onJobFailureReasons": ["PodFailurePolicy"],
                    },
                ],
            },
            "replicatedJobs": [
                {"name": "slice", "replicas": 1, "template": {"spec": _job(cell, sweep, place, config, labels)}}
            ],
        },
    }


def job_name(sweep: str, run_id: str) -> str:
    """A name that Kubernetes and Google Cloud take: lower case letters, digits and dashes."""
    slug = re.sub(r"[^a-z0-9]+", "-", sweep.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"s-{slug}"
    return f"{slug[: LONGEST_NAME - len(run_id) - 1].rstrip('-')}-{run_id}"


def label(name: str) -> str:
    """A sweep's name as the value of a label: at most 63 characters, the last a letter or digit."""
    return name[:63].rstrip("._-")


def _job(cell: Cell, sweep: Path, place: Slice, config: KubernetesConfig, labels: dict[str, str]) -> dict[str, Any]:
    codes = [int(Exit.SAVED), *map(int, FINAL_CODES)]
    return {
        "parallelism": place.hosts,
        "completions": place.hosts,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": sorted(codes)},
                },
            ]
        },
        "template": {"metadata": {"labels": labels}, "spec": _pod(cell, sweep, place, config)},
    }


def _pod(cell: Cell, sweep: Path, place: Slice, config: KubernetesConfig) -> dict[str, Any]:
    spot = {"cloud.google.com/gke-spot": "true"} if config.spot else {}
    mount = [{"name": "runs", "mountPath": config.runs}] if config.volume else []
    volumes = [{"name": "runs", "persistentVolumeClaim": {"claimName": config.volume}}] if config.volume else []
    worker = ["python", "-m", "scaling", "train", f"{config.runs.rstrip('/')}/{sweep.name}/{cell['run_id']}"]
    optional = {
        "priorityClassName": config.priority,
        "serviceAccountName": config.service_account,
        "volumes": volumes,
        "terminationGracePeriodSeconds": SPOT_GRACE_SECONDS if config.spot else None,
    }
    return {
        "restartPolicy": "Never",
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": place.generation.gke_label,
            "cloud.google.com/gke-tpu-topology": place.topology,
            **spot,
        },
        "tolerations": [{"key": "google.com/tpu", "operator": "Exists", "effect": "NoSchedule"}],
        "containers": [
            {
                "name": CONTAINER,
                "image": config.image,
                "command": worker + (["--distributed"] if place.hosts > 1 else []),  # is process 1, and so gets the SIGTERM
                "resources": {"limits": {"google.com/tpu": place.chips // place.hosts}},
                **({"volumeMounts": mount} if mount else {}),
            }
        ],
        **{key: value for key, value in optional.items() if value},
    }

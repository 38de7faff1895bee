"""Why Kueue has a run wait.        (no jax)

For each job that it queues Kueue keeps a Workload, owned by the job, whose conditions say what it waits for: `QuotaReserved` is
false until there is room in the queue, then `Admitted` until the admission checks are through (kubernetes-sigs/kueue,
`apis/kueue/v1beta2/workload_types.go`; the conditions of v1beta1 are the same).
"""

from collections.abc import Iterable
from typing import Any

KUEUE_GROUP = "kueue.x-k8s.io"

GATES = ("QuotaReserved", "Admitted")


def why_waiting(workloads: Iterable[dict[str, Any]]) -> dict[str, str]:
    """What Kueue says of the jobs that it holds back, by their uids."""
    found = {}
    for workload in workloads:
        conditions = {each["type"]: each for each in workload.get("status", {}).get("conditions", [])}
        closed = [conditions[gate] for gate in GATES if conditions.get(gate, {}).get("status") == "False"]
        for owner in workload["metadata"].get("ownerReferences", []) if closed else []:
            found[owner["uid"]] = closed[0].get("message") or closed[0]["reason"]
    return found

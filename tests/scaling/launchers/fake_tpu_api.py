"""A small Cloud TPU API (v2) for queued resources: what `gcloud compute tpus queued-resources` uses of the real one."""

import re

from fake_api import FakeApi

RESOURCES = r"/v2/(projects/[^/]+/locations/[^/]+)/queuedResources(?:/([^/?]+))?"


class FakeTpuApi(FakeApi):
    """`resources` by name, for a test to look at and to change, as the service would."""

    def __init__(self):
        self.resources: dict[str, dict] = {}
        self.deleted: list[str] = []
        super().__init__()

    def set_state(self, name, state):
        self.resources[name]["state"] = {"state": state}

    def route(self, method, path, query, body):
        found = re.fullmatch(RESOURCES, path)
        if not found:  # an operation: it is done by the time anyone asks
            return 200, {"name": path.removeprefix("/v2/"), "done": True, "response": {}}
        parent, name = found.groups()
        operation = {"name": f"{parent}/operations/o{len(self.deleted)}", "done": True, "response": {}}
        if method == "POST":
            name = query["queuedResourceId"]
            if name in self.resources:
                return _failure(409, "ALREADY_EXISTS", f"Resource '{parent}/queuedResources/{name}' already exists")
            self.resources[name] = {
                **body,
                "name": f"{parent}/queuedResources/{name}",
                "state": {"state": "WAITING_FOR_RESOURCES"},
            }
            return 200, operation
        if name is None:
            return 200, {"queuedResources": list(self.resources.values())}
        if name not in self.resources:
            return _failure(404, "NOT_FOUND", f"Resource '{parent}/queuedResources/{name}' was not found")
        if method == "DELETE":
            del self.resources[name]
            self.deleted.append(name)
            return 200, operation
        return 200, self.resources[name]


def _failure(code, status, message):
    return code, {"error": {"code": code, "message": message, "status": status}}

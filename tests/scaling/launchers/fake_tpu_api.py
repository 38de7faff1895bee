"""A small Cloud TPU API (v2) for queued resources: what `gcloud compute tpus queued-resources` uses of the real one."""

import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

RESOURCES = r"/v2/(projects/[^/]+/locations/[^/]+)/queuedResources(?:/([^/?]+))?"


class FakeTpuApi:
    """`resources` by name, for a test to look at and to change, as the service would."""

    def __init__(self):
        self.resources: dict[str, dict] = {}
        self.deleted: list[str] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                fake.answer(self, "GET")

            def do_POST(self):
                fake.answer(self, "POST")

            def do_DELETE(self):
                fake.answer(self, "DELETE")

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def set_state(self, name, state):
        self.resources[name]["state"] = {"state": state}

    def answer(self, request, method):
        length = int(request.headers.get("Content-Length") or 0)
        body = json.loads(request.rfile.read(length) or b"{}") if length else {}
        url = urllib.parse.urlsplit(request.path)
        code, content = self.route(method, url.path, dict(urllib.parse.parse_qsl(url.query)), body)
        text = json.dumps(content).encode()
        request.send_response(code)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

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

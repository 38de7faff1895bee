"""A small Google Cloud Storage (its XML interface) in memory, which enforces generations as the real one does."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Nothing."""

    def _answer(self, code, body=b"", **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    @property
    def _key(self):
        return unquote(urlsplit(self.path).path).lstrip("/")

    def do_PUT(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.requests.append(("PUT", self._key))
            generation = server.objects.get(self._key, (b"", 0, {}))[1]
            expected = self.headers.get("x-goog-if-generation-match")
            if server.enforces and expected is not None and int(expected) != generation:
                return self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            server.generation += 1
            metadata = {name: value for name, value in self.headers.items() if name.lower().startswith("x-goog-meta-")}
            server.objects[self._key] = content, server.generation, metadata
            answer = {"ETag": f'"{server.generation}"', "x-goog-generation": str(server.generation)}
        if server.swallow_answers > 0:  # written, and the answer is lost on the way
            server.swallow_answers -= 1
            self.close_connection = True
            return self._answer(503)
        self._answer(200, **answer)

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if "list-type" in query:
            return self._list(self._key.rstrip("/"), query.get("prefix", ""), query.get("delimiter"))
        found = self.server.objects.get(self._key)
        self.server.requests.append((self.command, self._key))
        if found is None:
            return self._answer(404)
        modified = {"Last-Modified": "Sun, 22 Nov 2026 10:00:00 GMT"}
        self._answer(200, found[0], ETag=f'"{found[1]}"', x_goog_generation=str(found[1]), **modified, **found[2])

    do_HEAD = do_GET

    def do_DELETE(self):
        with self.server.lock:
            self._answer(204 if self.server.objects.pop(self._key, None) else 404)

    def _list(self, bucket, prefix, delimiter):
        self.server.requests.append(("LIST", prefix))
        contents, prefixes = [], set()
        for key, (content, generation, _) in sorted(self.server.objects.items()):
            if not key.startswith(f"{bucket}/{prefix}"):
                continue
            name = key.removeprefix(f"{bucket}/")
            rest = name.removeprefix(prefix)
            if delimiter and delimiter in rest:
                prefixes.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                contents.append(
                    f"<Contents><Key>{escape(name)}</Key><Size>{len(content)}</Size>"
                    f'<LastModified>2026-11-22T10:00:00.000Z</LastModified><ETag>"{generation}"</ETag></Contents>'
                )
        folders = [f"<CommonPrefixes><Prefix>{escape(each)}</Prefix></CommonPrefixes>" for each in sorted(prefixes)]
        body = f"<ListBucketResult>{''.join(contents)}{''.join(folders)}</ListBucketResult>"
        self._answer(200, body.encode(), Content_Type="application/xml")


@contextmanager
def serve():
    """The server on a free port of this machine; `objects` holds (content, generation, metadata) by bucket/key.

    What a test may set: `swallow_answers`, how many writes are done and answered by 503; `enforces`, whether conditions count.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.objects, server.requests, server.generation, server.lock = {}, [], 0, threading.Lock()
    server.swallow_answers, server.enforces = 0, True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

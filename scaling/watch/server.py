"""The live view as a page: a small read-only server of one sweep's directory.        (no jax)

It answers GET and HEAD alone, listens on this machine unless told otherwise, refuses requests under a foreign host name (so
that no web page can read through a name that points here), and serves no file outside its directory.
"""

import gzip
import ipaddress
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from scaling.errors import ScalingError

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
TEXT = (".json", ".jsonl", ".txt", ".yaml", ".md", ".csv")
"""Files of the record that are served, all as plain text."""

LARGEST = 64 * 2**20
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Site:
    """What a server shows.

    Attributes:
        directory: whose record files are served.
        assets: the page's own files: name, content.
        documents: what is made anew at each request, as JSON: name, function.
    """

    directory: Path
    assets: Mapping[str, bytes]
    documents: Mapping[str, Callable[[], Any]]


def own_assets() -> dict[str, bytes]:
    """The page and its script."""
    here = files("scaling.watch")
    return {"index.html": here.joinpath("watch.html").read_bytes(), "watch.js": here.joinpath("watch.js").read_bytes()}


def make_server(site: Site, host: str = "127.0.0.1", port: int = 0) -> ThreadingHTTPServer:
    """A server that `serve_forever` starts.

    Args:
        site: what it shows.
        host: address to listen on; anything but a loopback address lets other machines read the sweep.
        port: 0 for any that is free.

    Raises:
        ScalingError: the address cannot be listened on.
    """
    handler = type("Handler", (_Handler,), {"site": site, "names": LOCAL_NAMES if is_loopback(host) else ()})
    try:
        return ThreadingHTTPServer((host, port), handler)
    except OSError as error:
        raise ScalingError(f"cannot listen on {host}:{port}: {error.strerror or error}; another --port may be free") from None


def is_loopback(host: str) -> bool:
    """Whether an address is only for this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def record_file(directory: Path, name: str) -> Path | None:
    """The file of a record that a request names, or None where it is none, or not inside the directory."""
    home = directory.resolve()
    try:
        path = (home / name).resolve()
        inside = path.is_relative_to(home) and path.is_file() and path.suffix in TEXT
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return None
    return path if inside else None


class _Handler(BaseHTTPRequestHandler):
    site: Site
    names: tuple[str, ...]
    server_version, sys_version = "scaling", ""

    def do_GET(self) -> None:
        """Answer with a document, an asset, or a file of the record."""
        if self.names and urlsplit(f"//{self.headers.get('Host', '')}").hostname not in self.names:
            return self._answer(403, b"this server answers under the names of this machine only", "text/plain")
        path = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        if path in self.site.documents:
            try:
                return self._answer(200, json.dumps(self.site.documents[path](), allow_nan=False).encode(), "application/json")
            except ValueError as error:  # what a user can put right
                return self._answer(200, json.dumps({"error": str(error)}).encode(), "application/json")
        if path in self.site.assets:
            return self._answer(200, self.site.assets[path], TYPES[Path(path).suffix])
        file = record_file(self.site.directory, path.removeprefix("files/")) if path.startswith("files/") else None
        if file is None or file.stat().st_size > LARGEST:
            return self._answer(404, b"no such file", "text/plain")
        return self._answer(200, file.read_bytes(), "text/plain")

    do_HEAD = do_GET

    def _answer(self, code: int, content: bytes, kind: str) -> None:
        packed = "gzip" in self.headers.get("Accept-Encoding", "") and len(content) > 2**10
        if packed:
            content = gzip.compress(content, 5)
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        if packed:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing: the terminal shows the address, and the page the rest."""

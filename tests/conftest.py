"""Hostile settings for every test: eight fake devices, no silent broadcasting between ranks, no network."""

import os
import socket
import uuid
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "agg"

import buckets
import pytest
from gcs import serve

from scaling import stores


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")):
            return connect(self, address)
        raise OSError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="session")
def s3_variables() -> Iterator[dict[str, str]]:
    """The environment in which `s3://runs` is a bucket of moto's server on this machine."""
    for package in ("obstore", "moto", "flask"):
        pytest.importorskip(package, reason=f"no {package}: s3:// is not tested")
    with buckets.s3() as variables:
        yield variables


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[ThreadingHTTPServer]:
    """A Google Cloud Storage on this machine, which enforces generations."""
    pytest.importorskip("obstore", reason="no obstore: gs:// is not tested")
    with serve() as server:
        yield server


@pytest.fixture(params=["files", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of runs, on each kind of store."""
    if request.param == "files":
        return tmp_path
    if request.param == "s3":
        variables = request.getfixturevalue("s3_variables")
    else:
        variables = buckets.gcs_variables(request.getfixturevalue("gcs_server"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stores._bucket.cache_clear()
    return stores.locate(f"{request.param}://runs/{uuid.uuid4().hex}")

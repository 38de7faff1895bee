"""Hostile settings for every test: eight fake devices, no silent broadcasting between ranks, no network; and what tests
share: a real browser, buckets, a Slurm cluster."""

import os
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["MPLBACKEND"] = "agg"

import buckets
import pytest
from gcs import serve
from slurm_cluster import SlurmCluster

from scaling import stores


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family == socket.AF_UNIX or (isinstance(address, tuple) and address[0] in ("127.0.0.1", "::1", "localhost")):
            return connect(self, address)
        raise OSError(f"a test tried to reach {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@dataclass
class Visit:
    """A page opened in a real browser, and what it did that it should not."""

    page: Any
    errors: list[str] = field(default_factory=list)
    abroad: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, page: Any) -> "Visit":
        visit = cls(page)
        page.on("console", lambda said: visit.errors.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: visit.errors.append(str(error)))
        page.on("request", lambda request: None if _is_here(request.url) else visit.abroad.append(request.url))
        return visit

    def assert_clean(self) -> None:
        assert self.errors == []
        assert self.abroad == []

    def assert_accessible(self) -> None:
        """By axe-core: WCAG 2 A and AA, contrast among them."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: install axe-playwright-python")
        tags = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}}
        found = axe.Axe().run(self.page, options=tags).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []

    def assert_fits(self) -> None:
        """Nothing is wider than the window, and no text outside figures is smaller than 12 pixels."""
        wide, small = self.page.evaluate(FITS)
        assert wide == []
        assert small == []

    def tab_through(self, limit: int = 400) -> set[str]:
        """What the Tab key reaches: `tag#id or name or text` of each."""
        reached: set[str] = set()
        for _ in range(limit):
            self.page.keyboard.press("Tab")
            name = self.page.evaluate(f"({NAMED})(document.activeElement)")
            if name in reached and name.startswith("body"):
                break
            reached.add(name)
        return reached

    def controls(self) -> set[str]:
        """What a mouse can use, named as `tab_through` names it."""
        everything = "button, a[href], select, input, summary, [tabindex='0']"
        return set(
            self.page.evaluate(f"[...document.querySelectorAll(`{everything}`)].filter(e => e.checkVisibility()).map({NAMED})")
        )


NAMED = (
    "e => `${e.tagName.toLowerCase()}#${e.id || e.name || e.getAttribute('aria-label') || e.textContent.trim().slice(0, 40)}`"
)
FITS = """() => {
  const within = element => element.closest('.scroll, pre, dialog, .plot');
  const texts = [...document.body.querySelectorAll('*')].filter(e => e.checkVisibility() && !e.closest('.plot'));
  const limit = document.documentElement.clientWidth + 1;
  return [
    texts.filter(e => !within(e) && e.getBoundingClientRect().right > limit).map(e => e.outerHTML.slice(0, 120)),
    texts.filter(e => e.innerText && !e.children.length && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML),
  ];
}"""


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: install the group dev")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    """Open an address in a window of a width; closed with the test."""
    contexts = []

    def go(address: str, width: int = 1600) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True)
        contexts.append(context)
        visit = Visit.of(context.new_page())
        visit.page.goto(address)
        return visit

    yield go
    for context in contexts:
        context.close()


def _is_here(address: str) -> bool:
    return address.startswith(("file:", "data:", "blob:", "http://127.0.0.1:", "http://localhost:"))


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


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmCluster]:
    """Two nodes on this machine; skips the test where Slurm is not installed."""
    missing = SlurmCluster.missing()
    if missing:
        pytest.skip(missing)
    cluster = SlurmCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()

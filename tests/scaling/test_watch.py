"""The live view: totals, what the server answers and what it refuses, and the page in a real browser."""

import http.client
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from scaling.cli import app
from scaling.cli.watch import site
from scaling.errors import ScalingError
from scaling.lease import claim
from scaling.policy import Ending
from scaling.sweeps.stored import write_plan
from scaling.watch import terminal
from scaling.watch.progress import read_progress
from scaling.watch.server import is_loopback, make_server, record_file

E, A, B, ALPHA, BETA = 1.5, 80.0, 250.0, 0.35, 0.38
SIZES, TOKENS = (150_000, 300_000, 600_000, 1_200_000), (1_000_000, 2_000_000, 4_000_000, 8_000_000)


def loss_of(parameters: float, tokens: float) -> float:
    return E + A / parameters**ALPHA + B / tokens**BETA


def write_run(directory: Path, cell: dict, state: str, minute: int, share: float = 1.0, noise: float = 0.0) -> None:
    tokens, parameters = cell["tokens"], cell["parameters"]
    rows = [
        {"step": step, "tokens": step / 10 * tokens, "train_loss": loss_of(parameters, (step + 1) / 11 * tokens)}
        for step in range(1, round(10 * share) + 1)
    ]
    final = loss_of(parameters, tokens) * np.exp(noise)
    rows = [{**row, "loss": final if row["step"] == 10 else None} for row in rows]
    facts = dict.fromkeys(("parameters", "non_embedding_parameters", "non_embedding_and_head_parameters"), parameters)
    facts |= {"tokens": tokens, "steps": 10, "flops": cell["flops"]}
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "run.json").write_text(json.dumps({"run_id": directory.name, "identity": {}, "facts": facts}))
    (directory / "environment.json").write_text(json.dumps({"devices": {"count": 2}}))
    (directory / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    status = {"state": state, "step": round(10 * share), "steps": 10, "seconds": 1800.0 * share, "tokens_per_second": 1e5}
    status |= {"updated": f"2026-01-01T00:{minute:02d}:00+00:00", "loss": rows[-1]["loss"] if rows else None}
    (directory / "status.json").write_text(json.dumps(status))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """Sixteen runs of a known law, all done but the last two: one planned, one failed half way."""
    home, random = tmp_path / "made-up", np.random.default_rng(0)
    cells = []
    for number, (parameters, tokens) in enumerate((n, d) for n in SIZES for d in TOKENS):
        labels = {"model": f"{parameters / 1e6:g}M"}
        cell = {"run_id": f"{number:012x}", "role": "fit", "labels": labels, "trunk": None, "branch": None}
        cells.append({**cell, "parameters": parameters, "tokens": tokens, "flops": 6.0 * parameters * tokens})
        if number < 14:
            write_run(home / cells[-1]["run_id"], cells[-1], "done", number, noise=0.003 * random.standard_normal())
    write_run(home / f"{14:012x}", cells[14], "running", 14, share=0.5)
    lease = claim(home / f"{14:012x}")
    assert lease is not None
    lease.release(Ending.MISTAKEN, "no such corpus")
    write_plan(home, {"sweep": home.name, "cells": cells})
    return home


@pytest.fixture
def served(sweep: Path):
    server = make_server(site(sweep, price=2.0))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def ask(port: int, path: str, method: str = "GET", host: str | None = None) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, path, skip_host=host is not None)
    if host is not None:
        connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, dict(answer.getheaders())


def test_totals_count_flops_time_and_money(sweep: Path) -> None:
    """Of 16 cells 14 are done and one is half done; each done run took two devices half an hour at 2 an hour: 2.0."""
    lease = claim(sweep / f"{14:012x}", on_loss=lambda: None)
    assert lease is not None
    try:
        progress = read_progress(sweep, price=2.0)
        flops = np.outer(SIZES, TOKENS).ravel() * 6.0
        share = (flops[:14].sum() + flops[14] / 2) / flops.sum()
        assert progress.share == pytest.approx(share)
        assert progress.cost == pytest.approx((14 * 2.0 + 1.0, (14 * 2.0 + 1.0) / share))
        left = flops[14] / 2 + flops[15]
        assert progress.seconds_left == pytest.approx(left / (1e5 * 6 * SIZES[3]))
        assert not progress.ended
        assert "14 done" in next(iter(progress.lines()))
    finally:
        lease.release(Ending.LOST)


def test_the_plan_s_price_counts_where_none_is_given(sweep: Path) -> None:
    """The runs took 14.5 hours of a device, as above."""
    cells = json.loads((sweep / "plan.json").read_text())["cells"]
    assert "cost" not in CliRunner().invoke(app, ["watch", str(sweep)]).output
    write_plan(sweep, {"sweep": sweep.name, "hardware": {"name": "v5e", "price": 1.2}, "cells": cells})
    assert "cost 17.40 so far" in CliRunner().invoke(app, ["watch", str(sweep)]).output
    assert "cost 72.50 so far" in CliRunner().invoke(app, ["watch", str(sweep), "--price", "5"]).output
    write_plan(sweep, {"sweep": sweep.name, "hardware": {"name": "v7x", "price": None}, "cells": cells})
    assert "cost" not in CliRunner().invoke(app, ["watch", str(sweep)]).output


def test_the_terminal_shows_totals_runs_and_failures_in_eighty_columns(sweep: Path) -> None:
    console = Console(width=80, record=True, force_terminal=False)
    terminal.watch(sweep, console)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert f"{3:012x}" in text
    assert "no such corpus" in text
    few = Console(width=80, record=True, height=12)
    few.print(terminal.render(read_progress(sweep), 4))
    shown = few.export_text()
    assert shown.index("failed") < shown.index("and 12 more")


def test_documents_say_what_the_directory_holds(served: int, sweep: Path) -> None:
    said = json.loads(ask(served, "/progress.json")[1])
    assert [run["state"] for run in said["runs"]] == ["done"] * 14 + ["failed", "planned"]
    curves = json.loads(ask(served, "/curves.json")[1])
    assert curves[f"{2:012x}"]["tokens"][-1] == TOKENS[2]
    write_run(sweep / f"{14:012x}", json.loads((sweep / "plan.json").read_text())["cells"][14], "done", 15)
    assert json.loads(ask(served, "/curves.json")[1])[f"{14:012x}"]["loss"][-1] == pytest.approx(loss_of(SIZES[3], TOKENS[2]))


def test_the_law_is_refitted_and_its_interval_shrinks_towards_the_truth(served: int) -> None:
    law = json.loads(ask(served, "/law.json")[1])
    history = law["history"]
    assert history[-1]["runs"] == 14
    widths = [row["high"] - row["low"] for row in history]
    assert widths[-1] < widths[0]
    a, b = ALPHA, BETA
    g = (a * A / (b * B)) ** (1 / (a + b))  # Hoffmann et al. 2022, eq. 4
    n = g * (law["budget"] / 6) ** (b / (a + b))
    assert history[-1]["low"] < loss_of(n, law["budget"] / 6 / n) < history[-1]["high"]
    alpha = law["estimates"]["alpha"]
    assert abs(alpha["value"] - ALPHA) < alpha["high"] - alpha["low"]  # 3.3 standard errors


def test_nothing_outside_the_directory_is_served(served: int, sweep: Path) -> None:
    run = f"{0:012x}"
    assert ask(served, f"/files/{run}/status.json")[0] == 200
    secret = sweep.parent / "secret.txt"
    secret.write_text("secret")
    (sweep / "link.txt").symlink_to(secret)
    (sweep / "linked").symlink_to(sweep.parent)
    (sweep / "weights.bin").write_text("not of the record")
    above = (
        "../secret.txt",
        "..%2fsecret.txt",
        "%2e%2e/secret.txt",
        f"{run}/../../secret.txt",
        "link.txt",
        "linked/secret.txt",
    )
    for path in (
        *above,
        str(secret),
        f"/{secret}",
        "..\\secret.txt",
        "weights.bin",
        run,
        "",
        "a" * 5000,
        "%00",
        "....//secret.txt",
    ):
        code, content, _ = ask(served, f"/files/{path}")
        assert (code, b"secret" in content) == (404, False), path
    assert ask(served, "/../secret.txt")[0] == 404
    assert record_file(sweep, "../secret.txt") is None


def test_it_only_reads_and_only_answers_this_machine(served: int, sweep: Path) -> None:
    before = {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()}
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert ask(served, "/progress.json", method)[0] == 501
    for name in ("progress.json", "curves.json", "law.json", ""):
        ask(served, f"/{name}")
    assert {path: path.read_bytes() for path in sweep.rglob("*") if path.is_file()} == before
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        assert ask(served, "/progress.json", host=host)[0] == 403, host
    for host in ("localhost", f"localhost:{served}", "127.0.0.1"):
        assert ask(served, "/progress.json", host=host)[0] == 200, host
    code, content, headers = ask(served, "/", "HEAD")
    assert (code, content) == (200, b"")
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_only_loopback_addresses_are_of_this_machine() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "localhost", "::1")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "192.168.1.2", "example.org", "")] == [False] * 4


def test_a_port_that_is_taken_is_one_line(served: int, sweep: Path) -> None:
    with pytest.raises(ScalingError, match=f"cannot listen on 127.0.0.1:{served}.*--port"):
        make_server(site(sweep), port=served)


@pytest.mark.parametrize("width", [400, 1600])
def test_the_page_draws_updates_and_is_accessible(visit, served: int, sweep: Path, width: int) -> None:
    opened = visit(f"http://127.0.0.1:{served}/", width)
    page = opened.page
    page.wait_for_selector("#figure-law .js-line", timeout=60_000)
    assert page.locator("#figure-curves .js-line").count() > 14
    assert "from 14 runs" in page.locator("#law").text_content()
    assert "no such corpus" in page.locator("#failures").text_content()
    opened.assert_fits()
    opened.assert_accessible()
    assert opened.controls() <= opened.tab_through()
    cell = json.loads((sweep / "plan.json").read_text())["cells"][14]
    write_run(sweep / cell["run_id"], cell, "done", 20)
    page.locator("#lines", has_text="15 done").wait_for(timeout=30_000)
    page.locator("#law", has_text="from 15 runs").wait_for(timeout=60_000)
    opened.assert_clean()

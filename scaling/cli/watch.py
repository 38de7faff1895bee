"""The verb watch: a sweep while it runs, in the terminal or as a page on this machine."""

import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scaling.cli.app import app, show
from scaling.cli.sources import accepted, default_convention, read_source
from scaling.cli.sweeps import SweepPath

if TYPE_CHECKING:
    from scaling.watch.server import Site

AHEAD = 10.0  # times the largest planned budget: where the law is followed


@app.command()
def watch(
    path: SweepPath,
    tracker: Annotated[
        str | None, typer.Option(help="send the curves to wandb, mlflow or trackio too, from where an earlier watch stopped")
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="of one device for an hour, in any currency: adds the cost; that of the plan's hardware"),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="serve a page with curves and the law so far, on this machine only")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the page; 0 takes one that is free")] = 8080,
    host: Annotated[
        str, typer.Option(help="address the page is served on; 0.0.0.0 lets other machines read the sweep")
    ] = "127.0.0.1",
) -> None:
    """Follow a sweep: runs by state, loss, tokens/s, time left, cost, and why runs failed."""
    from rich.console import Console

    from scaling.watch import terminal
    from scaling.watch.progress import planned_price, read_progress

    read_progress(path)  # is it one?
    price = planned_price(path) if price is None else price
    send = sender(path, tracker)
    try:
        if not web:
            return terminal.watch(path, Console(), price, send)
        from scaling.watch.server import is_loopback, make_server

        server = make_server(site(path, price), host, port)
        show(f"{path} is at http://{host}:{server.server_address[1]} until Ctrl-C")
        if not is_loopback(host):
            show("every machine that reaches this one can read it", style="yellow")
        if tracker:
            Thread(target=repeat, args=(send,), daemon=True).start()
        server.serve_forever()
    except KeyboardInterrupt:
        show("the sweep goes on" if not read_progress(path).ended else "")


def sender(path: Path, tracker: str | None) -> Callable[[], None]:
    """What sends new rows to a tracker, if there is one."""
    if tracker is None:
        return lambda: None
    from scaling.watch.trackers import TRACKERS, follow

    accepted("--tracker", tracker, TRACKERS)
    return follow(path, tracker)


def repeat(send: Callable[[], None], seconds: float = 10.0) -> None:
    """Call it for as long as this process lives."""
    while True:
        send()
        time.sleep(seconds)


def site(path: Path, price: float | None = None) -> "Site":
    """What the page of a sweep is made of."""
    from scaling.watch.curves import Curves
    from scaling.watch.progress import read_progress
    from scaling.watch.server import Site, own_assets

    report = files("analysis.report")
    return Site(
        directory=path,
        assets=own_assets()
        | {
            "style.css": report.joinpath("report.css").read_bytes(),
            "figures.js": report.joinpath("figures.js").read_bytes(),
            "plotly.js": files("plotly").joinpath("package_data", "plotly.min.js").read_bytes(),
        },
        documents={
            "progress.json": lambda: {"name": path.resolve().name, **read_progress(path, price).document()},
            "curves.json": Curves(path).document,
            "law.json": follow_law(path),
        },
    )


def follow_law(path: Path) -> Callable[[], dict[str, Any]]:
    """The law of what has ended so far, made again when another run has; one thread at a time fits."""
    from analysis.curves import final_points
    from analysis.growth import Growth
    from scaling.record import read_json

    growth, lock = Growth(), Lock()

    def law() -> dict[str, Any]:
        with lock:
            points = final_points(read_source(str(path)))
            ended = {run: (read_json(path / run / "status.json") or {}).get("updated", "") for run in points["run"]}
            convention = default_convention(points)
            budget = AHEAD * float((6 * points[convention] * points["horizon"]).max())
            return growth.follow(points, convention, sorted(ended, key=lambda run: ended[run]), budget)

    return law

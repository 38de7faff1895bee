"""Trunks: the part that runs of different lengths have in common, trained once.        (no jax)

After a warmup of so many tokens, the rate of `wsd` is constant until its decay, and `constant` never falls: runs that differ in
nothing but their tokens and their decay are one and the same run up to there, and may be branches of one trunk (Haegele et al.
2024, arXiv 2405.18392). Which state a run begins with is execution, no part of its identity.

A run that comes to the end of its trunk leaves its state there, for all that go further, in

    <sweep>/trunks/<trunk id>/<step>/        a checkpoint, as in a run's own directory
    <sweep>/trunks/<trunk id>/<step>.jsonl   the rows of the curve that led to it

and a run that has no state of its own begins with the furthest of these that is still in its own trunk. In a bucket, which
cannot rename, the seal of a checkpoint goes last, and one without it is not there.
"""

import math
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.config import RunConfig, run_id
from scaling.errors import RecordError
from scaling.record import read_text, write_text
from scaling.stores import is_bucket
from scaling.stores.sealed import download, is_sealed, upload

if TYPE_CHECKING:
    from scaling.specification import Specification

DOUBLINGS = 5
"""`execution.evaluations` of a run with a trunk are this many doublings of the steps apart, all together."""


@dataclass(frozen=True)
class Trunk:
    """What a run shares with longer ones."""

    id: str
    """Hash of all that its states and rows depend on: runs with the same id have the same trunk, one longer, one shorter."""
    step: int
    """Updates up to its end in this run."""

    def home(self, sweep: Path) -> Path:
        """Where the states of this trunk are kept, by their steps."""
        return sweep / "trunks" / self.id


def trunk_of(specification: "Specification") -> Trunk | None:
    """The trunk of a run, or None where its schedule depends on its length from the beginning, or it has none (n-grams).

    It ends one update before the last one at the constant rate, so that no rounding of the schedule can come into it.
    """
    config = specification.config
    if not isinstance(config, RunConfig):
        return None
    decay = {"wsd": config.schedule.decay_fraction, "constant": 0.0}.get(config.schedule.kind)
    if decay is None:
        return None
    step = math.floor(config.steps * (1 - decay)) - 1
    if step < 1:
        return None
    fields = dict(specification.identity)
    fields["training"] = {name: value for name, value in fields["training"].items() if name != "tokens"}
    fields["schedule"] = {name: value for name, value in fields["schedule"].items() if not name.startswith("decay_")}
    fields["rows"] = config.execution.model_dump(include={"log_every", "evaluations"})
    return Trunk(run_id(fields), step)


def evaluation_steps(config: RunConfig) -> set[int]:
    """After how many updates the held-out loss of a run is evaluated; always after the last.

    `execution.evaluations` = n of them are spread evenly over the run. Where there is a trunk, they must not depend on the
    run's length: there they are after the warmup at the steps 32^(k / n), rounded, n of them in five doublings.
    """
    steps, count = config.steps, config.execution.evaluations
    if config.schedule.kind not in ("wsd", "constant"):
        return {round(steps * (k + 1) / count) for k in range(count)}
    warmup = config.schedule.warmup_tokens / config.training.batch_tokens
    grid = {round(2 ** (DOUBLINGS * k / count)) for k in range(math.ceil(count * math.log2(steps) / DOUBLINGS) + 1)}
    return {step for step in grid if warmup < step < steps} | {steps}


def is_shared(trunk: Trunk, sweep: Path) -> bool:
    """Whether the state at the end of this trunk is there."""
    return is_sealed(trunk.home(sweep) / str(trunk.step))


def share(trunk: Trunk, sweep: Path, checkpoint: Path, rows: str, guard: Callable[[], None] = lambda: None) -> None:
    """Leave the state at the end of a trunk for others: a run's sealed checkpoint of that step, and the rows that led to it.

    In a directory files are linked where the file system can do that. The state appears whole or not at all; of several runs
    that come to the same step only the first leaves one. (Two that copy to a bucket at the same instant may leave a mixture of
    both: its seal does not fit it, and it is passed over.)

    Args:
        trunk: where the run is now.
        sweep: the sweep's directory.
        checkpoint: in the run's directory.
        rows: of the curve, as `curve.jsonl` holds them.
        guard: raises where this process may not write any more.

    Raises:
        RecordError: it could not be written.
    """
    if is_shared(trunk, sweep):
        return
    place = trunk.home(sweep) / str(trunk.step)
    write_text(place.with_suffix(".jsonl"), rows)
    try:
        if is_bucket(place):
            with tempfile.TemporaryDirectory(prefix="scaling-") as scratch:
                download(checkpoint, Path(scratch))
                upload(Path(scratch), place, guard)
        else:
            _install(checkpoint, place)
    except OSError as error:
        if not is_shared(trunk, sweep):  # no other run came first
            raise RecordError(f"cannot write {place}: {error.strerror or error}") from error


def shared_rows(trunk: Trunk, sweep: Path, step: int) -> str:
    """The rows of the curve up to a state that was left."""
    return read_text(trunk.home(sweep) / f"{step}.jsonl") or ""


def _install(checkpoint: Path, place: Path) -> None:
    partial = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        shutil.copytree(checkpoint, partial, copy_function=_link)
        partial.rename(place)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

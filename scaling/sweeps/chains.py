"""Which run of a plan goes on from where another one's trunk ends, and with which it diverges.        (no jax)

The runs on one trunk are a chain, the shortest first: each goes on from the state that the one before it left where its decay
began, trains the trunk as far as it needs it itself, leaves its own state there and decays. So the trunk is trained once and
each decay once, by any number of workers, and a longer run can be added at any time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from scaling.lease import claim
from scaling.policy import Ending
from scaling.record import RunDirectory, read_text, write_text
from scaling.stores import store_of
from scaling.trunks import Trunk, is_shared, trunk_of

if TYPE_CHECKING:
    from scaling.specification import Specification


class Link(NamedTuple):
    """The place of a run in its chain: `branch` of a cell in `plan.json`, but for `after`, which is its `trunk` there."""

    id: str
    """Of the trunk."""
    step: int
    """Where the trunk ends in this run."""
    start: int
    """The step of the state that it begins with; 0 for the first one."""
    after: str | None
    """The run that leaves that state; None for the first one."""


def link(runs: Sequence[tuple[Literal["fit", "holdout"], "Specification"]]) -> dict[str, Link]:
    """The places of all runs that have a trunk, by their ids. No run waits for one that is held out, but another such."""
    found: dict[str, Link] = {}
    trunks = [(role, run, trunk) for role, run in runs if (trunk := trunk_of(run)) is not None]
    for _, run, trunk in sorted(trunks, key=lambda each: (each[0] == "holdout", each[2].step, each[1].config.steps)):
        before = [(other.step, name) for name, other in found.items() if other.id == trunk.id and other.step <= trunk.step]
        start, after = max(before, default=(0, None))
        found[run.run_id] = Link(trunk.id, trunk.step, start, after)
    return found


def record_divergence(sweep: Path, cell: dict[str, Any]) -> None:
    """Say in the record of a run that it diverged with the one before it, on the trunk of both, unless another worker has it.

    That trunk is the beginning of this run too: it has diverged, at the same step with the same rows.
    """
    before = awaited(sweep, cell)
    lease = claim(sweep / cell["run_id"]) if before is not None else None
    if before is None or lease is None:
        return
    ended = RunDirectory(before)
    directory = RunDirectory(sweep / cell["run_id"], lease.check)
    said = f"its trunk, run {before.name}, diverged: {ended.status.get('reason')}"
    try:
        write_text(directory.curve_path, read_text(ended.curve_path) or "")
        numbers = {name: ended.status.get(name) for name in ("step", "loss", "train_loss", "skipped_updates")}
        directory.update_status(state="diverged", reason=said, steps=cell["facts"]["steps"], **numbers)
    finally:
        lease.release(Ending.DIVERGED, said)


def awaited(sweep: Path, cell: dict[str, Any]) -> Path | None:
    """The directory of the run that is to leave the state which that of a cell begins with.

    None where that state is there, the run has one of its own, or the other one is done and what it left is gone (the trunk is
    trained again).
    """
    after, branch = cell["trunk"], cell["branch"]
    if after is None or is_shared(Trunk(branch["id"], branch["start"]), sweep):
        return None
    directory = sweep / cell["run_id"]
    if store_of(directory).names(directory / "checkpoints"):  # it has a state of its own
        return None
    return None if RunDirectory(sweep / after).status["state"] == "done" else sweep / after

"""Which run of a plan goes on from where another one's trunk ends, and what becomes of it when that one fails.        (no jax)

The runs on one trunk are a chain, the shortest first: each goes on from the state that the one before it left where its decay
began, trains the trunk as far as it needs it itself, leaves its own state there and decays. So the trunk is trained once and
each decay once, by any number of workers, and a longer run can be added at any time.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from scaling.lease import claim
from scaling.record import TERMINAL, RunDirectory, write_text
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


def waits(sweep: Path, cell: dict[str, Any]) -> bool:
    """Whether the run of a cell should not begin yet: the state that it begins with is still being trained."""
    before = _before(sweep, cell)
    return before is not None and RunDirectory(before).status["state"] not in TERMINAL


def ends_with_its_trunk(sweep: Path, cell: dict[str, Any]) -> bool:
    """Whether the run of a cell ended with the one before it, on the trunk of both; its record then says so.

    A trunk that diverged is the beginning of this run too: it has diverged, at the same step with the same rows. Where the
    trunk failed this run fails for want of it, until the sweep is started again.
    """
    before = _before(sweep, cell)
    if before is None:
        return False
    directory, ended = RunDirectory(sweep / cell["run_id"]), RunDirectory(before)
    state, reason = ended.status["state"], ended.status.get("reason")
    if state not in ("diverged", "failed") or directory.status["state"] in TERMINAL:
        return False
    lease = claim(directory.path, on_loss=lambda: None)
    if lease is None:
        return False
    said = f"its trunk, run {before.name}, {state}: {reason}"
    try:
        if state == "diverged":
            write_text(directory.curve_path, ended.curve_path.read_text(encoding="utf-8"))
            numbers = {name: ended.status.get(name) for name in ("step", "loss", "train_loss", "skipped_updates")}
            directory.update_status(state=state, reason=said, steps=cell["facts"]["steps"], **numbers)
        else:
            directory.update_status(state=state, reason=said)
    finally:
        lease.release()
    return True


def _before(sweep: Path, cell: dict[str, Any]) -> Path | None:
    """The directory of the run before a cell's in its chain, where the cell still needs its state."""
    after, branch = cell["trunk"], cell["branch"]
    if after is None or is_shared(Trunk(branch["id"], branch["start"]), sweep):
        return None
    directory = sweep / cell["run_id"]
    if (directory / "checkpoints").exists():  # it has a state of its own
        return None
    return sweep / after

"""Whether a run is tried again, when and how often, by how its attempts ended: the one policy of every launcher.   (no jax)

| ending of an attempt | tried again | after |
|---|---|---|
| done, diverged | no: it is a result | |
| mistaken: the configuration or the data cannot be trained | no: the same would happen | |
| cancelled | no, until `scaling retry` | |
| preempted (told to save and go), lost (killed, its machine gone) | 100 times together | 1 s, doubled each time, at most 60 s |
| out of memory | once, with half the micro-batch | at once |
| crashed: anything else | once | at once |

A run that its engine gave back before any worker claimed it is handed over again only where the engine took it away, or says
that it is done (`restart_after`).

Each lease carries the tally of the endings before it, so that the newest one tells all. `scaling retry` clears it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from scaling.errors import Exit

LONGEST_WAIT = 60.0
SETTLE_SECONDS = 60.0


class Ending(StrEnum):
    """How an attempt at a run ended."""

    DONE = "done"
    DIVERGED = "diverged"
    MISTAKEN = "mistaken"
    CANCELLED = "cancelled"
    PREEMPTED = "preempted"
    LOST = "lost"
    OUT_OF_MEMORY = "out of memory"
    CRASHED = "crashed"
    RETRIED = "retried"
    """Not an attempt: someone gave the run a new chance."""


INFRASTRUCTURE = (Ending.PREEMPTED, Ending.LOST)

CHANCES = {Ending.PREEMPTED: 100, Ending.LOST: 100, Ending.OUT_OF_MEMORY: 1, Ending.CRASHED: 1}
"""How often a run is tried again after each ending; the endings of the infrastructure are counted together."""

OF_CODE = {
    Exit.DONE: Ending.DONE,
    Exit.FAILED: Ending.CRASHED,
    Exit.USAGE: Ending.MISTAKEN,
    Exit.DIVERGED: Ending.DIVERGED,
    Exit.OUT_OF_MEMORY: Ending.OUT_OF_MEMORY,
    Exit.SAVED: Ending.PREEMPTED,
}
"""The ending that an exit code of a worker means."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a run that nobody trains."""

    again: bool
    not_before: float
    """Unix time before which it is not tried again."""
    reason: str
    """How the last attempt ended, in one line; empty where there was none."""


def tally_after(lease: Mapping[str, Any] | None) -> dict[str, int]:
    """The endings of all attempts so far, by the newest lease: those before it, and its own."""
    if lease is None or lease.get("ending") == Ending.RETRIED:
        return {}
    return dict(Counter(lease.get("tally", {})) + Counter([str(ending_of(lease))]))


def ending_of(lease: Mapping[str, Any]) -> Ending:
    """How the attempt of a lease that nobody holds ended: lost, where its worker could not say."""
    return Ending(lease.get("ending", Ending.LOST))


def judge(lease: Mapping[str, Any] | None) -> Verdict:
    """The verdict on a run by its newest lease, which nobody holds; None for a run that no worker ever had."""
    if lease is None or lease.get("ending") == Ending.RETRIED:
        return Verdict(True, 0.0, "")
    ending, tally = ending_of(lease), tally_after(lease)
    kinds = INFRASTRUCTURE if ending in INFRASTRUCTURE else (ending,)
    count, chances = sum(tally.get(kind, 0) for kind in kinds), CHANCES.get(ending, 0)
    reason = lease.get("reason") or ("its worker died" if ending is Ending.LOST else str(ending))
    if count > chances:
        return Verdict(False, 0.0, reason if chances <= 1 else f"{reason}, {count} times")
    wait = min(2.0 ** (count - 1), LONGEST_WAIT) if ending in INFRASTRUCTURE else 0.0
    return Verdict(True, _ended_at(lease) + wait, reason)


def restart_after(code: int | None, restarts: int) -> float | None:
    """Seconds until a run that no worker claimed is handed to its engine again, or None to leave it failed.

    Args:
        code: that the engine reports: 75 for a preemption, negative for a signal, None where it cannot tell.
        restarts: how often it was handed over again so far.
    """
    if code == Exit.SAVED:
        return 0.0
    if code == Exit.DONE and not restarts:  # a network file system may show the end of its record late
        return SETTLE_SECONDS
    return None


def micro_batch_after(tally: Mapping[str, int], rows: int, shards: int) -> int:
    """The sequences in memory at once for the next attempt: half as many for each time that memory ran out, where that divides
    over the devices.

    Args:
        tally: the endings before the attempt.
        rows: sequences at once that the configuration states.
        shards: devices that share a batch.
    """
    for _ in range(tally.get(Ending.OUT_OF_MEMORY, 0)):
        if rows % (2 * shards) == 0:
            rows //= 2
    return rows


def _ended_at(lease: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(lease["ended"]).timestamp() if "ended" in lease else float(lease.get("heartbeat", 0.0))

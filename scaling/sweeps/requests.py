"""What people and launchers say of a run from outside: end it, try it again, it has failed. All of it is said in the run's
directory; a launcher with an engine behind it also takes a cancelled run out of the engine's queue.        (no jax)
"""

import getpass
import socket
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM

from scaling.errors import ScalingError
from scaling.lease import CANCEL, claim, newest_lease
from scaling.policy import Ending
from scaling.record import RunDirectory, now, write_json
from scaling.stores import store_of


def cancel(run: Path) -> bool:
    """Ask that the run be ended, with its state kept; False where it is done or has diverged."""
    if RunDirectory(run).status["state"] in ("done", "diverged"):
        return False
    write_json(run / CANCEL, {"asked": now(), "by": f"{getpass.getuser()}@{socket.gethostname()}"})
    return True


def retry(run: Path) -> bool:
    """Give a failed or cancelled run a new chance: from its newest checkpoint, with nothing counted against it.

    Returns:
        False where it is done or has diverged: those are results.

    Raises:
        ScalingError: a worker trains it now.
    """
    if RunDirectory(run).status["state"] in ("done", "diverged"):
        return False
    lease = claim(run)
    if lease is None:
        raise ScalingError(f"a worker is training {run} now: there is nothing to retry")
    RunDirectory(run, lease.check).update_status(state="planned", reason=None)
    store_of(run).remove(run / CANCEL)
    lease.release(Ending.RETRIED)
    return True


def give_up(run: Path, ending: Ending, reason: str) -> bool:
    """Record how a worker that could not say so itself ended; False where a living worker has the run."""
    lease = claim(run)
    if lease is None:
        return False
    RunDirectory(run, lease.check).update_status(state="failed", reason=reason)
    lease.release(ending, reason)
    return True


def report_death(run: Path, pid: int, code: int, log: Path) -> None:
    """Record that the worker process `pid` of this machine ended with `code` (negative: by a signal), if it held the run.

    One that was killed from outside is lost, as its lease says already; one that died of its own doing has crashed.
    """
    holder = newest_lease(run)[1] or {}
    if holder.get("pid") == pid and not holder.get("released") and -code not in (SIGKILL, SIGTERM, SIGINT):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        give_up(run, Ending.CRASHED, f"its worker {how}; see {log}")

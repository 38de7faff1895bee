"""A submitting process in a session of its own, which outlives the terminal that it was started in.        (no jax)"""

import fcntl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scaling.errors import ScalingError
from scaling.run_logs import logs_here


def start(sweep: Path, arguments: Sequence[str]) -> tuple[int, Path]:
    """Start `scaling ARGUMENTS` for a sweep: no terminal that closes, and no signal meant for it, reaches it.

    Returns:
        Its process id, and the file that what it prints is added to.

    Raises:
        ScalingError: one that was started so is at work on this machine.
    """
    log = logs_here(sweep) / "submission.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the process inherits it with the file, and has it till it ends
        except BlockingIOError:
            raise ScalingError(f"{sweep} is being submitted by a detached process of this machine; see {log}") from None
        process = subprocess.Popen(
            [sys.executable, "-m", "scaling", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return process.pid, log

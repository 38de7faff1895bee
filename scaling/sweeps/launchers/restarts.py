"""Whether a run that left its engine without an end in its record is handed over again, and when.        (no jax)"""

from scaling.errors import Exit

SETTLE_SECONDS = 60.0


def restart_after(code: int | None, restarts: int) -> float | None:
    """Seconds to wait before the next start, or None to leave the run failed.

    Args:
        code: as in `Report.code`.
        restarts: how often this process has handed the run over again.
    """
    if code == Exit.SAVED:
        return 0.0
    if code == Exit.DONE and not restarts:  # a network file system may show the end of its record late
        return SETTLE_SECONDS
    return None

"""The error that a user's input can cause, and the exit codes that every engine understands."""

import enum


class ScalingError(ValueError):
    """Something the user can put right; its text is one clear line that says what to do."""


class RecordError(ScalingError):
    """The record of a run could not be written: no room, no permission, a file in its place."""


class Exit(enum.IntEnum):
    """Exit codes of every command, the same on a laptop and under every scheduler."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DIVERGED = 3
    OUT_OF_MEMORY = 4
    SAVED = 75  # EX_TEMPFAIL: the state is kept, run me again

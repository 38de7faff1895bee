"""SIGTERM, the one notice that every engine gives: save what is being trained and end with 75.        (no jax)"""

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from scaling.errors import Exit


class Stop(Protocol):
    """What tells those who train when to save and go."""

    def __call__(self) -> bool:
        """Whether to."""

    def deferred(self) -> AbstractContextManager[None]:
        """Inside, a signal is only noted: who trains asks for it between two steps."""


class StopSignal:
    """Whether this process was asked to save and go: by SIGTERM, SIGINT, or the death of its `launcher` where it has one.

    While nothing is being trained (imports, preparing data) there is nothing to save, and a signal ends the process at once.
    """

    def __init__(self, launcher: int | None = None) -> None:
        self._asked, self._deferred, self._launcher = False, False, launcher
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)

    def __call__(self) -> bool:
        """Whether to stop."""
        return self._asked or self._launcher not in (None, os.getppid())

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is only noted: who trains asks for it between two steps."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, _frame: Any) -> None:
        if not self._deferred or (self._asked and number == signal.SIGINT):  # the second Ctrl-C: now
            os._exit(Exit.SAVED)
        self._asked = True

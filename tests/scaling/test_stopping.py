import os
import signal

import pytest

from scaling.errors import Exit
from scaling.stopping import StopSignal


@pytest.fixture
def exits(monkeypatch):
    """Codes that the process would have ended with; the handlers of the test run are put back."""
    codes, handlers = [], {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    monkeypatch.setattr(os, "_exit", codes.append)
    yield codes
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_with_nothing_to_save_a_signal_ends_the_process_at_once(exits, number):
    StopSignal()
    os.kill(os.getpid(), number)
    assert exits == [Exit.SAVED]


def test_while_training_a_signal_is_noted_and_only_a_second_ctrl_c_ends_at_once(exits):
    stop = StopSignal()
    with stop.deferred():
        assert not stop()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop()
        assert exits == []
        os.kill(os.getpid(), signal.SIGINT)
        assert exits == [Exit.SAVED]
    assert stop()


def test_a_worker_stops_when_its_launcher_is_gone(exits):
    assert not StopSignal(launcher=os.getppid())()
    assert StopSignal(launcher=1 if os.getppid() != 1 else 2)()

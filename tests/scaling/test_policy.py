"""What becomes of a run after each history of endings; the tables are the policy as it is stated in the module."""

import time

import pytest

from scaling.errors import Exit
from scaling.policy import OF_CODE, Ending, judge, micro_batch_after, tally_after


def _history(*endings, heartbeat=0.0):
    """The newest lease after attempts that ended so; one that is LOST could not say it."""
    lease = None
    for ending in endings:
        said = {} if ending is Ending.LOST else {"ending": str(ending), "ended": "2026-11-22T00:00:00+00:00"}
        lease = {"tally": tally_after(lease), "heartbeat": heartbeat, "released": bool(said), **said}
    return lease


@pytest.mark.parametrize("ending", [Ending.DONE, Ending.DIVERGED, Ending.MISTAKEN, Ending.CANCELLED])
def test_a_result_and_a_mistake_are_not_tried_again(ending):
    assert not judge(_history(ending)).again


@pytest.mark.parametrize(
    ("ending", "chances"), [(Ending.CRASHED, 1), (Ending.OUT_OF_MEMORY, 1), (Ending.PREEMPTED, 100), (Ending.LOST, 100)]
)
def test_the_chances_of_each_ending(ending, chances):
    assert judge(_history(*[ending] * chances)).again
    assert not judge(_history(*[ending] * (chances + 1))).again


def test_preemptions_do_not_use_up_the_chance_of_a_crash_nor_the_other_way_round():
    assert judge(_history(*[Ending.PREEMPTED, Ending.LOST] * 20, Ending.CRASHED)).again
    assert judge(_history(Ending.CRASHED, *[Ending.PREEMPTED] * 20)).again
    assert not judge(_history(Ending.CRASHED, *[Ending.PREEMPTED] * 20, Ending.CRASHED)).again
    assert not judge(_history(*[Ending.PREEMPTED, Ending.LOST] * 50, Ending.LOST)).again


def test_a_retry_clears_what_was_counted():
    failed = _history(Ending.CRASHED, Ending.CRASHED)
    retried = {"tally": tally_after(failed), "ending": "retried", "heartbeat": 0.0}
    assert judge(retried).again
    assert tally_after(retried) == {}


def test_waits_double_up_to_a_minute_and_count_from_the_last_sign_of_life():
    now = time.time()
    waits = [judge(_history(*[Ending.LOST] * count, heartbeat=now)).not_before - now for count in range(1, 10)]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60])
    assert judge(_history(Ending.CRASHED)).not_before <= now


def test_of_a_run_never_tried_nothing_is_held_against_it():
    assert judge(None) == judge({"ending": "retried"})
    assert judge(None).again


def test_the_reason_is_that_of_the_attempt_and_of_too_many_says_how_many():
    crashed = {**_history(Ending.CRASHED, Ending.CRASHED), "reason": "ValueError: no"}
    assert judge(crashed).reason == "ValueError: no"
    assert judge(_history(Ending.LOST)).reason == "its worker died"
    assert judge(_history(*[Ending.LOST] * 101)).reason == "its worker died, 101 times"


@pytest.mark.parametrize(
    ("times", "rows", "shards", "expected"),
    [
        (0, 64, 1, 64),
        (1, 64, 1, 32),
        (1, 64, 8, 32),
        (1, 24, 8, 24),  # 12 do not divide over 8 devices
        (1, 8, 8, 8),  # one for each device already
        (1, 7, 1, 7),
    ],
)
def test_after_memory_ran_out_half_as_many_sequences_are_in_it_at_once(times, rows, shards, expected):
    assert micro_batch_after({"out of memory": times}, rows, shards) == expected


def test_every_exit_code_means_an_ending():
    assert set(OF_CODE) == set(Exit)

"""Runs trained together leave the records that they leave alone, whatever becomes of any one of them."""

import time

import jax
import pytest
from trainer import Trainer

from scaling.errors import Exit
from scaling.lease import CANCEL, lease_path
from scaling.stopping import StopSignal
from scaling.training import attempt as attempts
from scaling.training.attempt import Work, attempt_together

SETTINGS = ("execution.evaluations=3", "execution.checkpoint_every_seconds=1000")
MEMBERS = (
    ("seed=3",),
    ("optimizer.learning_rate=1e30",),  # diverges
    ("optimizer.weight_decay=0.5", "schedule={kind: wsd, warmup_tokens: 400}"),
    ("optimizer.learning_rate=3e-3", "optimizer.beta2=0.9"),
)
NUMBERS = ("train_loss", "loss", "bits_per_byte", "learning_rate", "gradient_norm")


class After(StopSignal):
    """Stops after so many questions, which are one a step and a run; calls an action at each."""

    def __init__(self, questions=None, action=lambda asked: None):
        self._questions, self._action, self._asked_so_far = questions, action, 0

    def __call__(self):
        self._asked_so_far += 1
        self._action(self._asked_so_far)
        return self._questions is not None and self._asked_so_far >= self._questions


@pytest.fixture(autouse=True)
def _three_devices(monkeypatch):
    three = jax.devices()[:3]
    monkeypatch.setattr(jax, "devices", lambda *_: three)
    monkeypatch.setattr(attempts, "keep_compiled_programs", lambda cache: None)


@pytest.fixture(scope="module")
def alone(tmp_path_factory, dataset):
    """Each member trained by itself."""
    home = tmp_path_factory.mktemp("alone")
    runs = [Trainer(home / str(number), dataset) for number in range(len(MEMBERS))]
    for run, member in zip(runs, MEMBERS, strict=True):
        run(*SETTINGS, *member)
    return runs


def _runs(trainer):
    return [trainer(str(number)) for number in range(len(MEMBERS))]


def _work(run, number):
    return Work(run.directory.path, run.specify(*SETTINGS, *MEMBERS[number]), run.dataset)


def _assert_same(run, expected):
    """Within 1e-3 of what the run alone comes to: 40 steps of training at a rate of 0.01 enlarge what rounding differs by."""
    assert [row["step"] for row in run.rows] == [row["step"] for row in expected.rows]
    for row, other in zip(run.rows, expected.rows, strict=True):
        assert row.keys() == other.keys()
        for name in NUMBERS:
            assert row[name] == (other[name] if other[name] is None else pytest.approx(other[name], rel=1e-3)), (name, row)
    found, known = run.directory.status, expected.directory.status
    for name in ("state", "step", "steps", "reason", "checkpoint"):
        assert found[name] == known[name]


def test_every_member_leaves_the_record_of_the_run_alone_and_one_that_diverges_disturbs_none(trainer, alone):
    """Four members on three devices: the six seats are two on each."""
    runs = _runs(trainer)
    ended = attempt_together([_work(run, number) for number, run in enumerate(runs)], After())
    assert ended == [Exit.DONE, Exit.DIVERGED, Exit.DONE, Exit.DONE]
    for run, expected in zip(runs, alone, strict=True):
        _assert_same(run, expected)
        assert run.directory.status["cohort"] == 4
    assert alone[0].directory.status["cohort"] == 1
    assert runs[1].directory.status["step"] < 10


def test_a_member_goes_on_alone_and_a_run_alone_goes_on_in_a_cohort(trainer, alone):
    runs = _runs(trainer)
    assert runs[0](*SETTINGS, *MEMBERS[0], stop_after=7) is Exit.SAVED
    ended = attempt_together([_work(run, number) for number, run in enumerate(runs)], After(questions=40))
    assert ended == [Exit.SAVED, Exit.DIVERGED, Exit.SAVED, Exit.SAVED]
    first, third = (runs[number].directory.status["step"] for number in (0, 2))
    assert first - 7 in (third, third + 1)
    assert runs[0].checkpoints == [7, first]
    for number in (0, 2):
        assert runs[number](*SETTINGS, *MEMBERS[number]) is Exit.DONE
        _assert_same(runs[number], alone[number])


def test_a_member_that_is_taken_over_or_cancelled_leaves_the_others_alone(trainer, alone, monkeypatch):
    monkeypatch.setattr("scaling.lease.HEARTBEAT_SECONDS", 0.01)
    runs = _runs(trainer)

    def disturb(asked):
        if asked == 9:
            (runs[2].directory.path / CANCEL).write_text("{}")
            lease_path(runs[3].directory.path, 2).write_text("{}")
            time.sleep(1)

    ended = attempt_together([_work(run, number) for number, run in enumerate(runs)], After(action=disturb))
    assert ended == [Exit.DONE, Exit.DIVERGED, Exit.SAVED, None]
    _assert_same(runs[0], alone[0])
    assert runs[2].directory.status["state"] == "cancelled"
    assert runs[2].checkpoints == [runs[2].directory.status["step"]]
    assert runs[3].directory.status["state"] == "running"  # as the worker that lost it left it
    assert not (runs[3].directory.path / "checkpoints").exists()


def test_what_goes_wrong_with_an_update_ends_every_member_as_it_ends_a_run_alone(trainer, monkeypatch):
    runs = [trainer(str(number)) for number in range(2)]

    def exhausted(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("scaling.training.places.Cohort.update", exhausted)
    ended = attempt_together([_work(run, number) for number, run in enumerate(runs)], After())
    assert ended == [Exit.OUT_OF_MEMORY] * 2
    assert [run.directory.status["reason"] for run in runs] == ["out of memory: no room"] * 2


def test_of_two_workers_the_one_that_claims_the_first_run_has_the_cohort(trainer):
    runs = [trainer(str(number)) for number in (0, 2)]
    taken = attempts.claim(runs[0].directory.path)
    assert attempt_together([_work(run, number) for run, number in zip(runs, (0, 2), strict=True)], After()) == [None, None]
    assert not (runs[1].directory.path / "leases").exists()
    taken.release("preempted")

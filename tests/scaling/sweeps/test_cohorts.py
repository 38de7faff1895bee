"""Which cells are trained together, and what a worker makes of them."""

import os

import pytest

from scaling.config import set_path
from scaling.record import RunDirectory
from scaling.stopping import StopSignal
from scaling.sweeps.cohorts import cohorts
from scaling.sweeps.plan import SweepConfig, make_plan
from scaling.sweeps.stored import create_runs, write_plan
from scaling.sweeps.worker import work
from scaling.training import attempt

SMALL = {"model": {"width": 16, "layers": 1, "heads": 1}, "training": {"tokens": 2048, "batch_tokens": 256}}


def _plan(base, cohort, **axes):
    base = set_path({**base, **SMALL}, "execution.cohort", cohort)
    return make_plan(SweepConfig(name="made-up", base=base, axes=axes)).record()


def _labels(plan):
    return [[tuple(cell["labels"].values()) for cell in cohort] for cohort in cohorts(plan["cells"])]


def test_what_the_step_traces_may_differ_in_a_cohort(base):
    plan = _plan(
        base,
        8,
        **{
            "seed": [0, 1],
            "optimizer.weight_decay": [0.1, 0.2],
            "model.z_loss": [0, 0.01],
            "schedule": [{"kind": "cosine"}, {"kind": "constant"}],
        },
    )
    assert [len(cohort) for cohort in cohorts(plan["cells"])] == [8, 8]


@pytest.mark.parametrize(
    "axis",
    [
        {"model.width": [16, 32]},
        {"training.tokens": [2048, 4096]},
        {"training.batch_tokens": [256, 512]},
        {"optimizer.name": ["adamw", "lion"]},
        {"optimizer.learning_rate_multipliers": [{}, {"embedding/.*": 2}]},
        {"data.validation_tokens": [1024, 512]},
        {"training.objective": ["causal", "masked"]},
    ],
    ids=lambda axis: next(iter(axis)),
)
def test_what_the_step_or_its_number_depends_on_may_not(base, axis):
    plan = _plan(base, 8, seed=[0, 1], **axis)
    found = cohorts(plan["cells"])
    assert [len(cohort) for cohort in found] == [2, 2]
    (name,) = axis
    for cohort in found:
        assert cohort[0]["labels"][name] == cohort[1]["labels"][name]


def test_cohorts_are_about_as_large_as_each_other_and_at_most_as_large_as_asked(base):
    assert [len(cohort) for cohort in cohorts(_plan(base, 4, seed=list(range(9)))["cells"])] == [3, 3, 3]
    assert [len(cohort) for cohort in cohorts(_plan(base, 4, seed=list(range(5)))["cells"])] == [2, 3]
    assert [len(cohort) for cohort in cohorts(_plan(base, 1, seed=[0, 1])["cells"])] == [1, 1]


def test_runs_split_over_devices_and_counted_models_are_trained_by_themselves(base):
    split = set_path(base, "execution.mesh.data", 2)
    assert [len(cohort) for cohort in cohorts(_plan(split, 4, seed=[0, 1])["cells"])] == [1, 1]
    plan = _plan(base, 4, model=[{"family": "ngram", "order": 2}], seed=[0, 1])
    assert [len(cohort) for cohort in cohorts(plan["cells"])] == [1, 1]


@pytest.fixture
def trained(base, tmp_path, monkeypatch):
    """(cohort) -> the directories of three seeds that a worker has trained, in the plan's order."""
    monkeypatch.setattr(attempt, "keep_compiled_programs", lambda cache: None)

    def train(cohort):
        sweep, plan = tmp_path / "runs", _plan(base, cohort, seed=[0, 1, 2])
        write_plan(sweep, plan)
        create_runs(sweep, plan)
        work(sweep, "fit", Never())
        return [RunDirectory(sweep / cell["run_id"]) for cell in plan["cells"]]

    return train


class Never(StopSignal):
    def __init__(self):
        self._deferred = False

    def __call__(self):
        return False


def test_a_worker_trains_a_cohort_at_once(trained):
    runs = trained(2)
    assert [(run.status["state"], run.status["cohort"]) for run in runs] == [("done", 1), ("done", 2), ("done", 2)]


def test_what_is_printed_goes_to_the_log_of_the_run_whose_turn_it_is(tmp_path):
    with attempt.output_to([tmp_path / "first", tmp_path / "second"]) as turn:
        os.write(1, b"a")
        turn(1)
        os.write(2, b"b")
        turn(0)
        os.write(2, b"c")
    assert [(tmp_path / run / "log.txt").read_text() for run in ("first", "second")] == ["ac", "b"]


def test_runs_whose_memory_ran_out_together_are_trained_one_by_one(trained, monkeypatch):
    def exhausted(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("scaling.training.places.Cohort.update", exhausted)
    for run in trained(3):
        assert (run.status["state"], run.status["cohort"], run.status["attempt"]) == ("done", 1, 2)

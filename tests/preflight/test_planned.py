"""Sweeps whose learning rates are tuned first, before and after. No run is trained: statuses are written in their place."""

import math

import pytest

from scaling.config import build
from scaling.preflight.planned import planned
from scaling.preflight.programs import distinct
from scaling.record import RunDirectory
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.rules import size_of
from scaling.sweeps.tuning import tune

TUNE = {"rungs": [{"model.layers": 1}, {"model.layers": 2}], "rates": [1e-3, 2e-3, 4e-3]}


@pytest.fixture
def sweep(lab):
    def make(**settings):
        base = {
            "model": {"width": 64, "heads": 2},
            "data": {"corpus": f"files:{lab.path / 'text'}", "sequence_length": 128, "validation_tokens": "1k"},
            "training": {"tokens": 16_384, "batch_tokens": 2048},
            "execution": {"cache_directory": str(lab.path / ".cache")},
        }
        return build(
            SweepConfig, {"name": "tuned", "base": base, "axes": {"model.layers": [1, 3]}, "tune": {**TUNE, **settings}}
        )

    return make


def trained(plan, home):
    """Ends every trial with a loss that is least at 2e-3 x sqrt(parameters / 10^5)."""
    for cell in plan.cells:
        config = cell.specification.config
        best = 2e-3 * math.sqrt(size_of(config, config.training.tokens).parameters / 1e5)
        loss = 2.0 + math.log(config.optimizer.learning_rate / best) ** 2
        RunDirectory(home / cell.specification.run_id).update_status(state="done", loss=loss)
    return True


def ids(cells):
    return [cell.specification.run_id for cell in cells]


def test_before_the_tuning_stage_the_programs_are_known_and_the_runs_are_not(sweep, tmp_path):
    known = planned(sweep(), tmp_path)
    assert len(known.trials) == 6  # two rungs at three rates
    assert {program.shape.model.layers: len(program.cells) for program in distinct(known.cells)} == {1: 3 + 1, 2: 3, 3: 1}
    assert known.unnamed == set(ids(known.plan.cells))
    assert not known.unnamed & set(ids(known.trials))


def test_after_it_the_runs_are_those_that_will_be_trained(sweep, tmp_path):
    before = planned(sweep(), tmp_path)
    file = sweep()
    tuned = tune(file, file.tune, tmp_path, trained)
    after = planned(file, tmp_path)
    assert (after.trials, after.unnamed) == ((), frozenset())
    assert not set(ids(after.plan.cells)) & before.unnamed
    for cell in after.plan.cells:
        config = cell.specification.config
        law = tuned.learning_rate.at(size_of(config, config.training.tokens))
        assert config.optimizer.learning_rate == pytest.approx(law, rel=0.005)
    shapes = {each.shape for each in distinct(after.plan.cells)}
    assert shapes == {each.shape for each in distinct(before.plan.cells)}


def test_where_batches_are_tuned_only_the_trials_are_known(sweep, tmp_path):
    known = planned(sweep(batches=[1024, 2048, 4096]), tmp_path)
    assert not known.plan.cells
    assert {program.shape.batch_size for program in distinct(known.cells)} == {8, 16, 32}


def test_a_sweep_that_tunes_nothing_is_its_plan(sweep, tmp_path):
    file = sweep()
    file = file.model_copy(update={"tune": None, "base": {**file.base, "optimizer": {"learning_rate": 1e-3}}})
    known = planned(file, tmp_path)
    assert known.cells == tuple(known.plan.cells)
    assert not known.unnamed

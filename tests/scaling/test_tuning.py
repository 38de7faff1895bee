"""The tuning stage with runs that are not trained: their losses are those of a made-up law of the best rate and batch."""

import math

import pytest

from scaling.config import build
from scaling.errors import ScalingError
from scaling.record import RunDirectory, read_json
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.plan import make_plan
from scaling.sweeps.rules import size_of
from scaling.sweeps.tuning import MOST, tune

RUNGS = [{"model": {"width": width}, "training.tokens": "100k"} for width in (32, 64, 96)]
TUNE = {"rungs": RUNGS, "rates": [1e-3, 2e-3, 4e-3]}


def _best_rate(size):
    return 0.8 * size.parameters**-0.45


def _best_batch(size):
    return 3.0 * size.tokens**0.5


@pytest.fixture
def sweep(base):
    untuned = {**base, "optimizer": {"weight_decay": 0.1}}

    def make(settings, model=None, **fields):
        merged = {**untuned, "model": {**base["model"], **(model or {})}}
        axes = {"model": [{"width": width} for width in (32, 128)], "training.tokens": ["64k", "200k"]}
        return build(SweepConfig, {"name": "s", "base": merged, "axes": axes, "tune": settings, **fields})

    return make


class Trainer:
    """Ends each run of a plan at once, with the loss of the made-up law."""

    def __init__(self, diverges_above=math.inf, batches=False):
        self.rounds, self.trained = 0, []
        self.diverges_above, self.batches = diverges_above, batches

    def __call__(self, plan, home):
        self.rounds += 1
        for cell in plan.cells:
            directory = RunDirectory(home / cell.specification.run_id)
            if directory.status["state"] != "planned":
                continue
            config = cell.specification.config
            size, rate = size_of(config, config.training.tokens), config.optimizer.learning_rate
            loss = 2.0 + 0.2 * math.log(rate / _best_rate(size)) ** 2
            if self.batches:
                away = math.log(config.training.batch_tokens / _best_batch(size))
                loss = 2.0 + 0.2 * (math.log(rate / _best_rate(size)) - 0.5 * away) ** 2 + 0.1 * away**2
            self.trained.append(rate)
            if rate > self.diverges_above:
                directory.update_status(state="diverged")
            else:
                directory.update_status(state="done", loss=loss)
        return True


def test_the_law_of_the_best_rate_is_found_and_sets_every_cell(sweep, tmp_path):
    file, train = sweep(TUNE), Trainer()
    tuned = tune(file, file.tune, tmp_path / "s", train)
    assert (tuned.learning_rate.scale, tuned.learning_rate.parameters) == pytest.approx((0.8, -0.45), rel=1e-3)
    assert train.rounds > 1  # the widest rung's best rate lies beside the first ones
    plan = make_plan(file, tuned=tuned)
    for cell in plan.cells:
        config = cell.specification.config
        expected = _best_rate(size_of(config, config.training.tokens))
        assert config.optimizer.learning_rate == pytest.approx(expected, rel=0.01)
        assert config.training.batch_tokens == 512
    assert plan.record()["rule"] == "tuned"


def test_the_evidence_names_every_run_and_stays_when_all_is_done_again(sweep, tmp_path):
    file, train = sweep(TUNE), Trainer()
    tuned = tune(file, file.tune, tmp_path / "s", train)
    evidence = read_json(tmp_path / "s" / "tuning.json")
    rungs = evidence["rungs"]
    assert [rung["labels"] for rung in rungs] == RUNGS
    trials = [trial for rung in rungs for trial in rung["trials"]]
    assert len(trials) == len(train.trained)
    for trial in trials:
        assert RunDirectory(tmp_path / "s" / "tuning" / trial["run_id"]).status["loss"] == trial["loss"]
    for rung in rungs:
        rates = [trial["learning_rate"] for trial in rung["trials"]]
        assert rates[0] < rung["learning_rate"] < rates[-1]
        assert rung["learning_rate"] == pytest.approx(0.8 * rung["parameters"] ** -0.45, rel=1e-3)
    again = Trainer()
    assert tune(file, file.tune, tmp_path / "s", again) == tuned
    assert again.rounds == 0
    assert read_json(tmp_path / "s" / "tuning.json") == evidence


def test_diverged_rates_are_results_too(sweep, tmp_path):
    file = sweep({**TUNE, "rates": [2e-3, 8e-3, 3.2e-2]})
    tuned = tune(file, file.tune, tmp_path / "s", Trainer(diverges_above=2e-2))
    assert (tuned.learning_rate.scale, tuned.learning_rate.parameters) == pytest.approx((0.8, -0.45), rel=1e-3)
    trials = read_json(tmp_path / "s" / "tuning.json")["rungs"][0]["trials"]
    assert trials[-1]["loss"] is None


def test_a_batch_and_its_rate_are_found_together(sweep, tmp_path):
    rungs = [{"model": {"width": width}, "training.tokens": f"{tokens}k"} for width in (32, 96) for tokens in (50, 100, 200)]
    file = sweep({"rungs": rungs, "rates": [2e-3, 6e-3, 1.8e-2], "batches": [256, 512, 1024]})
    tuned = tune(file, file.tune, tmp_path / "s", Trainer(batches=True))
    assert tuned.batch_tokens.tokens == pytest.approx(0.5, abs=0.01)
    assert tuned.batch_tokens.parameters == pytest.approx(0.0, abs=0.01)
    assert tuned.learning_rate.parameters == pytest.approx(-0.45, abs=0.01)
    for cell in make_plan(file, tuned=tuned).cells:
        config = cell.specification.config
        expected = _best_batch(size_of(config, config.training.tokens))
        assert abs(config.training.batch_tokens - expected) <= 0.02 * expected + 32


@pytest.mark.parametrize("name", [{"name": "mup", "base_width": 32}, {"name": "completep", "base_width": 32, "base_layers": 2}])
def test_under_mup_one_rung_is_tuned_and_its_rate_is_that_of_all(sweep, tmp_path, name):
    file = sweep({**TUNE, "rungs": RUNGS[:1]}, {"parametrization": name})
    tuned = tune(file, file.tune, tmp_path / "s", Trainer())
    rates = {cell.specification.config.optimizer.learning_rate for cell in make_plan(file, tuned=tuned).cells}
    assert len(rates) == 1
    assert read_json(tmp_path / "s" / "tuning.json")["method"] == "one rung, transferred"


def test_a_stage_that_is_left_for_later_plans_its_cohorts_and_nothing_else(sweep, tmp_path):
    file, seen = sweep(TUNE), []
    assert tune(file, file.tune, tmp_path / "s", lambda plan, home: bool(seen.append(plan))) is None
    (plan,) = seen
    assert len(plan.cells) == 9
    assert not (tmp_path / "s" / "tuning.json").exists()


@pytest.mark.parametrize(
    ("settings", "model", "message"),
    [
        ({"rungs": RUNGS[:1]}, {}, "two rungs or more"),
        ({"rungs": RUNGS[:2]}, {"parametrization": {"name": "mup", "base_width": 32}}, "under mup one rung is tuned"),
    ],
)
def test_a_stage_that_cannot_be_is_one_clear_line(sweep, tmp_path, settings, model, message):
    file = sweep({**TUNE, **settings}, model)
    with pytest.raises(ScalingError, match=message) as raised:
        tune(file, file.tune, tmp_path / "s", Trainer())
    assert "\n" not in str(raised.value)


def test_losses_that_only_fall_are_not_followed_for_ever(sweep, tmp_path):
    file = sweep(TUNE)

    def train(plan, home):
        for cell in plan.cells:
            rate = cell.specification.config.optimizer.learning_rate
            RunDirectory(home / cell.specification.run_id).update_status(state="done", loss=-rate)
        return True

    with pytest.raises(ScalingError, match=f"not between two worse ones of 0.001 to .* after {MOST} values"):
        tune(file, file.tune, tmp_path / "s", train)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rule": {"name": "step_law"}}, "rule step_law and tune both choose the learning rate"),
        ({"tune": {**TUNE, "rates": [1e-3, 2e-3]}}, "tune.rates"),
        ({"tune": {**TUNE, "batchs": [1]}}, "did you mean tune.batches?"),
    ],
)
def test_a_bad_section_is_refused(sweep, fields, message):
    with pytest.raises(ScalingError) as raised:
        sweep(**{"settings": TUNE, **{("settings" if name == "tune" else name): value for name, value in fields.items()}})
    assert message in str(raised.value)

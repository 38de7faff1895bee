"""A run that begins on a trunk leaves the record of the same run trained alone, bit for bit."""

import jax
import numpy as np
import pytest
from trainer import BATCH, LENGTH, Trainer

from analysis import curves
from scaling.errors import Exit
from scaling.training import loop
from scaling.training.checkpoints import restore
from scaling.trunks import is_shared, trunk_of

WSD = ("schedule={kind: wsd, warmup_tokens: 400, decay_fraction: 0.25}", "execution.evaluations=5")
ENDS = {16: 11, 28: 20, 40: 29}
"""Steps of a run: the end of its trunk, one update before the last three quarters."""


def _tokens(steps):
    return f"training.tokens={steps * BATCH * LENGTH}"


@pytest.fixture
def sweep(tmp_path, dataset):
    """(name of a sweep, steps) -> the run of that length there."""
    return lambda name, steps: Trainer(tmp_path / name / str(steps), dataset)


def _state(run, settings):
    training = loop.Training(run.directory, run.specify(*settings), run.dataset, 1)
    restored, _ = restore(run.directory.path / "checkpoints", training.program.abstract_state)
    return jax.device_get(restored.state)


@pytest.mark.parametrize(
    "extra",
    [(), ("schedule.decay_shape=1-sqrt", "optimizer.name=muon"), ("training.skip_spikes={window: 20, deviations: 0.5}",)],
    ids=["plain", "muon", "skipping spikes"],
)
def test_branches_of_a_chain_are_bit_for_bit_the_runs_trained_alone(sweep, extra):
    trained = 0
    for steps, end in ENDS.items():
        alone, branch = sweep(f"alone {steps}", steps), sweep("shared", steps)
        settings = (*WSD, *extra, _tokens(steps))
        assert alone(*settings) is branch(*settings) is Exit.DONE
        assert branch.rows == alone.rows
        assert [row["step"] for row in branch.rows if row["loss"] is not None] == [
            step for step in (4, 8, 16, 32) if step < steps
        ] + [steps]
        for found, expected in zip(
            jax.tree.leaves(_state(branch, settings)), jax.tree.leaves(_state(alone, settings)), strict=True
        ):
            np.testing.assert_array_equal(found, expected)
        assert [step for _, step, _ in branch.seen] == list(range(trained, steps))
        assert branch.directory.status.get("branched") == (trained or None)
        assert "branched" not in alone.directory.status
        trained = end


def test_runs_without_decay_and_decays_of_any_length_branch_too(sweep):
    constant = ("schedule={kind: constant, warmup_tokens: 400}", "execution.evaluations=5")
    for steps, begun in ((16, 0), (40, 15)):
        alone, branch = sweep(f"alone {steps}", steps), sweep("shared", steps)
        alone(*constant, _tokens(steps))
        branch(*constant, _tokens(steps))
        assert branch.rows == alone.rows
        assert branch.seen[0][1] == begun
    short, long = sweep("decays", 40), sweep("decays", 41)
    short(*WSD, _tokens(40), "schedule.decay_fraction=0.5")
    long(*WSD, _tokens(40))
    alone = sweep("alone decays", 40)
    alone(*WSD, _tokens(40))
    assert long.seen[0][1] == 19
    assert long.rows == alone.rows


@pytest.mark.parametrize(
    "other",
    [
        "seed=1",
        "optimizer.learning_rate=2e-2",
        "schedule.warmup_tokens=500",
        "schedule.final_fraction=0",
        "execution.log_every=4",
        "execution.evaluations=4",
    ],
)
def test_what_differs_before_the_decay_is_another_trunk(sweep, other):
    run = sweep("shared", 16)
    run(*WSD, _tokens(16))
    longer = sweep("shared", 28)
    assert trunk_of(longer.specify(*WSD)).id == trunk_of(run.specify(*WSD, _tokens(16))).id
    longer(*WSD, other, _tokens(28))
    assert longer.seen[0][1] == 0


def test_a_schedule_that_knows_its_end_from_the_beginning_has_no_trunk(sweep):
    run = sweep("shared", 16)
    for kind in ("cosine", "linear"):
        assert trunk_of(run.specify(f"schedule.kind={kind}")) is None
    assert trunk_of(run.specify("schedule={kind: wsd, decay_fraction: 1}")) is None


def test_a_trunk_that_was_killed_or_stopped_at_any_step_is_left_whole(sweep):
    alone = sweep("alone", 28)
    alone(*WSD, _tokens(28))
    for number, interruption in enumerate([{"stop_after": 11}, {"crash_after": 11}, {"crash_after": 12}, {"stop_after": 5}]):
        name = f"shared {number}"
        trunk, branch = sweep(name, 16), sweep(name, 28)
        trunk(*WSD, _tokens(16), **interruption)
        trunk(*WSD, _tokens(16))
        assert trunk.directory.status["state"] == "done"
        branch(*WSD, _tokens(28), crash_after=4)  # and the branch, before it has a state of its own
        branch(*WSD, _tokens(28))
        assert branch.rows == alone.rows
        assert {step for _, step, _ in branch.seen} == set(range(11, 28))


def test_a_kill_between_the_checkpoint_and_the_trunks_copy_is_made_good(sweep, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    trunk = sweep("shared", 16)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "share", killed)
        trunk(*WSD, _tokens(16))
    kept, home = trunk_of(trunk.specify(*WSD, _tokens(16))), trunk.directory.path.parent
    assert trunk.checkpoints == [11]
    assert not is_shared(kept, home)
    trunk(*WSD, _tokens(16), crash_after=1)
    assert is_shared(kept, home)


def test_a_damaged_state_of_a_trunk_is_passed_over(sweep):
    for steps in (16, 28):
        sweep("shared", steps)(*WSD, _tokens(steps))
    run, alone = sweep("shared", 40), sweep("alone", 40)
    trunk = trunk_of(run.specify(*WSD))
    largest = max((trunk.home(run.directory.path.parent) / "20").rglob("*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.unlink()  # it is linked to the run's own
    largest.write_bytes(content)
    run(*WSD)
    alone(*WSD)
    assert run.seen[0][1] == 11
    assert run.rows == alone.rows


def test_the_event_files_of_a_branch_hold_its_whole_curve(sweep):
    for steps in (16, 28):
        sweep("shared", steps)(*WSD, _tokens(steps))
    run = sweep("shared", 28)
    events = curves.read(run.directory.path / "tensorboard")
    assert events["step"].tolist() == [row["step"] for row in run.rows]
    np.testing.assert_allclose(events["train_loss"], [row["train_loss"] for row in run.rows], rtol=1e-6)

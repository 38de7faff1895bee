"""Loss spikes: the rule against a plain reading of it in NumPy, and what a skipped update leaves alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trainer import FIELDS

from scaling.config import RunConfig, build, override
from scaling.errors import Exit, ScalingError
from scaling.optimization import SpikeConfig
from scaling.training.program import make_program
from scaling.training.spikes import no_spikes, skip_spike


def _skipped(rule, losses, norms):
    """The rule of the docstring, step by step over lists."""
    skipped = []
    for step, pair in enumerate(zip(losses, norms, strict=True)):
        past = [values[max(0, step - rule.window) : step] for values in (losses, norms)]
        enough = len(past[0]) >= max(20, rule.window // 2)
        skipped.append(
            enough
            and any(
                value > np.mean(values) + rule.deviations * np.std(values, ddof=1)
                for value, values in zip(pair, past, strict=True)
            )
        )
    return skipped


@pytest.mark.parametrize("rule", [SpikeConfig(window=20, deviations=2), SpikeConfig(window=64, deviations=3), SpikeConfig()])
def test_the_rule_skips_what_its_definition_says(rule):
    random = np.random.default_rng(0)
    losses, norms = (np.float32(random.standard_t(3, 400) + level) for level in (5, 2))
    losses[250:] += 8  # a lasting change of level: skipped at first, then the new normal
    norms[100] = losses[30] = 1000
    spikes, place = no_spikes(rule), jnp.float32(0)
    update = jax.jit(lambda spikes, step, loss, norm, place: skip_spike(rule, spikes, step, loss, norm, place, place + 1.0))
    skipped = []
    for step, (loss, norm) in enumerate(zip(losses, norms, strict=True)):
        after, spikes = update(spikes, jnp.int32(step), loss, norm, place)
        skipped.append(bool(after == place))
        place = after
    expected = _skipped(rule, losses, norms)
    assert skipped == expected
    assert int(spikes.skipped) == sum(expected) > 0
    assert expected[100]
    assert not any(expected[250 + rule.window :][:50]) or rule.deviations < 4
    assert int(place) == 400 - sum(expected)


def test_a_batch_of_noise_is_skipped_and_leaves_parameters_moments_and_the_data_order_alone(trainer):
    rule = "training.skip_spikes={window: 20, deviations: 4}"

    def noise(step, tokens_BxL1):
        return np.random.default_rng(0).integers(0, 256, tokens_BxL1.shape).astype(np.int32) if step == 30 else tokens_BxL1

    run, plain = trainer("run"), trainer("plain")
    assert run(rule, "execution.log_every=1", stop_after=30) is Exit.SAVED
    before = _state(run, rule)
    assert run(rule, "execution.log_every=1", stop_after=1, alter=noise) is Exit.SAVED
    after = _state(run, rule)
    for was, becomes in zip(jax.tree.leaves(before[:2]), jax.tree.leaves(after[:2]), strict=True):
        np.testing.assert_array_equal(was, becomes)
    assert (int(before.step), int(after.step)) == (30, 31)
    assert run(rule, "execution.log_every=1") is Exit.DONE
    assert [row["skipped_updates"] for row in run.rows] == [0] * 30 + [1] * 10
    assert run.directory.status["skipped_updates"] == 1

    plain("execution.log_every=1", alter=noise)
    assert [row["skipped_updates"] for row in plain.rows] == [0] * 40
    losses, undisturbed = ([row["train_loss"] for row in each.rows] for each in (plain, run))
    assert losses[:31] == pytest.approx(undisturbed[:31], rel=1e-6)  # the rule is part of the program: other roundings
    assert losses[31] != pytest.approx(undisturbed[31], rel=1e-4)


def _state(run, rule):
    from scaling.training.checkpoints import restore

    config = build(RunConfig, override(FIELDS, [rule]))
    program = make_program(config.model, 256, 16, config.execution.program, skip_spikes=config.training.skip_spikes)
    restored, _ = restore(run.directory.path / "checkpoints", program.abstract_state)
    return jax.device_get(restored.state)


def test_the_rule_costs_nothing_where_it_is_off():
    config = build(RunConfig, FIELDS)
    program = make_program(config.model, 256, 16, config.execution.program)
    assert jax.tree.leaves(program.abstract_state.spikes) == []


def test_the_rule_is_part_of_what_a_run_is(trainer):
    ids = set()
    for name, changes in (("a", []), ("b", ["training.skip_spikes={}"]), ("c", ["training.skip_spikes.window=64"])):
        run = trainer(name)
        ids.add(run.specify(*changes).run_id)
    assert len(ids) == 3


def test_a_window_too_short_to_tell_a_spike_is_refused():
    with pytest.raises(
        ScalingError, match=r"training\.skip_spikes\.window: input should be greater than or equal to 20, got 5"
    ):
        build(RunConfig, override(FIELDS, ["training.skip_spikes.window=5"]))

"""A run that was stopped, crashed or moved to another mesh is the run that never was."""

import random

import numpy as np
import pytest

from scaling.data.batches import Batches
from scaling.data.windows import Windows
from scaling.errors import Exit

MESHES = {"1": "{}", "8 data": "{data: 8}", "2x2x2": "{data: 2, fsdp: 2, tensor: 2}", "8 fsdp": "{fsdp: 8}"}


def _numbers(rows):
    """The columns that hold computed numbers; NaN where the held-out loss was not evaluated."""
    names = ("train_loss", "gradient_norm", "learning_rate", "loss", "bits_per_byte")
    return np.array([[row[name] for name in names] for row in rows], float)


@pytest.mark.parametrize(
    "extra", [[], ["training.skip_spikes={window: 20, deviations: 0.5}"]], ids=["plain", "skipping spikes"]
)
def test_a_run_stopped_and_crashed_again_and_again_is_bit_for_bit_that_of_one_attempt(trainer, extra):
    undisturbed, disturbed = trainer("undisturbed"), trainer("disturbed")
    assert undisturbed(*extra) is Exit.DONE
    instants = random.Random(0)
    often = "execution.checkpoint_every_seconds=0.05"
    for attempt in range(8):
        steps = instants.randint(2, 5)
        assert disturbed(*extra, often, **{"stop_after" if attempt % 2 else "crash_after": steps}) in (Exit.SAVED, None)
    assert disturbed.directory.status["step"] < 40
    assert disturbed(*extra) is Exit.DONE
    assert disturbed.rows == undisturbed.rows
    assert [row["step"] for row in disturbed.rows] == [*range(3, 20, 3), 20, *range(21, 40, 3), 40]
    assert (undisturbed.rows[-1]["skipped_updates"] > 0) == bool(extra)


def test_no_sequence_is_repeated_or_left_out_over_crashes_and_resumes(trainer, dataset):
    """What the device was really given is looked up in the text: the windows of this store all differ."""
    run = trainer("run")
    instants = random.Random(1)
    while run.directory.status["state"] != "done":
        run(
            "execution.checkpoint_every_seconds=0.05",
            **{instants.choice(["stop_after", "crash_after"]): instants.randint(2, 15)},
        )
    assert run.attempts > 3

    window_WxL1 = Windows(dataset.train, 16).read(np.arange(320))
    of_content = {bytes(row): number for number, row in enumerate(window_WxL1)}
    assert len(of_content) == 320
    resumed_at = {attempt: step for attempt, step, _ in reversed(run.seen)}
    counted = [  # an attempt's steps from where a later one began are undone: their updates are in no state that lives on
        (step, [of_content[row.tobytes()] for row in tokens])
        for attempt, step, tokens in run.seen
        if all(step < begun for later, begun in resumed_at.items() if later > attempt)
    ]
    assert [step for step, _ in counted] == list(range(40))
    ids = [number for _, batch in counted for number in batch]
    assert sorted(ids) == list(range(320))
    assert ids == [number for step in range(40) for number in Batches(dataset.train, 16, 8, 0).sequence_ids(step)]


@pytest.mark.parametrize("meshes", [("1", "8 data"), ("1", "2x2x2", "1"), ("8 data", "8 fsdp", "2x2x2"), ("2x2x2", "8 data")])
def test_a_run_moves_between_meshes(trainer, meshes):
    undisturbed, moved = trainer("undisturbed"), trainer("moved")
    undisturbed()
    for number, mesh in enumerate(meshes):
        last = number == len(meshes) - 1
        assert moved(f"execution.mesh={MESHES[mesh]}", stop_after=None if last else 14) is (Exit.DONE if last else Exit.SAVED)
    found, expected = _numbers(moved.rows), _numbers(undisturbed.rows)
    norm = [1]  # a root of a sum over all parameters, which every mesh adds up in another order
    np.testing.assert_allclose(np.delete(found, norm, 1), np.delete(expected, norm, 1), rtol=1e-6)
    np.testing.assert_allclose(found[:, norm], expected[:, norm], rtol=1e-5)
    assert [row["step"] for row in moved.rows] == [row["step"] for row in undisturbed.rows]

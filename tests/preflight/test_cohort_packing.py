"""Cohorts on a machine whose memory is a formula, and on this one."""

import jax
import pytest

from scaling.config import ModelConfig, build
from scaling.preflight.compilers import program_of_shape, step_arguments
from scaling.preflight.flops import count
from scaling.preflight.jobs import Compilation, Failure, Memory
from scaling.preflight.memory import sharded_bytes
from scaling.preflight.packing import Spread, largest_cohort, most_side_by_side, spread
from scaling.preflight.programs import Shape

SHAPE = Shape(
    model=build(ModelConfig, {"width": 64, "layers": 2, "heads": 2}), vocabulary=256, sequence_length=32, batch_size=4
)


class Machine:
    """What a cohort needs as a function of its members."""

    def __init__(self, room, need):
        self.room, self.need, self.asked = room, need, []

    def __call__(self, shape):
        members = shape.members or 1
        self.asked.append(members)
        memory = Memory(parameters=1.0, optimizer=2.0, activations=1.0, peak=self.need(members))
        failure = Failure(kind="memory", reason="full") if memory.peak > self.room else None
        return Compilation(effort="quick", failure=failure, memory=None if failure else memory)


@pytest.mark.parametrize(
    ("need", "expected", "compilations"),
    [
        (lambda members: 3.0 * members, 33, 3),  # a line from the origin: one, two, and the answer
        (lambda members: 40.0 + 2.0 * members, 30, 3),
        (lambda members: 1.0 * members, 64, 3),  # all there are
        (lambda members: 60.0 * members, 1, 2),
        (lambda members: 2.0 * members + 0.05 * members**2, 28, 8),  # more than a line says
        (lambda members: 10.0 * members**0.5, 64, 5),  # and less
    ],
)
def test_as_many_runs_as_a_device_holds_are_found_with_few_compilations(need, expected, compilations):
    machine = Machine(100.0, need)
    assert most_side_by_side(SHAPE, 64, machine.room, machine).members == expected
    assert machine.need(expected) <= machine.room
    assert expected == 64 or machine.need(expected + 1) > machine.room
    assert len(machine.asked) <= compilations


def test_nothing_is_packed_where_one_run_does_not_fit():
    assert most_side_by_side(SHAPE, 8, 10.0, Machine(10.0, lambda members: 11.0)) is None


def test_no_more_than_there_are_runs_is_compiled():
    machine = Machine(100.0, lambda members: 1.0 * members)
    assert most_side_by_side(SHAPE, 1, 100.0, machine).members == 1
    assert machine.asked == [1]


def test_a_cohort_is_spread_over_as_many_devices_as_it_can_use():
    assert spread(8, 8, 4) == Spread(devices=4, members=2)
    assert spread(7, 7, 4) == Spread(devices=4, members=2, filled=7 / 8)
    assert spread(7, 6, 4).members == 1  # cohorts of 3 and 4
    assert spread(10, 4, 2) == Spread(devices=2, members=2, filled=10 / 12)  # of 3, 3 and 4


def test_the_largest_cohort_leaves_no_device_with_more_than_it_holds():
    assert largest_cohort(8, 2, 4) == 8
    assert largest_cohort(9, 2, 4) == 8  # of 4 and 5; all 9 would be 3 on each device
    assert largest_cohort(12, 3, 1) == 3
    assert largest_cohort(12, 1, 1) == 1


def test_the_step_of_a_cohort_has_the_state_and_the_flops_of_its_members():
    """On one device, whatever the others are: what a device holds side by side is what is asked."""
    alone, three = (
        program_of_shape(shape, jax.devices()[:2], "cpu") for shape in (SHAPE, SHAPE.model_copy(update={"members": 3}))
    )
    assert sharded_bytes(three.abstract_state) == 3 * sharded_bytes(alone.abstract_state)
    flops = [count(made.step.trace(*step_arguments(made, SHAPE)).jaxpr) for made in (alone, three)]
    assert flops[1] == 3 * flops[0]

"""Cohorts: how many runs of a program a device holds side by side, and how they are spread over several.        (no jax)"""

from typing import NamedTuple

from scaling.preflight.jobs import Compilation
from scaling.preflight.programs import Shape
from scaling.preflight.search import Compile


class Packing(NamedTuple):
    """Runs of a cohort side by side on a device."""

    members: int
    """The most that fit, of those that were asked for."""
    compilation: Compilation
    """Of their step."""


def most_side_by_side(shape: Shape, runs: int, room: float, compile_shape: Compile) -> Packing | None:
    """The most runs of a program that a device holds side by side; None where not even one fits.

    What a step needs is close to a line in its members: a run alone and two tell which number to try. The answer was compiled;
    where it is less than `runs`, one more was too and did not fit, or the line says so.

    Args:
        shape: of a run that is whole on one device.
        runs: the most that are wanted on a device.
        room: bytes of a device.
        compile_shape: the compiler.
    """

    def side_by_side(members: int) -> Packing:
        return Packing(members, compile_shape(shape.model_copy(update={"members": members if members > 1 else None})))

    best, too_many = side_by_side(1), runs + 1
    if (need := _peak(best.compilation)) is None:
        return None
    each: float | None = None
    while too_many - best.members > 1:
        members = 2 if each is None else best.members + int((room - need) / each)
        if members <= best.members:
            break
        if members >= too_many:
            members = runs if too_many > runs else (best.members + too_many) // 2
        trial = side_by_side(members)
        if (reached := _peak(trial.compilation)) is None:
            too_many = members
        else:
            each = max((reached - need) / (members - best.members), 1.0)
            best, need = trial, reached
    return best


def _peak(compilation: Compilation) -> float | None:
    """Bytes of a device, of what fits."""
    return None if compilation.failure or compilation.memory is None else compilation.memory.peak


class Spread(NamedTuple):
    """Where the runs of a program are, when they are trained in cohorts."""

    devices: int
    """In use."""
    members: int
    """Side by side on each of them."""
    filled: float = 1.0
    """Share of the seats of all cohorts that hold a run."""


def spread(runs: int, cohort: int, devices: int) -> Spread:
    """The largest of the cohorts that so many runs are, of `cohort` members at most: over as many devices as it can use, with
    seats of no run where they do not divide it (`scaling.training.places`)."""
    count = -(-runs // cohort)
    size = -(-runs // count)
    used = min(size, devices)
    members = -(-size // used)
    return Spread(used, members, runs / (count * used * members))


def largest_cohort(runs: int, members: int, devices: int) -> int:
    """The largest `execution.cohort` with which no device gets more than `members` of so many runs."""
    return max(cohort for cohort in range(1, runs + 1) if spread(runs, cohort, devices).members <= members)

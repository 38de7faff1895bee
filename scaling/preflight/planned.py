"""The runs that a preflight is of: those of a plan, and where rates are tuned first those that tune them.        (no jax)"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.optima import PowerLaw, Tuned
from scaling.sweeps.plan import Cell, Plan, make_plan
from scaling.sweeps.tuning import tune


class Planned(NamedTuple):
    """What a sweep will train, as far as it is known."""

    plan: Plan
    """With rates that are made up where they are not tuned yet: a program is the same whatever its rate, a run is not."""
    trials: tuple[Cell, ...] = ()
    """What the tuning stage trains first; none where it is done, or where there is none."""

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All runs, the trials first."""
        return (*self.trials, *self.plan.cells)

    @property
    def unnamed(self) -> frozenset[str]:
        """The ids of runs that will have others, when their rates are known."""
        return frozenset(cell.specification.run_id for cell in self.plan.cells) if self.trials else frozenset()


def planned(sweep: SweepConfig, home: Path) -> Planned:
    """The plan of a sweep, with what its tuning stage found where that is done.

    Where it is not, the trials that it begins with are planned beside the cells. Batch sizes that are tuned are not known
    before: then the trials are all.

    Args:
        sweep: the sweep file.
        home: the directory of the sweep, where its tuning stage keeps its runs.
    """
    if sweep.tune is None:
        return Planned(make_plan(sweep))
    waiting: list[Plan] = []

    def leave(trials: Plan, _: Path) -> bool:
        waiting.append(trials)
        return False

    tuned = tune(sweep, sweep.tune, home, leave)
    if tuned is not None:
        return Planned(make_plan(sweep, tuned=tuned))
    trials = waiting[-1]
    if sweep.tune.batches:
        return Planned(replace(trials, cells=[]), tuple(trials.cells))
    # a rate that no trial has, so that no cell is taken for one
    made_up = Tuned(PowerLaw(scale=1.01 * max(sweep.tune.rates), parameters=0.0, tokens=0.0, residual=0.0), None)
    return Planned(make_plan(sweep, tuned=made_up), tuple(trials.cells))

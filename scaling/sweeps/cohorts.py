"""Which cells of a plan are trained together, as one program.        (no jax)"""

import json
from collections.abc import Sequence
from typing import Any

from scaling.config import RunConfig
from scaling.families import build_run

Cell = dict[str, Any]


def cohorts(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of a plan, each by itself or with those of its cohort, in the order of the first of each.

    Of the cells that can be trained together, no more are in a cohort than `execution.cohort` says, and about as many in each.
    """
    sharing: dict[str, list[Cell]] = {}
    for cell in cells:
        sharing.setdefault(cohort_key(cell) or cell["run_id"], []).append(cell)
    found = []
    for group in sharing.values():
        count = -(-len(group) // most_members(group[0]))
        found += [group[len(group) * part // count : len(group) * (part + 1) // count] for part in range(count)]
    return found


def most_members(cell: Cell) -> int:
    """How many runs a worker may train together with that of a cell, itself included."""
    return int(cell["config"].get("execution", {}).get("cohort", 1))


def cohort_key(cell: Cell) -> str | None:
    """What cells that can be a cohort have in common; None for one that is trained by itself.

    A cohort shares the compiled step, the number of steps, the data and the execution. What may differ is what the step traces
    or never sees: the seed, the weights of auxiliary losses, the schedule and every number of the optimizer. Not in a cohort
    are n-gram models (counted, not trained), runs whose mesh splits them over devices (a member is whole on one device, and
    cohorts are for models that are too small for one), and so runs of several processes. A branch is in the cohort of its own
    length and begins with its own trunk's state.
    """
    if most_members(cell) == 1:
        return None
    config = build_run(cell["config"])
    if not isinstance(config, RunConfig) or config.execution.mesh.devices > 1:
        return None
    shared = (config.model.compiled, config.data, config.execution)
    training = config.training.model_dump(mode="json", exclude={"tokens", "unique_tokens"})
    fields = [each.model_dump(mode="json") for each in shared]
    return json.dumps([*fields, training, config.steps, config.optimizer.structure])

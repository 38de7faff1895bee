"""A worker: one long-lived process that walks the cells of a plan and trains what is free, so that imports and compilation are
paid once for a worker and a model shape."""

import time
from pathlib import Path
from typing import Any

from scaling.data.prepare import prepare
from scaling.errors import Exit, ScalingError
from scaling.families import build_run
from scaling.lease import newest_lease
from scaling.policy import Ending, tally_after
from scaling.specification import specify
from scaling.stopping import Stop
from scaling.stores import store_of
from scaling.sweeps.chains import record_divergence
from scaling.sweeps.cohorts import cohorts
from scaling.sweeps.status import SweepStatus
from scaling.sweeps.stored import check_forecast
from scaling.training import processes
from scaling.training.attempt import Work, attempt_together, output_to, refuse

POLL_SECONDS = 1.0

_ENDED, _NOT_NOW, _READY = range(3)


def work(sweep: Path, role: str, stop: Stop) -> Exit:
    """Train the cells of `role` in the plan of `sweep` until each has ended, waiting for those that other workers hold and for
    the trunks that cells begin with.

    What failed is tried again as `scaling.policy` says. Those of one cohort are trained together.

    Args:
        sweep: the sweep's directory.
        role: `fit` or `holdout`.
        stop: asked between steps and runs whether to save and go.

    Returns:
        `Exit.SAVED` where a signal stopped it, else `Exit.DONE`: how each run ended is in its own status.

    Raises:
        ScalingError: no plan, a plan that was edited, or a held-out run that was not forecast.
    """
    status = SweepStatus(sweep)
    cells = [cell for cell in status.cells.values() if cell["role"] == role]
    check_forecast(sweep, cells)
    left = cohorts(cells)
    while left:
        trained, still = False, []
        for cohort in left:
            outlooks = {
                cell["run_id"]: processes.decide(lambda run=cell["run_id"]: _outlook(status, run))  # type: ignore[misc]
                for cell in cohort
            }
            still.append([cell for cell in cohort if outlooks[cell["run_id"]] != _ENDED])
            ready = [cell for cell in cohort if outlooks[cell["run_id"]] == _READY]
            for part in _parts(sweep, ready):
                trained = _train(sweep, part, stop) or trained
                if stop():
                    return Exit.SAVED
        if stop():
            return Exit.SAVED
        left = [cohort for cohort in still if cohort]
        if left and not trained:
            time.sleep(max(POLL_SECONDS, store_of(sweep).seconds_between_writes))
    return Exit.DONE


def _outlook(status: SweepStatus, run_id: str) -> int:
    found = status.read_one(run_id)
    if found.state == "diverged" and found.status["state"] != "diverged":
        record_divergence(status.sweep, found.cell)
    return _ENDED if found.has_ended else _READY if found.is_ready else _NOT_NOW


def _parts(sweep: Path, cells: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The runs of a cohort to be trained together, and by itself each that memory ran out for before."""
    if len(cells) < 2:
        return [cells] if cells else []
    large = [cell for cell in cells if Ending.OUT_OF_MEMORY in tally_after(newest_lease(sweep / cell["run_id"])[1])]
    return [part for part in ([cell for cell in cells if cell not in large], *([cell] for cell in large)) if part]


def _train(sweep: Path, cells: list[dict[str, Any]], stop: Stop) -> bool:
    """Whether any of the runs, a cohort or one, was this worker's to train."""
    with output_to([sweep / cell["run_id"] for cell in cells]) as turn:
        runs, dataset, refused = [], None, []
        for number, cell in enumerate(cells):
            turn(number)
            path = sweep / cell["run_id"]
            try:
                config = build_run(cell["config"])
                dataset = dataset or prepare(config.data, config.execution.data_directory)  # of a cohort the same for all
                runs.append((number, Work(path, specify(config, dataset), dataset)))
            except ScalingError as error:
                refused.append(refuse(path, error))
        ended = attempt_together([run for _, run in runs], stop, lambda run: turn(runs[run][0]))
        return any(code is not None for code in (*refused, *ended))

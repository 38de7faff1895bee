"""A worker: one long-lived process that walks the cells of a plan and trains what is free, so that imports and compilation are
paid once for a worker and a model shape."""

import time
from pathlib import Path

from scaling.data.prepare import prepare
from scaling.errors import Exit, ScalingError
from scaling.families import build_run
from scaling.specification import specify
from scaling.stopping import Stop
from scaling.stores import store_of
from scaling.sweeps.chains import record_divergence
from scaling.sweeps.status import SweepStatus
from scaling.sweeps.stored import check_forecast
from scaling.training import processes
from scaling.training.attempt import attempt, output_to, refuse

POLL_SECONDS = 1.0

_ENDED, _NOT_NOW, _READY = range(3)


def work(sweep: Path, role: str, stop: Stop) -> Exit:
    """Train the cells of `role` in the plan of `sweep` until each has ended, waiting for those that other workers hold and for
    the trunks that cells begin with.

    What failed is tried again as `scaling.policy` says.

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
    left = [cell for cell in status.cells.values() if cell["role"] == role]
    check_forecast(sweep, left)
    while left:
        trained, still = False, []
        for cell in left:
            outlook = processes.decide(lambda run=cell["run_id"]: _outlook(status, run))  # type: ignore[misc]
            if outlook == _READY:
                trained = _train(sweep / cell["run_id"], cell["config"], stop) is not None or trained
            if outlook != _ENDED:
                still.append(cell)
            if stop():
                return Exit.SAVED
        left = still
        if left and not trained:
            time.sleep(max(POLL_SECONDS, store_of(sweep).seconds_between_writes))
    return Exit.DONE


def _outlook(status: SweepStatus, run_id: str) -> int:
    found = status.read_one(run_id)
    if found.state == "diverged" and found.status["state"] != "diverged":
        record_divergence(status.sweep, found.cell)
    return _ENDED if found.has_ended else _READY if found.is_ready else _NOT_NOW


def _train(path: Path, config_fields: dict, stop: Stop) -> Exit | None:
    with output_to(path):
        try:
            config = build_run(config_fields)
            dataset = prepare(config.data, config.execution.data_directory)
            specification = specify(config, dataset)
        except ScalingError as error:
            return refuse(path, error)
        return attempt(path, specification, dataset, stop)

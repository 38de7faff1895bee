"""A worker: one long-lived process that walks the cells of a plan and trains what is free, so that imports and compilation are
paid once for a worker and a model shape."""

import time
from pathlib import Path

from scaling.config import RunConfig, build
from scaling.data.prepare import prepare
from scaling.errors import Exit
from scaling.record import TERMINAL, RunDirectory
from scaling.specification import specify
from scaling.stopping import Stop
from scaling.sweeps.chains import ends_with_its_trunk, waits
from scaling.sweeps.stored import check_forecast, read_plan
from scaling.training import processes
from scaling.training.attempt import attempt, output_to

POLL_SECONDS = 1.0


def work(sweep: Path, role: str, stop: Stop) -> Exit:
    """Train the cells of `role` in the plan of `sweep` until each has ended, waiting for those that other workers hold and for
    the trunks that cells begin with.

    Args:
        sweep: the sweep's directory.
        role: `fit` or `holdout`.
        stop: asked between steps and runs whether to save and go.

    Returns:
        `Exit.SAVED` where a signal stopped it, else `Exit.DONE`: how each run ended is in its own status.

    Raises:
        ScalingError: no plan, a plan that was edited, or a held-out run that was not forecast.
    """
    left = [cell for cell in read_plan(sweep)["cells"] if cell["role"] == role]
    check_forecast(sweep, left)
    while left:
        ended = []
        for cell in left:
            state = processes.decide(lambda cell=cell: _state(sweep, cell))  # type: ignore[misc]
            if state == _ENDED or (state == _FREE and _train(sweep / cell["run_id"], cell["config"], stop) is not None):
                ended.append(cell)
            if stop():
                return Exit.SAVED
        left = [cell for cell in left if cell not in ended]
        if left and not ended:
            time.sleep(POLL_SECONDS)
    return Exit.DONE


_FREE, _WAITS, _ENDED = range(3)


def _state(sweep: Path, cell: dict) -> int:
    if RunDirectory(sweep / cell["run_id"]).status["state"] in TERMINAL or ends_with_its_trunk(sweep, cell):
        return _ENDED
    return _WAITS if waits(sweep, cell) else _FREE


def _train(path: Path, config_fields: dict, stop: Stop) -> Exit | None:
    with output_to(path / "log.txt"):
        config = build(RunConfig, config_fields)
        dataset = prepare(config.data, config.execution.data_directory)
        return attempt(path, specify(config, dataset), dataset, stop)

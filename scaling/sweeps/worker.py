"""A worker: one long-lived process that walks the cells of a plan and trains what is free, so that imports and compilation are
paid once for a worker and a model shape."""

import time
from pathlib import Path

from scaling.data.prepare import prepare
from scaling.errors import Exit, ScalingError
from scaling.families import build_run
from scaling.record import TERMINAL, RunDirectory, read_json
from scaling.specification import specify
from scaling.stopping import Stop
from scaling.training import processes
from scaling.training.attempt import attempt, output_to

POLL_SECONDS = 1.0


def work(sweep: Path, role: str, stop: Stop) -> Exit:
    """Train the cells of `role` in the plan of `sweep` until each has ended, waiting for those that other workers hold.

    Args:
        sweep: the sweep's directory.
        role: `fit` or `holdout`.
        stop: asked between steps and runs whether to save and go.

    Returns:
        `Exit.SAVED` where a signal stopped it, else `Exit.DONE`: how each run ended is in its own status.
    """
    plan = read_json(sweep / "plan.json")
    if plan is None:
        raise ScalingError(f"{sweep} holds no plan.json: start it with `scaling sweep CONFIG`")
    left = [cell for cell in plan["cells"] if cell["role"] == role]
    while left:
        ended = []
        for cell in left:
            path = sweep / cell["run_id"]
            has_ended = processes.decide(lambda path=path: RunDirectory(path).status["state"] in TERMINAL)  # type: ignore[misc]
            if has_ended or _train(path, cell["config"], stop) is not None:
                ended.append(cell)
            if stop():
                return Exit.SAVED
        left = [cell for cell in left if cell not in ended]
        if left and not ended:
            time.sleep(POLL_SECONDS)
    return Exit.DONE


def _train(path: Path, config_fields: dict, stop: Stop) -> Exit | None:
    with output_to(path / "log.txt"):
        config = build_run(config_fields)
        dataset = prepare(config.data, config.execution.data_directory)
        return attempt(path, specify(config, dataset), dataset, stop)

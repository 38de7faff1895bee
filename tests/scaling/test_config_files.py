"""Every file in configs/ says how to run it and what came out, and each of its cells is a valid run."""

from pathlib import Path

import pytest

from scaling.sweeps.cells import configure
from scaling.sweeps.grid import fitted_labels, read_sweep
from scaling.sweeps.optima import PowerLaw, Tuned

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = sorted(set(CONFIGS.rglob("*.yaml")) - {CONFIGS / "hardware.yaml"})  # which is no sweep


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_a_file_states_command_time_and_result(path: Path) -> None:
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    for word in ("command", "time", "result"):
        assert any(line.removeprefix("#").split()[:1] == [word] and len(line.split()) > 2 for line in header), word
    assert any(str(path.relative_to(CONFIGS.parent)) in line for line in header)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_cell_is_a_run(path: Path) -> None:
    sweep = read_sweep(path)
    labels = [*fitted_labels(sweep), *sweep.holdouts]
    assert labels
    tuned = None if sweep.tune is None else Tuned(PowerLaw(2e-3, 0.0, 0.0, 0.0), None)
    for each in labels:
        configure(sweep.base, each, tuned or sweep.rule)
    for rung in sweep.tune.rungs if sweep.tune else []:
        configure(sweep.base, {**rung, "optimizer.learning_rate": sweep.tune.rates[0]})

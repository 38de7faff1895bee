"""The design of the next runs is a sweep file that the trainer plans, run for run."""

import numpy as np
import pytest

from analysis.design import Known, design, write_sweep
from analysis.laws import Chinchilla
from analysis.uncertainty import parameter
from scaling.sweeps.grid import read_sweep
from scaling.sweeps.plan import make_plan


def test_a_design_is_a_sweep_the_trainer_plans(lab):
    law = Chinchilla()
    theta = np.array([np.log(1.5), np.log(80.0), np.log(250.0), 0.35, 0.38])
    n, d = np.meshgrid(np.geomspace(1e5, 8e5, 4), np.geomspace(1e6, 8e6, 4))
    known = Known(law, theta, 0.003, np.log(np.stack([n.ravel(), d.ravel()])))
    answer = design(known, parameter(law, "E"), 1e14, (1e5, 8e5), (1e6, 8e6), most=6)
    base = {
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "training": {"tokens": "40k", "batch_tokens": 512},
        "optimizer": {"learning_rate": "4e-3"},
        "execution": {"cache_directory": str(lab.cache)},
    }
    path = write_sweep(answer, lab.path / "next.yaml", "next", base)
    plan = make_plan(read_sweep(path))
    assert {cell.role for cell in plan.cells} == {"fit"}
    planned = sorted((cell.labels["model"], cell.labels["training.tokens"], cell.labels.get("seed", 0)) for cell in plan.cells)
    assert planned == sorted(answer.runs[["parameters", "tokens", "seed"]].itertuples(index=False, name=None))
    for cell in plan.cells:
        facts = cell.specification.facts
        assert facts["tokens"] == pytest.approx(cell.labels["training.tokens"], abs=512)
        assert facts["non_embedding_parameters"] == pytest.approx(cell.labels["model"], rel=0.5)
    assert f"{len(planned)} runs" in lab("sweep", "next.yaml", "--dry-run").stdout

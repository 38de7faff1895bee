"""What the README shows is what a reader gets."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from scaling.config import RunConfig, build
from scaling.sweeps.plan import SweepConfig

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONELY = {"doctor"}  # verbs that need no argument


def _block(language: str, number: int = 0) -> str:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.S)[number]


def test_the_python_example_recovers_the_law_behind_a_csv(tmp_path):
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e11, 4)))
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(n.size))
    losses = (1.7 + 400 / n**0.34 + 410 / d**0.28) * noise
    rows = np.stack([n, d, losses], axis=1)
    np.savetxt(tmp_path / "losses.csv", rows, delimiter=",", header="parameters,tokens,loss", comments="")
    done = subprocess.run([sys.executable, "-c", _block("python")], cwd=tmp_path, capture_output=True, text=True, check=True)
    estimates = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in done.stdout.splitlines()[:5]}
    for name, truth in {"E": 1.7, "alpha": 0.34, "beta": 0.28}.items():
        value, low, high = estimates[name]
        assert value == pytest.approx(truth, rel=0.15)
        assert low < truth < high
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {f"allocation.{each}" for each in ("png", "svg", "pdf")}
    lines = [line for line in _block("python").splitlines() if line.strip()]
    assert len(lines) <= 10


def test_the_sweep_file_is_one():
    sweep = SweepConfig.model_validate(yaml.safe_load(_block("yaml")))
    assert len(sweep.axes["model"]) * len(sweep.axes["training.tokens"]) == 6


def test_the_corpus_and_its_budget_are_a_part_of_a_run():
    sweep, part = (yaml.safe_load(_block("yaml", number)) for number in (0, 1))
    base = {**sweep["base"], "model": sweep["axes"]["model"][0]}
    run = build(RunConfig, {**base, "data": part["data"], "training": {**base["training"], **part["training"]}})
    assert (run.training.unique_tokens, run.data.documents) == (1_000_000, "separate")


def test_rates_that_go_with_the_size_are_a_part_of_a_sweep_file():
    sweep, part = (yaml.safe_load(_block("yaml", number)) for number in (0, 2))
    build(SweepConfig, {**sweep, "rule": part["rule"]})
    base = {**sweep["base"], "schedule": part["base"]["schedule"], "optimizer": part["base"]["optimizer"]}
    run = build(RunConfig, {**base, "model": {**sweep["axes"]["model"][0], **part["base"]["model"]}})
    assert (run.model.parametrization.name, run.optimizer.name) == ("mup", "muon")


def test_every_verb_is_in_the_readme_and_the_other_way_round():
    shown = subprocess.run([sys.executable, "-m", "scaling", "--help"], capture_output=True, text=True, check=True).stdout
    verbs = set(re.findall(r"^  ([a-z-]+)  ", shown.partition("Commands:")[2], flags=re.M))
    assert len(verbs) >= 7
    assert verbs - {"work"} == set(re.findall(r"`scaling ([a-z-]+)(?: prepare)? \[?[A-Z]", README)) | LONELY
    assert all(f"`scaling {verb}`" in README for verb in LONELY)


def test_every_file_that_it_names_is_there():
    for link in re.findall(r"\]\(([^)]+)\)|`((?:configs|docs|runs|scaling|tests)/[\w./-]+)`", README):
        path = next(filter(None, link))
        assert (ROOT / path).exists() or path.startswith("runs/quickstart"), path

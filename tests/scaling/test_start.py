"""The first minutes: a sweep that fits machine and time, and what the doctor says."""

import json
import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from scaling.cli import app, start
from scaling.config import ModelConfig, build
from scaling.counting import count_flops
from scaling.errors import ScalingError
from scaling.machine import Machine
from scaling.sweeps.first import BYTES_PER_PARAMETER, FEWEST_TOKENS, first_sweep, for_time, sweep_file
from scaling.sweeps.plan import SweepConfig

GIBIBYTE = 2**30


def exact_flops(sweep: SweepConfig) -> float:
    """Of all cells, as the trainer counts them."""

    def of(cell: dict) -> float:
        model = build(ModelConfig, cell["rung"]["model"])
        return count_flops(model, 256, 128).model * _number(cell["training.tokens"])

    grid = [
        {"rung": rung, "training.tokens": tokens} for rung in sweep.axes["rung"] for tokens in sweep.axes["training.tokens"]
    ]
    return sum(map(of, [*grid, *sweep.holdouts]))


def _number(text: object) -> float:
    from scaling.quantities import parse_quantity

    return float(parse_quantity(text))


@pytest.mark.parametrize("flops", [1e13, 1e15, 1e18, 1e21])
def test_the_sweep_spends_what_it_was_given(flops: float) -> None:
    """As the trainer counts: embeddings and attention are beyond the 6ND of the design, by a part that small models have."""
    sweep = build(SweepConfig, yaml.safe_load(sweep_file(first_sweep(flops, 0), "first", "stdlib", ["a comment"])))
    assert exact_flops(sweep) == pytest.approx(flops, rel=0.4)
    shapes = [(rung["model"]["width"], rung["model"]["layers"]) for rung in sweep.axes["rung"]]
    assert len(set(shapes)) == 5
    rates = ["optimizer" in rung for rung in sweep.axes["rung"]]
    assert all(rates) if sweep.rule is None else not any(rates)
    assert (sweep.rule is None) == (
        flops < 1e18
    )  # the largest of the runs has a tenth of it: Step Law was measured from 1e17 on
    (held_out,) = sweep.holdouts
    largest = max(sweep.axes["training.tokens"], key=_number)
    assert held_out["rung"]["model"]["width"] > shapes[-1][0]
    assert _number(held_out["training.tokens"]) > _number(largest)


def test_no_model_outgrows_the_memory() -> None:
    sweep = first_sweep(1e24, 16 * GIBIBYTE)
    assert sweep.holdout.parameters * BYTES_PER_PARAMETER < 1.3 * 16 * GIBIBYTE
    assert sweep.holdout.parameters > 0.3 * 16 * GIBIBYTE / BYTES_PER_PARAMETER


def test_too_little_time_still_makes_runs_worth_fitting() -> None:
    sweep = first_sweep(1e9, 0)
    assert sweep.tokens[0] == pytest.approx(FEWEST_TOKENS, rel=0.05)
    assert sweep.flops > 1e9


CPU = Machine(system="", cores=2, memory=0, backend="cpu", devices=["cpu"], device_memory=0)


def test_the_quickstart_s_time_makes_a_sweep_like_the_quickstart() -> None:
    """Which took 7 min 52 s on two cores that together multiply at 4.8e11 FLOPs/s: 3.29e13 FLOPs, up to a width of 96."""
    found, share, seconds = for_time(472, 4.8e11, CPU)
    assert seconds == pytest.approx(472, rel=0.1)
    assert found.shapes[-1].width == pytest.approx(96, abs=16)
    assert found.flops == pytest.approx(3.29e13, rel=0.3)
    assert share == pytest.approx(0.16, abs=0.03)


@pytest.mark.parametrize("minutes", [4, 10, 60, 600])
def test_the_share_belongs_to_the_width_that_it_leaves_time_for(minutes: float) -> None:
    found, share, seconds = for_time(60 * minutes, 4.8e11, CPU)
    assert seconds == pytest.approx(60 * minutes, rel=0.25)
    assert share == pytest.approx(min(0.3, found.shapes[-1].width / 600), rel=0.2)


def test_init_writes_a_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scaling.machine.products_per_second", lambda machine: 8e11)
    done = CliRunner().invoke(app, ["init", "mine.yaml", "--minutes", "5", "--corpus", "files:texts"])
    assert done.exit_code == 0
    assert "next: scaling sweep mine.yaml --dry-run" in done.output
    text = (tmp_path / "mine.yaml").read_text()
    sweep = build(SweepConfig, yaml.safe_load(text))
    assert sweep.name == "mine"
    assert sweep.base["data"]["corpus"] == "files:texts"
    assert "about 5 minutes" in text
    assert re.search(r"Planned: \S+ FLOPs at \d+% of the 8e\+11 FLOPs/s", text)
    again = CliRunner().invoke(app, ["init", "mine.yaml"])
    assert isinstance(again.exception, ScalingError)
    assert "is there already" in str(again.exception)


def test_the_doctor_names_devices_versions_and_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "program").write_bytes(b"x" * 100)
    said = json.loads(CliRunner().invoke(app, ["doctor", "--cache", str(tmp_path), "--json"]).output)
    assert said["machine"]["backend"] == "cpu"
    assert len(said["machine"]["devices"]) == 8
    assert said["cache"]["bytes"] == {"jax": 100, "data": 0}
    assert set(said["extras"]) >= {"tpu", "cuda"}
    shown = CliRunner().invoke(app, ["doctor", "--cache", str(tmp_path)], env={"COLUMNS": "80"}).output
    for name, missing in said["extras"].items():
        assert name in shown
        assert (f".[{name}]" in shown) == bool(missing)
    assert max(map(len, shown.splitlines())) <= 80


def test_an_extra_counts_as_missing_by_its_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """`jax[tpu]` is missing without libtpu although jax is there; what numpy needs for nothing is there."""
    lines = ['absent-package>=1; extra == "one"', 'numpy>=1; extra == "two"', 'jax[tpu]>=0.1; extra == "three"', "numpy"]
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda name: lines if name == "scaling-lab" else ['libtpu==0; extra == "tpu"']
    )
    monkeypatch.setattr("importlib.metadata.metadata", lambda name: _Extras())
    assert start._extras() == {"one": ["absent-package"], "two": [], "three": ["jax[tpu]"]}


class _Extras:
    def get_all(self, name: str) -> list[str]:
        return ["one", "two", "three"]

"""The speed benchmark runs and its table adds up; what it measures on a busy machine is of no account."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def _cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.slow
def test_the_benchmark_prints_its_tables():
    done = subprocess.run(
        [sys.executable, "benchmarks/speed.py", "--quick"], cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    # 32 x 16 + 16 x 16 embeddings; 4 matrices of 16 x 16 and 2 of 16 x 64 with biases; 3 norms: 4,080 parameters
    assert any("**tiny: width 16, 1 layers, 4,080 parameters**" in line for line in lines)
    engines = [_cells(line) for line in lines if line.startswith(("| jax", "| torch"))]
    names = [name for name, *_ in engines]
    jax = f"jax {version('jax')}"
    assert {f"{jax} float32", f"{jax} bfloat16", f"{jax} float32 as started"} <= set(names)
    assert any("no comparison" in line for line in lines) == (not any(name.startswith("torch") for name in names))
    for name, one, two, peak, share, faults, _of_torch in engines:
        assert float(one.replace(",", "")) > 0
        assert (two == "") == name.endswith("as started")
        assert float(peak.replace(",", "")) > 1  # any CPU of this century multiplies matrices faster than 1 GFLOP/s
        assert 0 < float(share.rstrip("%")) < 100
        assert float(faults.replace(",", "")) >= 0
    start_up = [_cells(line) for line in lines if line.startswith(("| `scaling train`", "| the next run"))]
    assert len(start_up) == 3
    assert all(float(seconds) > 0 for _, _, seconds, _ in start_up)

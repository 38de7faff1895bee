"""What is predicted for this machine's CPU against what a real run holds."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "preflight_truth.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count of a process's memory is Linux's")
def test_the_peak_of_a_step_is_within_a_tenth_of_what_it_takes():
    specification = importlib.util.spec_from_file_location("preflight_truth", PATH)
    truth = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(truth)
    found = truth.in_a_process(truth.SHAPES["s512"], steps=2)
    assert found["predicted_bytes"] == pytest.approx(found["measured_bytes"], rel=0.1)

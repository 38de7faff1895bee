"""What is predicted for this machine's CPU against what a real run holds."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "preflight_truth.py"
SHAPE = {"width": 128, "layers": 2, "heads": 4, "length": 256, "batch": 32, "vocabulary": 8192}
"""Logits of 128 MiB and a process that holds little else: what its libraries take in the meantime is a percent or two."""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count of a process's memory is Linux's")
def test_the_peak_of_a_step_is_within_a_tenth_of_what_it_takes():
    specification = importlib.util.spec_from_file_location("preflight_truth", PATH)
    truth = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(truth)
    found = truth.in_a_process(SHAPE, steps=2, times=False)
    assert found["predicted_bytes"] == pytest.approx(found["measured_bytes"], rel=0.1)

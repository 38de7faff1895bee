"""How many workers a machine takes, and what each of them is given: by cores, GPUs, TPU chips, and memory."""

import os

import numpy as np
import pytest

from benchmarks.status import plan
from scaling.config import set_path
from scaling.machine import peak_memory
from scaling.record import write_json
from scaling.sweeps import slots
from scaling.sweeps.launchers.local import LocalLauncher
from scaling.sweeps.packing import COPIES, PROCESS_BYTES, Need, fitting, needed
from scaling.sweeps.slots import find_slots, gpu_memory
from scaling.sweeps.status import read_status
from scaling.sweeps.stored import write_plan

GB = 1_000_000_000


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """One of 8 cores with so many GPUs, chips and bytes of memory."""

    def make(gpus=0, chips=0, memory=0, gpu_bytes=0):
        devices, drivers = tmp_path / "dev", tmp_path / "gpus"
        devices.mkdir()
        drivers.mkdir()
        for index in range(chips):
            (devices / f"accel{index}").touch()
        for index in range(gpus):
            (drivers / f"0000:0{index}:00.0").mkdir()
        monkeypatch.setattr(slots, "DEVICES", devices)
        monkeypatch.setattr(slots, "GPUS", drivers)
        monkeypatch.setattr(slots, "host_memory", lambda: memory)
        monkeypatch.setattr(slots, "gpu_memory", lambda: gpu_bytes)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    return make


def test_as_many_have_room_as_fill_nine_tenths_and_one_at_least():
    assert [fitting(10 * GB, need) for need in (2 * GB, 4.5 * GB, 4.6 * GB, 20 * GB)] == [4, 2, 1, 1]
    assert fitting(0, GB) is fitting(GB, 0) is None


@pytest.mark.parametrize(
    ("memory", "cores"),
    [
        (100 * GB, [(0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,)]),
        (7 * GB, [(0, 3, 6), (1, 4, 7), (2, 5)]),
        (GB, [(0, 1, 2, 3, 4, 5, 6, 7)]),
        (0, [(0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,)]),  # not known
    ],
)
def test_workers_on_a_cpu_stay_within_its_memory_and_share_out_all_cores(machine, memory, cores):
    machine(memory=memory)
    assert [(slot.environment, slot.cores) for slot in find_slots(100, Need(0, 2 * GB))] == [({}, each) for each in cores]


def test_small_runs_share_a_gpu_and_the_fractions_of_its_memory_leave_a_tenth(machine):
    machine(gpus=2, gpu_bytes=80 * GB)
    found = [slot.environment for slot in find_slots(100, Need(20 * GB, 0))]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in found] == ["0", "1"] * 3
    assert {each["XLA_CLIENT_MEM_FRACTION"] for each in found} == {"0.30"}
    assert 0.30 * 80 * GB >= 20 * GB
    few = [slot.environment for slot in find_slots(2, Need(20 * GB, 0))]
    assert few == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]  # as many runs as devices: all of each
    assert len(find_slots(100, Need(GB, 0))) == 8  # each worker wants a core


@pytest.mark.parametrize(("gpu_bytes", "need"), [(80 * GB, 50 * GB), (0, GB), (80 * GB, 0)])
def test_a_gpu_that_a_run_fills_or_whose_memory_is_not_known_takes_one(machine, gpu_bytes, need):
    machine(gpus=2, gpu_bytes=gpu_bytes)
    found = [slot.environment for slot in find_slots(100, Need(need, 0))]
    assert found == [{"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}]


def test_a_tpu_chip_takes_one_whatever_its_memory(machine):
    machine(chips=4)
    found = find_slots(100, Need(1.0, 1.0))
    assert [slot.environment["TPU_VISIBLE_CHIPS"] for slot in found] == ["0", "1", "2", "3"]


def test_the_memory_of_the_smallest_gpu_is_asked_of_the_driver(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory() == 0
    said = '#!/bin/sh\n[ "$*" = "--query-gpu=memory.total --format=csv,noheader,nounits" ] && printf "81559\\n40960\\n"\n'
    (tmp_path / "nvidia-smi").write_text(said)
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert gpu_memory() == 40960 * 2**20


def test_what_a_worker_needs_is_what_runs_of_the_shape_took_or_else_the_plans_estimate(tmp_path, machine):
    """The five shapes of a plan, of which the largest and the smallest have been trained."""
    sweep = tmp_path / "large"
    cells = plan(40, tmp_path / "data")["cells"]
    write_plan(sweep, {"sweep": "large", "cells": cells})
    largest, smallest = cells[0], cells[-1]
    estimates = Need(largest["memory"], PROCESS_BYTES + COPIES * largest["memory"])
    assert needed(cells, read_status(sweep)) == estimates
    for cell, peak in ((largest, 3 * GB), (smallest, 2 * GB)):
        peaks = {"process_peak_bytes": peak, "device_peak_bytes": peak // 2}
        write_json(sweep / cell["run_id"] / "status.json", {"state": "done", **peaks})
    seen = read_status(sweep)
    assert needed([largest, smallest], seen) == Need(1.5 * GB, 3 * GB)
    assert needed([smallest], seen) == Need(GB, 2 * GB)
    between = cells[len(cells) // 2]
    assert needed([between], seen) == Need(between["memory"], PROCESS_BYTES + COPIES * between["memory"])
    assert needed([between, smallest], seen).process == 2 * GB
    together = {**between, "config": set_path(between["config"], "execution.cohort", 4)}
    assert needed([together], seen).device == 4 * between["memory"]

    machine(memory=7 * GB)
    launcher = LocalLauncher(sweep, None)
    assert len(launcher._slots(cells)) == 2
    assert len(launcher._slots([each for each in cells if each["parameters"] == smallest["parameters"]])) == 3


def test_the_peak_of_a_process_is_what_it_once_had():
    before = peak_memory()["process_peak_bytes"]
    block = np.ones(50_000_000)  # 400 MB: more than the tests before it can have left free
    del block
    assert before + 200e6 < peak_memory()["process_peak_bytes"] < before + 450e6

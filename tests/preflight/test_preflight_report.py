"""What is said of programs whose compilation was made up, and of compilers that fail."""

import io
import sys

import jax
import pytest
from rich.console import Console

from scaling.config import MeshConfig
from scaling.errors import Exit, ScalingError
from scaling.preflight import compilers
from scaling.preflight.collectives import Collective
from scaling.preflight.hardware import parse_target
from scaling.preflight.jobs import Compilation, Failure, Job, Memory
from scaling.preflight.packing import Packing
from scaling.preflight.pool import Compilers
from scaling.preflight.programs import PlannedProgram, distinct
from scaling.preflight.report import Finding, cost_table, describe, exit_code, rows, warnings
from scaling.sweeps.grid import read_sweep
from scaling.sweeps.plan import make_plan

GIB = 2**30
TARGET = parse_target("v5e-4")


@pytest.fixture
def program(lab, monkeypatch) -> PlannedProgram:
    monkeypatch.chdir(lab.path)
    settings = ["axes.seed=[0,1,2,3,4,5]", "execution.cohort=6"]
    program, _ = distinct(make_plan(read_sweep(lab.path / "sweep.yaml", settings)).cells)
    return program


def compilation(program, peak=1.0, **fields):
    memory = Memory(parameters=0.1 * GIB, optimizer=0.2 * GIB, activations=0.1 * GIB, peak=peak * GIB)
    return Compilation(**{"effort": "quick", "memory": memory, "flops": 1e9, "accessed": 1e9, "attention": "xla", **fields})


def said(table):
    console = Console(file=io.StringIO(), width=80)
    console.print(table)
    return " ".join(console.file.getvalue().split())


def test_a_failure_of_the_compiler_names_the_run_the_mesh_and_its_first_line(program):
    failure = Failure(kind="compiler", reason="INTERNAL: Mosaic failed to compile TPU kernel")
    finding = Finding(program, TARGET, Compilation(effort="quick", failure=failure))
    text = said(describe(finding))
    for part in (program.run, "as data 1, ", failure.reason, "failed"):
        assert part in text, text
    assert exit_code([finding]) == Exit.FAILED


def test_the_rest_of_what_a_compiler_says_is_in_the_log(program, monkeypatch, capsys):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("INTERNAL: no such thing\nsecond line of many")

    monkeypatch.setattr(compilers, "target_devices", lambda *_: jax.devices("cpu")[:1])
    monkeypatch.setattr(compilers, "_measured", fail)
    shape = program.shape.changed(attention="xla")
    job = Job(shape=shape, target=TARGET.model_copy(update={"platform": "cpu"}), effort="quick", directory=None)
    answer = compilers.compile_job(job)
    assert answer.failure == Failure(kind="compiler", reason="INTERNAL: no such thing")
    log = capsys.readouterr().err
    assert "second line of many" in log
    assert TARGET.name in log


@pytest.mark.parametrize(("ends", "how"), [("kill -9 $$", "killed by signal 9"), ("exit 3", "ended with exit code 3")])
def test_a_compiler_that_dies_is_a_failure_of_its_program(program, tmp_path, monkeypatch, ends, how):
    dies = tmp_path / "python"
    dies.write_text(f"#!/bin/sh\necho all that it said >&2\n{ends}\n")
    dies.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(dies))
    with Compilers(TARGET, tmp_path / "log.txt", workers=1) as pool:
        answers = [pool.compile(Job(shape=program.shape, target=TARGET, effort="quick", directory=None)) for _ in range(2)]
    for answer in answers:  # the second is compiled by a new process
        assert answer.failure.kind == "compiler"
        assert how in answer.failure.reason
    assert (tmp_path / "log.txt").read_text().count("all that it said") == 2


def test_a_topology_that_the_compiler_does_not_know_is_named(monkeypatch):
    def refuse(*_):
        raise jax.errors.JaxRuntimeError('INVALID_ARGUMENT: Topology layout "v5e:3x3" is not divisible\nby anything')

    monkeypatch.setattr(compilers, "_topology", refuse)
    with pytest.raises(ScalingError) as error:
        compilers.target_devices(parse_target("v5e:3x3"), "quick")
    assert str(error.value).startswith("--on v5e:3x3: no such topology as v5e:3x3: INVALID_ARGUMENT")
    assert "\n" not in str(error.value)


def test_only_what_was_compiled_as_runs_are_bounds_a_step_by_memory(program):
    """1 GB at 819 GB/s is 1.22 ms; 10^9 FLOPs and what padding adds, at 197 TFLOP/s, a hundredth of it."""
    quick, full = (Finding(program, TARGET, compilation(program, optimised=each)) for each in (False, True))
    assert full.least == pytest.approx(1e9 / 819e9)
    assert quick.least == pytest.approx(1e9 * (1 + quick.padding[0]) / 197e12)
    assert "level 0 memory 1.22 ms" in said(describe(quick))
    assert "at least 1.22 ms" in said(describe(full))


@pytest.mark.parametrize(
    ("kind", "size", "warned"),
    [("all-reduce", 1.0, "is not read"), ("all-reduce", GIB, "gathered by all-reduce"), ("all-gather", GIB, None)],
)
def test_weights_that_are_not_seen_to_be_gathered_get_a_warning(program, kind, size, warned):
    program = program._replace(shape=program.shape.changed(mesh=MeshConfig(fsdp=4)))
    sent = Collective(kind=kind, count=1, bytes=size, sent=size, sent_between_slices=0, asynchronous=0)
    said_of_fsdp = [
        each for each in warnings(Finding(program, TARGET, compilation(program, collectives=(sent,)))) if "fsdp" in each
    ]
    assert [warned in each for each in said_of_fsdp] == ([True] if warned else [])


def test_a_cohort_that_fits_is_reported_and_uses_the_devices(program):
    """Six runs over four devices have eight seats, two on each, of which two are of no run."""
    finding = Finding(program, TARGET, compilation(program), packing=Packing(2, compilation(program, peak=2.5)))
    assert finding.fits
    assert "execution.cohort=6 trains up to 6 of 6 runs at once, 2 side by side on each of 4 devices, 2.5 GiB" in said(
        describe(finding)
    )
    assert rows([finding])[0]["cohort"]["largest"] == 6
    alone = Finding(program._replace(cells=program.cells[:1]), TARGET, finding.compilation)
    assert finding.costs(1e15)["hours_low"] == pytest.approx(alone.costs(1e15)["hours_low"] / 3)


def test_runs_of_other_lengths_are_in_other_cohorts(lab, monkeypatch):
    """Three lengths of two seeds share a program, and two at a time a cohort."""
    monkeypatch.chdir(lab.path)
    settings = ["axes={training.tokens: [16384, 32768, 49152], seed: [0, 1], model.layers: [1]}"]
    (program,) = distinct(make_plan(read_sweep(lab.path / "sweep.yaml", settings)).cells)
    assert (len(program.cells), program.together, program.cohort) == (6, 2, 1)


def test_a_cohort_that_does_not_fit_is_told_the_largest_that_does(program):
    finding = Finding(program, TARGET, compilation(program), packing=Packing(1, compilation(program)))
    assert not finding.fits
    assert exit_code([finding]) == Exit.OUT_OF_MEMORY
    text = said(describe(finding))
    assert "execution.cohort=6 puts 2 runs side by side on a device: 1 fit" in text
    assert "this fits execution.cohort=5" in text  # two cohorts of three, each run on a device of its own
    assert " no " in said(cost_table([finding]))

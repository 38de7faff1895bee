"""Published shapes on two kinds of TPU slice: what the compiler said of their steps the last time it was meant.

What must be right whatever the compiler does is held apart: the bytes of the state follow from the number of parameters, the
FLOPs from the shapes. The golden numbers then tell when a change of the model, of the sharding or of a version moves memory or
traffic. The compilations need libtpu (`tpu-preflight`) and a minute or two; the smallest model is always lowered.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from scaling.config import MeshConfig, ModelConfig, ProgramConfig, build
from scaling.counting import count_flops, count_parameters
from scaling.models.presets import PRESETS
from scaling.preflight.hardware import parse_target
from scaling.preflight.jobs import Job
from scaling.preflight.pool import Compilers
from scaling.preflight.programs import Shape

GOLDEN = Path(__file__).with_name("golden.json")
CASES = {
    # sequences of 2,048 tokens: one step of so many, on meshes that people would choose
    "gpt3-125m on v5e-16": (64, {"data": 2, "fsdp": 8}),
    "gpt3-125m on v6e-16": (64, {"data": 2, "fsdp": 8}),
    "pythia-1b on v5e-16": (64, {"fsdp": 16}),
    "pythia-1b on v6e-16": (64, {"fsdp": 4, "tensor": 4}),
    "llama3-8b on v5e-16": (16, {"fsdp": 16}),
    "llama3-8b on v6e-16": (16, {"fsdp": 16}),
}
SMALLEST = "gpt3-125m on v5e-16"
LENGTH = 2048
CHANGED = """{case}: what the compiler makes of this step changed. If that is meant, docs/lab-log.md owes a line that says
why, and tests/preflight/golden.json these numbers: {numbers}"""


def job(case, effort):
    preset, _, name = case.partition(" on ")
    batch, mesh = CASES[case]
    vocabulary = -(-PRESETS[preset].vocabulary // 128) * 128
    program = ProgramConfig(mesh=MeshConfig(**mesh), remat="full", scan_layers=True)
    model = build(ModelConfig, {"preset": preset, "dtype": "bfloat16"})
    shape = Shape(model=model, vocabulary=vocabulary, sequence_length=LENGTH, batch_size=batch, program=program)
    return Job(shape=shape, target=parse_target(name), effort=effort, directory=None)


def state_bytes(shape):
    """Of one device, in float32: each parameter with two moments. All but vectors are split by fsdp and tensor."""
    parameters = count_parameters(shape.model, shape.vocabulary, shape.sequence_length)
    mesh = shape.program.mesh
    return 4 * parameters.total / (mesh.fsdp * mesh.tensor)


def check_invariants(compilation, shape):
    assert compilation.failure is None, compilation.failure
    memory = compilation.memory
    assert state_bytes(shape) <= memory.parameters <= 1.02 * state_bytes(shape)  # vectors are on every device
    assert memory.optimizer == pytest.approx(2 * memory.parameters, rel=1e-6)
    flops = count_flops(shape.model, shape.vocabulary, LENGTH).model * shape.tokens
    assert 1.2 * flops < compilation.flops < 1.6 * flops  # a forward pass of the blocks again, and masked scores


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """Case -> its compilation, all in parallel."""
    if find_spec("libtpu") is None:
        pytest.skip("no libtpu: pip install 'scaling-lab[tpu-preflight]'")
    target = parse_target("v5e-16")
    log = tmp_path_factory.mktemp("golden") / "log.txt"
    with Compilers(target, log) as compilers, ThreadPoolExecutor(len(CASES)) as threads:
        jobs = {case: job(case, "quick") for case in CASES}
        return dict(zip(jobs, threads.map(compilers.compile, jobs.values()), strict=True))


def numbers(compilation):
    return {
        "peak_mib": round(compilation.memory.peak / 2**20),
        "activations_mib": round(compilation.memory.activations / 2**20),
        "flops": compilation.flops,
        "collectives": {each.kind: [each.count, round(each.bytes / 2**20)] for each in compilation.collectives},
    }


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_step_is_what_it_was(compiled, case):
    compilation = compiled[case]
    check_invariants(compilation, job(case, "quick").shape)
    golden, now = json.loads(GOLDEN.read_text())[case], numbers(compilation)
    message = CHANGED.format(case=case, numbers=json.dumps(now))
    assert now["flops"] == golden["flops"], message
    for name in ("peak_mib", "activations_mib"):
        assert now[name] == pytest.approx(golden[name], rel=0.05), message
    assert set(now["collectives"]) == set(golden["collectives"]), message
    for kind, (count, size) in golden["collectives"].items():
        assert now["collectives"][kind][0] == pytest.approx(count, rel=0.1, abs=2), message
        assert now["collectives"][kind][1] == pytest.approx(size, rel=0.1, abs=2), message


def test_the_smallest_is_lowered_wherever_this_runs(tmp_path):
    """On 16 devices that this machine pretends to have."""
    wanted = job(SMALLEST, "lower")
    with Compilers(wanted.target, tmp_path / "log.txt", workers=1) as compilers:
        compilation = compilers.compile(wanted)
    check_invariants(compilation, wanted.shape)
    assert compilation.attention == "splash"
    golden = json.loads(GOLDEN.read_text())[SMALLEST]
    now = {"flops": compilation.flops, "activations_mib": round(compilation.memory.activations / 2**20)}
    assert now == {name: golden[name] for name in now}, CHANGED.format(case=SMALLEST, numbers=now)

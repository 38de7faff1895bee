"""The command on a small sweep: lowered for hardware that is not here, compiled for the devices that are."""

import json

import pytest

from scaling.errors import Exit


@pytest.fixture(scope="module")
def lowered(lab):
    """The rows of a preflight where libtpu is hidden."""
    mesh = ("execution.mesh.data=2", "execution.mesh.fsdp=2")
    return json.loads(lab("preflight", "sweep.yaml", *mesh, "--on", "v5e-4", "--json", without="libtpu").stdout)["runs"]


def test_without_a_compiler_programs_are_lowered_and_that_is_said(lab, lowered):
    done = lab("preflight", "sweep.yaml", "execution.mesh.data=4", "--on", "v5e-4", without="libtpu")
    assert "nothing was compiled" in done.stdout
    assert "pip install 'scaling-lab[tpu-preflight]'" in " ".join(done.stdout.split())
    assert all(row["compiled"] == "lower" and row["fits"] is None for row in lowered)


def test_runs_of_one_shape_share_a_program(lowered):
    assert len(lowered) == 4
    assert len({row["program"] for row in lowered}) == 2
    assert len({row["run_id"] for row in lowered}) == 4


def test_a_tpu_gets_its_own_attention_and_a_state_in_parts(lowered):
    """Parameters in float32, two moments each, split in two by fsdp but for vectors; Adam's counter is a number."""
    row = min(lowered, key=lambda each: each["memory"]["parameters"])
    matrices = 256 * 64 * 2 + 4 * 64 * 64 + 3 * 64 * 176  # embedding and head, attention, SwiGLU at the multiple of 16 near 8/3
    vectors = 3 * 64
    expected = 4 * (matrices / 2 + vectors)
    assert row["memory"]["parameters"] == expected
    assert row["memory"]["optimizer"] == pytest.approx(2 * expected, abs=16)
    assert row["memory"]["peak"] is None


def test_cost_follows_from_flops_price_and_utilization(lowered):
    row = lowered[0]
    for low, high, share in (("hours_low", "dollars_low", "high"), ("hours_high", "dollars_high", "low")):
        steps = 16_384 / 2048
        hours = row["model_flops"] * steps / (4 * 197e12 * row["utilization"][share] * 3600)
        assert row[low] == pytest.approx(hours)
        assert row[high] == pytest.approx(4 * 1.20 * hours)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--on", "v5x-16"], ["v5x-16", "v5e-16"]),
        ([], ["--on NAME", "--warm"]),
        (["--on", "v5e-4", "--choose", "best"], ["--choose 'best'", "fastest"]),
        (["--on", "v5e-4", "--choose", "fastest"], ["no compiler for tpu", "pip install 'scaling-lab[tpu-preflight]'"]),
    ],
)
def test_what_is_wrong_is_one_line(lab, arguments, parts):
    done = lab("preflight", "sweep.yaml", *arguments, code=Exit.USAGE, without="libtpu")
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    for part in parts:
        assert part in line, line


def test_a_mesh_that_the_model_does_not_divide_over_is_refused(lab):
    """Two heads over four devices."""
    done = lab("preflight", "sweep.yaml", "execution.mesh.tensor=4", "--on", "v5e-4", code=Exit.USAGE, without="libtpu")
    assert "refused model.heads 2 is not divisible by execution.mesh.tensor 4" in " ".join(done.stdout.split())


def test_gpus_are_lowered_for_too(lab):
    done = lab("preflight", "sweep.yaml", "model.dtype=bfloat16", "--on", "h100", "--json", without="jax_cuda12_plugin")
    row = json.loads(done.stdout)["runs"][0]
    assert row["compiled"] == "lower"
    assert any("cuDNN is not installed here" in each for each in row["warnings"])


@pytest.mark.slow
def test_a_warmed_cache_leaves_nothing_to_compile(lab):
    """A run in another process finds initialisation, step and evaluation compiled: it adds none of them to the cache."""

    def entries():
        names = (
            path.name.split("-")[0] for path in (lab.path / ".cache" / "jax").iterdir() if not path.name.endswith("-atime")
        )
        return sorted(name for name in names if name in ("jit_initialise", "jit_step", "jit_evaluate"))

    lab("preflight", "sweep.yaml", "axes.seed=[0]", "--warm")
    warmed = entries()
    assert warmed == ["jit_evaluate"] * 2 + ["jit_initialise"] * 2 + ["jit_step"] * 2  # of two sizes
    lab("sweep", "sweep.yaml", "axes.seed=[0]")
    assert entries() == warmed

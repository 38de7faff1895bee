"""The search over micro-batches, rematerialisation and meshes, on a machine whose memory is a formula."""

import pytest

from scaling.config import MeshConfig, ModelConfig, ProgramConfig, build
from scaling.preflight.choice import best_mesh, choose
from scaling.preflight.collectives import Collective
from scaling.preflight.hardware import parse_target
from scaling.preflight.jobs import Compilation, Failure
from scaling.preflight.programs import Shape
from scaling.preflight.search import REMATS, largest_micro_batch, lightest, meshes, nearest_mesh

MODEL = build(ModelConfig, {"width": 256, "layers": 2, "heads": 4})
KEPT = {"none": 8.0, "dots": 4.0, "dots_without_batch": 2.0, "full": 1.0}


def shape(batch=64, **program):
    return Shape(model=MODEL, vocabulary=1024, sequence_length=128, batch_size=batch, program=ProgramConfig(**program))


class Machine:
    """Compiles by a formula: a state that fsdp and tensor split, and activations of each sequence by policy."""

    def __init__(self, room, state=0.0):
        self.room, self.state, self.asked = room, state, []

    def __call__(self, shape):
        self.asked.append(shape)
        mesh = shape.program.mesh
        need = self.state / (mesh.fsdp * mesh.tensor) + KEPT[shape.program.remat] * shape.micro_batch / mesh.batch_shards
        failure = Failure(kind="memory", reason="full") if need > self.room else None
        sent = 1.0 * (mesh.fsdp > 1) + 8.0 * (mesh.tensor - 1) + 2.0 * (mesh.data > 1)
        collective = Collective(kind="all-gather", count=1, bytes=sent, sent=sent * 1e9, sent_between_slices=0, asynchronous=0)
        return Compilation(effort="quick", failure=failure, flops=1e12, accessed=1.0, collectives=(collective,))


@pytest.mark.parametrize(("room", "remat", "rows"), [(512, "none", 64), (100, "none", 8), (7, "dots", 1), (1, "full", 1)])
def test_the_lightest_policy_comes_first_and_then_the_largest_micro_batch(room, remat, rows):
    found = lightest(shape(), Machine(room))
    assert (found.shape.program.remat, found.shape.micro_batch) == (remat, rows)
    larger = [2 * rows] if rows < 64 else []
    assert all(KEPT[remat] * each > room for each in larger)


def test_nothing_fits_where_one_sequence_does_not():
    machine = Machine(0.5)
    assert lightest(shape(), machine) is None
    assert {each.program.remat for each in machine.asked} == set(REMATS)


def test_the_search_asks_for_few_compilations():
    """Bisection: 64 sequences have 7 micro-batches, of which the ends and two more are tried."""
    machine = Machine(100)
    assert largest_micro_batch(shape(), "none", machine).shape.micro_batch == 8
    assert len(machine.asked) <= 5


def test_a_micro_batch_divides_over_the_mesh():
    found = largest_micro_batch(shape(mesh=MeshConfig(data=4, fsdp=2)), "none", Machine(8.0))
    assert found.shape.micro_batch == 8


def test_meshes_are_all_factorizations_that_the_batch_divides_over():
    found = meshes(shape(), 8, 1)
    assert len(found) == 10  # of 8 = 2^3 in three ordered factors: C(5, 2)
    assert all(mesh.devices == 8 for mesh in found)
    assert {mesh.batch_shards for mesh in meshes(shape(batch=2), 8, 1)} == {1, 2}
    assert {mesh.replica for mesh in meshes(shape(), 16, 2)} == {2}


def test_the_nearest_mesh_changes_least():
    """A state of 8 in a room of 5 has to be halved: fsdp 2 in place of one of the data axis's doublings is the nearest."""
    found = nearest_mesh(shape(mesh=MeshConfig(data=8)), 8, 1, Machine(room=72, state=16))
    assert found.overrides(shape(mesh=MeshConfig(data=8))) in (
        "execution.mesh.data=4 execution.mesh.fsdp=2",
        "execution.mesh.data=4 execution.mesh.tensor=2",
    )


def test_the_best_mesh_fits_and_sends_least():
    """The state fits only where it is split by 8; of these fsdp alone sends least."""
    target = parse_target("v5e-8")
    choice = best_mesh(shape(), target, Machine(room=100, state=720), workers=2)
    assert choice.fitting.shape.program.mesh == MeshConfig(fsdp=8)
    assert choice.fitting.shape.program.remat == "none"
    assert choice.fitting.shape.micro_batch == 8


def test_nothing_is_chosen_where_nothing_fits():
    assert best_mesh(shape(), parse_target("v5e-8"), Machine(room=1, state=720), workers=2) is None


def test_the_fastest_is_not_always_the_cheapest():
    small, large = (best_mesh(shape(), parse_target(name), Machine(room=1e9), workers=1) for name in ("v5e-4", "v5p-8"))
    assert choose([small, large], "fastest").target.name == "v5p-8"
    assert choose([small, large], "cheapest").target.name == "v5e-4"
    assert choose([], "fastest") is None

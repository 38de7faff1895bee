"""The text of compiled programs, against what is known of them by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from scaling.preflight.collectives import find_collectives
from scaling.preflight.hlo import Module, arrays, memory_bytes

MESH = Mesh(np.array(jax.devices()).reshape(2, 4), ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2)


def compiled(function, *arguments, out=None):
    """The module of a function of arrays with (shape, spec), in float32."""
    placed = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(MESH, spec)) for shape, spec in arguments]
    shardings = None if out is None else NamedSharding(MESH, out)
    return Module(jax.jit(function, out_shardings=shardings).lower(*placed).compile().as_text())


def kinds(module):
    return {each.kind: each for each in find_collectives(module, 8)}


def test_a_gather_sends_the_rest_of_the_array():
    """To have a whole array of s bytes of which each of 4 devices has a quarter, each sends 3/4 s around the ring."""
    module = compiled(lambda x: x * 2, ((512, 256), PartitionSpec("fsdp")), out=PartitionSpec())
    size = 512 * 256 * 4
    (gather,) = kinds(module).values()
    assert (gather.kind, gather.count, gather.bytes, gather.sent) == ("all-gather", 1, size, 0.75 * size)


def test_a_sum_over_all_devices_sends_everything_nearly_twice():
    module = compiled(lambda x: x.sum(axis=0), ((8, 4096), PartitionSpec(("data", "fsdp"))), out=PartitionSpec())
    (reduction,) = kinds(module).values()
    assert (reduction.kind, reduction.bytes, reduction.sent) == ("all-reduce", 4 * 4096, 2 * 7 / 8 * 4 * 4096)


def test_what_is_sent_in_a_loop_is_sent_as_often_as_it_runs():
    def loop(x, w_NxDxD):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w_NxDxD)[0]

    width, layers = 64, 5
    module = compiled(
        loop,
        ((16, width), PartitionSpec(("data", "fsdp"), None)),
        ((layers, width, width), PartitionSpec(None, "fsdp", None)),
        out=PartitionSpec(("data", "fsdp"), None),
    )
    gather = kinds(module)["all-gather"]
    assert gather.count in (1, layers)  # of all layers before the loop, or of each in it
    assert gather.bytes == layers * width * width * 4


def test_which_devices_talk_between_slices_is_seen():
    """Of two slices of four devices, a sum over all crosses between them and one within each does not."""
    whole = compiled(lambda x: x.sum(axis=0), ((8, 4096), PartitionSpec(("data", "fsdp"))), out=PartitionSpec())
    within = compiled(lambda x: x.sum(axis=1), ((2, 4, 4096), PartitionSpec("data", "fsdp")), out=PartitionSpec("data", None))
    for module, crosses in ((whole, True), (within, False)):
        (each,) = find_collectives(module, 8, slices=2)
        assert (each.sent_between_slices > 0, each.sent > 0) == (crosses, not crosses)


def test_a_loop_moves_the_bytes_of_all_its_turns():
    """n products of a square matrix read and write at least n times as much as one; less than twice that in all."""

    def loop(n):
        module = compiled(
            lambda x, w: jax.lax.fori_loop(0, n, lambda _, x: x @ w, x),
            ((512, 512), PartitionSpec()),
            ((512, 512), PartitionSpec()),
        )
        return module.accessed_bytes()

    one = 3 * 512 * 512 * 4
    assert 20 * one <= loop(20) <= 2 * 20 * one


def test_a_slice_of_a_stack_counts_with_the_slice():
    def loop(x, w_NxDxD):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w_NxDxD)[0]

    layers, width = 32, 256
    module = compiled(loop, ((width, width), PartitionSpec()), ((layers, width, width), PartitionSpec()))
    once = layers * width * width * 4
    assert 3 * once <= module.accessed_bytes() <= 12 * once  # whole stacks in every turn would be 32 and more


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [
        ("f32[16,32]{1,0}", [2048]),
        ("(s32[], bf16[4,8]{1,0:T(8,128)(2,1)}, pred[3]{0})", [4, 64, 3]),
        ("bf16[]", [2]),
    ],
)
def test_sizes_of_types(kind, sizes):
    assert arrays(kind) == sizes
    assert memory_bytes(kind) == sum(sizes)


def test_what_stays_in_the_chip_is_no_traffic():
    assert memory_bytes("bf16[8,128]{1,0:T(8,128)(2,1)S(1)}") == 0


def test_the_trip_count_is_read_from_the_condition_where_nothing_states_it():
    text = """HloModule m, entry_computation_layout={()->s32[]}

%cond (p: (s32[], f32[4])) -> pred[] {
  %p = (s32[], f32[4]{0}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %n = s32[] constant(7)
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}

%body (q: (s32[], f32[4])) -> (s32[], f32[4]) {
  %q = (s32[], f32[4]{0}) parameter(0)
  %j = s32[] get-tuple-element(%q), index=0
  %x = f32[4]{0} get-tuple-element(%q), index=1
  %ar = f32[4]{0} all-reduce(%x), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add
  ROOT %t = (s32[], f32[4]{0}) tuple(%j, %ar)
}

ENTRY %main (a: f32[4]) -> (s32[], f32[4]) {
  %a = f32[4]{0} parameter(0)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4]{0}) tuple(%zero, %a)
  ROOT %loop = (s32[], f32[4]{0}) while(%start), condition=%cond, body=%body
}
"""
    (each,) = find_collectives(Module(text), 8)
    assert (each.kind, each.count, each.bytes) == ("all-reduce", 7, 7 * 16)
    assert each.sent == 2 * 3 / 4 * 7 * 16


def test_lines_of_a_kernels_metadata_do_not_end_a_computation():
    """A Pallas kernel's attributes go over several lines, one of which begins with a brace; on TPU7x a core beside sends."""
    text = """HloModule m, entry_computation_layout={(f32[4])->f32[8]}

%sent (p.1: f32[4]) -> f32[8] {
  %p.1 = f32[4]{0} parameter(0)
  ROOT %ag = f32[8]{0} all-gather(%p.1), replica_groups=[4,2]<=[8], dimensions={0}
}, execution_thread="sparsecore"

ENTRY %main (a: f32[4]) -> f32[8] {
  %a = f32[4]{0} parameter(0)
  %kernel = f32[4]{0} custom-call(%a), custom_call_target="tpu_custom_call", frontend_attributes={kernel_metadata={
"block": "128"
}}, metadata={op_name="attention"}
  %start = ((f32[4]{0}), f32[8]{0}) call-start(%kernel), async_execution_thread="sparsecore", to_apply=%sent
  ROOT %done = f32[8]{0} call-done(%start)
}
"""
    (each,) = find_collectives(Module(text), 8)
    assert (each.kind, each.count, each.bytes, each.sent, each.asynchronous) == ("all-gather", 1, 32, 16, 1)

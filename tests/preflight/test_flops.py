"""FLOPs from a trace against those from shapes."""

import jax
import jax.numpy as jnp
import pytest

from scaling.config import ModelConfig, ProgramConfig, build
from scaling.counting import count_flops
from scaling.models.kernels import MAX_BLOCKS, splash
from scaling.preflight.compilers import step_arguments
from scaling.preflight.flops import count
from scaling.preflight.programs import Shape
from scaling.training.program import make_program

LENGTH, BATCH, VOCABULARY = 256, 8, 512


def step_flops(model, **program):
    """Of one step, and what `counting` says of it without attention, and of attention in full."""
    shape = Shape(
        model=model, vocabulary=VOCABULARY, sequence_length=LENGTH, batch_size=BATCH, program=ProgramConfig(**program)
    )
    made = make_program(model, VOCABULARY, LENGTH, shape.program)
    counted = count(made.step.trace(*step_arguments(made, shape)).jaxpr)
    attention = 3 * model.layers * 4 * LENGTH * model.heads * model.head_width * shape.tokens
    matrices = count_flops(model, VOCABULARY, LENGTH).model * shape.tokens - attention / 2
    return counted, matrices, attention


BLOCKS = (MAX_BLOCKS + 1) / 2 / MAX_BLOCKS
"""The part of all scores that attention by blocks of queries computes: 1 + 2 + ... + n blocks of n x n."""


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("scan_layers", [False, True])
def test_a_step_has_the_flops_of_its_shapes(family, scan_layers):
    model = build(ModelConfig, {"family": family, "width": 64, "layers": 3, "heads": 4})
    counted, matrices, attention = step_flops(model, scan_layers=scan_layers, micro_batch=BATCH)
    assert counted == pytest.approx(matrices + BLOCKS * attention, rel=1e-12)


def test_micro_batches_and_devices_change_nothing():
    model = build(ModelConfig, {"width": 64, "layers": 2, "heads": 4})
    once, _, _ = step_flops(model, micro_batch=BATCH)
    for program in ({"micro_batch": 2}, {"mesh": {"data": 2, "fsdp": 2, "tensor": 2}, "micro_batch": BATCH}):
        assert step_flops(model, **program)[0] == once


def test_full_rematerialisation_costs_another_forward_pass_of_the_blocks():
    """But for the products whose results the backward pass has no use for: those that end a branch of a block."""
    model = build(ModelConfig, {"width": 64, "layers": 3, "heads": 4})
    once, matrices, attention = step_flops(model, micro_batch=BATCH)
    again, _, _ = step_flops(model, micro_batch=BATCH, remat="full")
    head = 6 * VOCABULARY * model.width * LENGTH * BATCH
    blocks = (matrices - head + BLOCKS * attention) / 3
    assert 0.6 * blocks < again - once <= blocks


def test_experts_count_with_those_that_a_token_uses():
    model = build(ModelConfig, {"width": 64, "layers": 2, "heads": 4, "experts": 4, "experts_per_token": 2})
    counted, matrices, attention = step_flops(model, micro_batch=BATCH)
    assert counted >= matrices + BLOCKS * attention


def test_a_pallas_kernel_counts_for_its_grid_without_the_masked_half():
    """Two products of the forward pass, of every query with every key, half of them behind the branch that the mask takes."""
    batch, length, heads, width = 2, 256, 2, 128
    q = jnp.zeros((batch, length, heads, width))
    counted = count(jax.make_jaxpr(lambda q: splash(q, q, q, scale=1.0, cap=None, interpret=True))(q))
    assert counted == 4 * batch * heads * length * length * width / 2

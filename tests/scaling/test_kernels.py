"""Attention kernels against the plain softmax over all keys, and which of them is chosen."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scaling.config import ModelConfig, build
from scaling.errors import ScalingError
from scaling.models.kernels import attend, blocked, choose_attention, splash


def _inputs(length, heads, kv_heads, width=16):
    shapes = ((2, length, heads, width), (2, length, kv_heads, width), (2, length, kv_heads, width))
    return [jax.random.normal(jax.random.key(index), shape) for index, shape in enumerate(shapes)]


def _compare(kernel, inputs, cap):
    """Values and gradients of both."""

    def plain(q, k, v):
        return attend(q, k, v, jnp.arange(q.shape[1]), scale=0.3, cap=cap)

    weights = jax.random.normal(jax.random.key(9), inputs[0].shape)
    gradient = functools.partial(jax.grad, argnums=(0, 1, 2))
    for ours, theirs in (
        (jax.jit(kernel)(*inputs), jax.jit(plain)(*inputs)),
        *zip(
            *(jax.jit(gradient(lambda *each, f=f: (f(*each) * weights).sum()))(*inputs) for f in (kernel, plain)), strict=True
        ),
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.mark.parametrize(("heads", "kv_heads", "cap"), [(4, 4, None), (4, 2, None), (2, 1, 5.0)])
def test_splash_is_plain_attention(heads, kv_heads, cap):
    """In Pallas' interpreter: the same kernel that a TPU compiles."""
    _compare(lambda q, k, v: splash(q, k, v, scale=0.3, cap=cap, interpret=True), _inputs(256, heads, kv_heads, width=32), cap)


@pytest.mark.parametrize("length", [1, 40, 96, 256])
def test_blocks_of_queries_are_plain_attention(length):
    _compare(lambda q, k, v: blocked(q, k, v, scale=0.3, cap=5.0), _inputs(length, 4, 2), 5.0)


def _model(**fields):
    return build(ModelConfig, {"width": 128, "layers": 1, "heads": 2, **fields})


@pytest.mark.parametrize(
    ("platform", "length", "fields", "kernel"),
    [
        ("cpu", 256, {}, "xla"),
        ("tpu", 256, {}, "splash"),
        ("tpu", 200, {}, "xla"),
        ("gpu", 256, {"dtype": "bfloat16"}, "cudnn"),
        ("gpu", 256, {}, "xla"),
        ("gpu", 256, {"dtype": "bfloat16", "attention_cap": 50.0}, "xla"),
    ],
)
def test_auto_is_the_platforms_kernel_where_it_can_compute_the_model(platform, length, fields, kernel):
    assert choose_attention("auto", _model(**fields), length, platform) == kernel
    assert choose_attention(kernel, _model(**fields), length, platform) == kernel


@pytest.mark.parametrize(
    ("name", "platform", "length", "fields", "message"),
    [
        ("splash", "cpu", 256, {}, "execution.attention splash needs a TPU, and the devices are cpu; auto chooses"),
        ("splash", "tpu", 200, {}, "data.sequence_length that is a multiple of 128, not 200"),
        ("cudnn", "cpu", 256, {}, "execution.attention cudnn needs an NVIDIA GPU, and the devices are cpu"),
        ("cudnn", "gpu", 256, {}, "model.dtype bfloat16, not float32"),
        ("cudnn", "gpu", 256, {"dtype": "bfloat16", "attention_cap": 50.0}, "model.attention_cap is 50"),
        ("cudnn", "gpu", 256, {"dtype": "bfloat16", "head_width": 256}, "up to 128, not 256"),
    ],
)
def test_a_kernel_that_is_not_there_is_one_clear_line(name, platform, length, fields, message):
    with pytest.raises(ScalingError, match=message):
        choose_attention(name, _model(**fields), length, platform)

"""Documents packed into one sequence, each seen alone, in every way to compute attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scaling.config import ModelConfig, RunConfig, build
from scaling.errors import ScalingError
from scaling.models.documents import read_marks
from scaling.models.execution import ONE_DEVICE, Execution
from scaling.models.kernels import attend, blocked, choose_attention, splash
from scaling.models.transformer import Transformer
from scaling.training.optimizer import hyperparameters
from scaling.training.program import make_program

FAMILIES = ["llama", "gpt2", "neox", "gemma2"]
LENGTHS = (5, 1, 40, 18)
VOCABULARY, LENGTH = 50, sum(LENGTHS)


def _model(family, **extra):
    config = build(ModelConfig, {"family": family, "width": 32, "layers": 2, "heads": 4, **extra})
    return Transformer(config, VOCABULARY, LENGTH, rngs=nnx.Rngs(0))


def _documents(sequences=2):
    """Of each sequence, its documents."""
    random = np.random.default_rng(0)
    return [[random.integers(VOCABULARY, size=length) for length in LENGTHS] for _ in range(sequences)]


def _packed(documents):
    """Sequences whose documents begin with a mark, and one token that the last one predicts."""
    return jnp.asarray(
        [np.concatenate([*((~each[:1], each[1:])[part] for each in row for part in (0, 1)), [3]]) for row in documents]
    )


def test_marks_give_tokens_segments_and_positions():
    tokens_BxL1, documents = read_marks(jnp.asarray([[7, ~5, 2, ~0, ~4, 1], [~7, 5, 2, 3, 4, ~1]]))
    assert tokens_BxL1.tolist() == [[7, 5, 2, 0, 4, 1], [7, 5, 2, 3, 4, 1]]
    assert documents.position_BxL.tolist() == [[0, 0, 1, 0, 0], [0, 1, 2, 3, 4]]
    assert documents.segment_BxL.tolist() == [[0, 1, 1, 2, 3], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("scan", [False, True])
def test_packed_documents_have_the_logits_of_each_alone(family, scan):
    model, documents = _model(family), _documents()
    tokens_BxL1, where = read_marks(_packed(documents))
    execution = Execution(scan_layers=scan, remat="full" if scan else "none")
    packed = model.logits(model.hidden(tokens_BxL1[:, :-1], execution, where)[0])
    joined = model(tokens_BxL1[:, :-1])
    for row, parts in enumerate(documents):
        alone = np.concatenate([model(jnp.asarray(part)[None])[0] for part in parts])
        np.testing.assert_allclose(packed[row], alone, atol=2e-5)
        np.testing.assert_allclose(joined[row, : LENGTHS[0]], alone[: LENGTHS[0]], atol=2e-5)
        assert np.abs(joined[row, LENGTHS[0] :] - alone[LENGTHS[0] :]).max() > 1e-3


def _inputs(length, heads, kv_heads, width=16):
    shapes = ((2, length, heads, width), (2, length, kv_heads, width), (2, length, kv_heads, width))
    return [jax.random.normal(jax.random.key(index), shape) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("kernel", "length"), [(blocked, 96), (blocked, 256), (functools.partial(splash, interpret=True), 256)]
)
def test_a_kernel_with_segments_is_plain_attention_under_their_mask(kernel, length):
    """Values and gradients; splash in Pallas' interpreter."""
    inputs = _inputs(length, 4, 2, width=32)
    begins = jax.random.bernoulli(jax.random.key(7), 0.04, (2, length))
    segment_BxL = jnp.cumsum(begins, axis=1, dtype=jnp.int32)
    same_BxLxM = segment_BxL[:, :, None] == segment_BxL[:, None]
    weights = jax.random.normal(jax.random.key(9), inputs[0].shape)

    def plain(q, k, v):
        return attend(q, k, v, jnp.arange(length), same_BxLxM, scale=0.3, cap=5.0)

    def ours(q, k, v):
        return kernel(q, k, v, segment_BxL, scale=0.3, cap=5.0)

    values = [jax.jit(each)(*inputs) for each in (ours, plain)]
    np.testing.assert_allclose(*values, atol=2e-5)
    gradients = [jax.jit(jax.grad(lambda *x, f=f: (f(*x) * weights).sum(), (0, 1, 2)))(*inputs) for f in (ours, plain)]
    for one, other in zip(*gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_cudnn_is_refused_by_name_and_auto_goes_on_without_it():
    model = build(ModelConfig, {"width": 128, "layers": 1, "heads": 2, "dtype": "bfloat16"})
    assert choose_attention("auto", model, 256, "gpu", separate_documents=True) == "xla"
    assert choose_attention("auto", model, 256, "tpu", separate_documents=True) == "splash"
    with pytest.raises(ScalingError, match=r"execution.attention cudnn needs data.documents joined, not separate"):
        choose_attention("cudnn", model, 256, "gpu", separate_documents=True)


@pytest.mark.parametrize("mesh", [{}, {"data": 2, "fsdp": 2, "tensor": 2}])
@pytest.mark.parametrize("fields", [{}, {"experts": 2, "experts_per_token": 1, "balance_loss": 0.01}])
def test_a_step_on_packed_documents_has_the_loss_of_each_alone(mesh, fields):
    config = build(
        RunConfig,
        {
            "model": {"width": 32, "layers": 2, "heads": 4, **fields},
            "data": {"sequence_length": LENGTH, "documents": "separate"},
            "training": {"tokens": 80 * LENGTH, "batch_tokens": 8 * LENGTH},
            "optimizer": {"learning_rate": 1e-3},
            "execution": {"mesh": mesh},
        },
    )
    program = make_program(config.model, VOCABULARY + 2, LENGTH, config.execution.program, separate_documents=True)
    documents = _documents(8)
    tokens = np.asarray(_packed(documents), np.int32)
    hyper = hyperparameters(config)
    state = program.initialise(hyper, jnp.uint32(0))
    before = jax.device_get(state.parameters)
    summed = program.evaluate(state.parameters, jax.device_put(tokens, program.batch_sharding), np.ones(8, np.float32))
    _, metrics = program.step(state, jax.device_put(tokens, program.batch_sharding), hyper)

    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(config.model, VOCABULARY + 2, LENGTH, rngs=nnx.Rngs(0))))
    model, expected = nnx.merge(graph, nnx.State(before)), 0.0
    for row in documents:
        stream = np.concatenate([*row, [3]])
        logits = np.concatenate([model.logits(model.hidden(jnp.asarray(part)[None], ONE_DEVICE)[0])[0] for part in row])
        expected -= np.asarray(jax.nn.log_softmax(logits))[np.arange(LENGTH), stream[1:]].sum()
    assert float(summed) == pytest.approx(expected, rel=1e-5)
    assert float(metrics.loss) == pytest.approx(expected / (8 * LENGTH), rel=1e-5)

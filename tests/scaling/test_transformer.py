import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scaling.config import ModelConfig, build
from scaling.models.attention import rotate
from scaling.models.kernels import attend
from scaling.models.transformer import Transformer

FAMILIES = ["llama", "gpt1", "gpt2", "neox", "chinchilla", "gemma2", "qwen3"]
SHAPE = {"width": 32, "layers": 2, "heads": 4}


def _model(family="llama", **extra):
    return Transformer(build(ModelConfig, {"family": family, **SHAPE, **extra}), 50, 12, rngs=nnx.Rngs(0))


def _tokens(seed=0):
    return jax.random.randint(jax.random.key(seed), (3, 12), 0, 50)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_attention_is_jax_nn_dot_product_attention(kv_heads):
    q, k, v = (
        jax.random.normal(key, (2, 9, heads, 8))
        for key, heads in zip(jax.random.split(jax.random.key(0), 3), (4, kv_heads, kv_heads), strict=True)
    )
    expected = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(attend(q, k, v, jnp.arange(9)), expected, atol=2e-6)


def test_rotation_keeps_norms_and_makes_scores_depend_on_distance_alone():
    x_K, y_K = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    x_1xLx1xK, y_1xLx1xK = (rotate(jnp.tile(each, (1, 20, 1, 1)), jnp.arange(20)[None], 8, 10_000.0) for each in (x_K, y_K))
    np.testing.assert_allclose(np.linalg.norm(x_1xLx1xK[0, :, 0], axis=-1), np.linalg.norm(x_K), rtol=1e-5)
    scores_LxL = np.asarray(x_1xLx1xK[0, :, 0] @ y_1xLx1xK[0, :, 0].T)
    for distance in range(-5, 6):
        diagonal = np.diagonal(scores_LxL, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], atol=1e-4)
    assert np.ptp(scores_LxL) > 0.1  # it does depend on distance


def test_rotation_is_the_complex_product_of_the_paper():
    x_LxK = np.random.default_rng(1).normal(size=(7, 6)).astype(np.float32)
    angles_LxK = np.arange(7)[:, None] * 10_000.0 ** (-np.arange(3) / 3)[None]
    turned_LxK = (x_LxK[:, :3] + 1j * x_LxK[:, 3:]) * np.exp(1j * angles_LxK)
    expected_LxK = np.concatenate([turned_LxK.real, turned_LxK.imag], axis=-1)
    np.testing.assert_allclose(
        rotate(jnp.asarray(x_LxK)[None, :, None], jnp.arange(7)[None], 6, 10_000.0)[0, :, 0], expected_LxK, atol=1e-5
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_no_logit_depends_on_a_later_token(family):
    model = _model(family)
    before, after = _tokens(), _tokens().at[:, 7].set(1)
    np.testing.assert_array_equal(model(before)[:, :7], model(after)[:, :7])
    assert not np.allclose(model(before)[:, 7:], model(after)[:, 7:])


@pytest.mark.parametrize("family", FAMILIES)
def test_an_untrained_model_is_about_as_good_as_guessing(family):
    logits_BxLxV = _model(family)(_tokens())
    losses = -jax.nn.log_softmax(logits_BxLxV)[:, :-1]
    loss = np.take_along_axis(np.asarray(losses), np.asarray(_tokens())[:, 1:, None], axis=-1).mean()
    assert loss == pytest.approx(np.log(50), abs=0.1)


def test_bfloat16_computes_in_bfloat16_on_float32_parameters():
    exact, rounded = _model(), _model(dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(rounded, nnx.Param))} == {jnp.dtype("float32")}
    difference = np.abs(exact(_tokens()) - rounded(_tokens())).max()
    assert 0 < difference < 0.03  # a bfloat16 has 8 bits: about 0.4 % of logits of size 1


def test_a_tied_head_is_the_embedding():
    model = _model("gpt2")
    grown = nnx.clone(model)
    grown.embedding.embedding[...] = grown.embedding.embedding[...].at[7].mul(3.0)
    tokens = jnp.full((1, 12), 3)
    np.testing.assert_allclose(grown(tokens)[..., 7], 3 * model(tokens)[..., 7], rtol=1e-5)


def test_capped_scores_are_those_of_the_formula():
    q, k, v = np.random.default_rng(0).normal(size=(3, 1, 5, 2, 4)).astype(np.float32) * 4
    scores = 3.0 * np.tanh(0.7 * np.einsum("blhk,bmhk->bhlm", q, k) / 3.0)
    weights = np.where(np.tril(np.ones((5, 5))), np.exp(scores), 0)
    expected = np.einsum("bhlm,bmhk->blhk", weights / weights.sum(axis=-1, keepdims=True), v)
    out = attend(*(jnp.asarray(each) for each in (q, k, v)), jnp.arange(5), scale=0.7, cap=3.0)
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_a_part_of_a_head_is_turned_and_the_rest_left_alone():
    x = jax.random.normal(jax.random.key(0), (1, 6, 2, 8))
    turned = rotate(x, jnp.arange(6)[None], 4, 500.0)
    np.testing.assert_array_equal(turned[..., 4:], x[..., 4:])
    np.testing.assert_allclose(turned[..., :4], rotate(x[..., :4], jnp.arange(6)[None], 4, 500.0), atol=1e-6)
    assert not np.allclose(turned[:, 1:, :, :4], x[:, 1:, :, :4])


def test_logits_stay_within_their_cap():
    free, capped = _model(tied_head=True), _model(tied_head=True, logit_cap=0.2)
    for model in (free, capped):
        model.embedding.embedding[...] *= 50
    logits = np.asarray(free(_tokens()))
    assert np.abs(logits).max() > 0.2
    np.testing.assert_allclose(capped(_tokens()), 0.2 * np.tanh(logits / 0.2), atol=1e-6)


def test_without_positions_the_order_of_earlier_tokens_does_not_matter_to_one_layer():
    tokens, swapped = _tokens(), _tokens()[:, [1, 0, *range(2, 12)]]
    none, rotary = _model(layers=1, positions="none"), _model(layers=1)
    np.testing.assert_allclose(none(tokens)[:, 5], none(swapped)[:, 5], atol=1e-6)
    assert not np.allclose(rotary(tokens)[:, 5], rotary(swapped)[:, 5], atol=1e-6)


def test_normalised_queries_and_keys_forget_their_length():
    model = _model(qk_norm=True)
    expected = model(_tokens())
    for block in model.blocks:
        block.attention.query.kernel[...] *= 7.0
        block.attention.key.kernel[...] *= 0.3
    np.testing.assert_allclose(model(_tokens()), expected, atol=1e-3)  # but for the epsilon of the norm
    plain = _model()
    before = plain(_tokens())
    plain.blocks[0].attention.query.kernel[...] *= 7.0
    assert not np.allclose(plain(_tokens()), before, atol=1e-3)


def test_parallel_branches_read_the_same_input():
    block = _model("neox").blocks[0]
    x = jax.random.normal(jax.random.key(1), (2, 5, 32))
    attended, _ = block.attention(block.attention_norm(x))
    np.testing.assert_allclose(block(x)[0], x + attended + block.mlp(block.mlp_norm(x))[0], atol=1e-6)


@pytest.mark.parametrize(
    ("mlp", "function"),
    [("squared_relu", lambda gate, up: np.maximum(up, 0) ** 2), ("geglu", lambda gate, up: _tanh_gelu(gate) * up)],
)
def test_an_mlp_is_its_formula(mlp, function):
    layer = _model(mlp=mlp).blocks[0].mlp
    x = np.random.default_rng(0).normal(size=(1, 3, 32)).astype(np.float32)
    gate = x @ np.asarray(layer.gate.kernel[...]) if mlp == "geglu" else None
    expected = function(gate, x @ np.asarray(layer.up.kernel[...])) @ np.asarray(layer.down.kernel[...])
    np.testing.assert_allclose(layer(jnp.asarray(x))[0], expected, atol=1e-5)


def _tanh_gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

"""The tables of standard, muP and CompleteP, each entry against its paper; the models that are made by them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scaling.config import ModelConfig, build
from scaling.errors import ScalingError
from scaling.models.parametrization import CompleteP, MuP, Standard
from scaling.models.transformer import Transformer

BASE = {"width": 32, "layers": 2, "heads": 2}
MUP = {"name": "mup", "base_width": 32, "base_head_width": 16}
COMPLETEP = {**MUP, "name": "completep", "base_layers": 2}
KINDS = ("embedding", "hidden", "head", "vector", "block_vector")


def _parameters(model):
    transformer = Transformer(model, 64, 20, rngs=nnx.Rngs(0))
    return transformer, nnx.to_pure_dict(nnx.state(transformer, nnx.Param))


def _logits(fields):
    transformer, _ = _parameters(build(ModelConfig, fields))
    return transformer(jnp.arange(20)[None] % 7)


def test_mup_is_table_8_of_yang_et_al():
    """m = 4: hidden rates 1/m, output multiplier 1/m, all other rates 1; scores q k / d, here with sqrt(base) = 4."""
    rules = MuP(name="mup", base_width=32, base_head_width=16).rules(width=128, layers=6, head_width=64)
    assert [rules.learning_rate.get(kind, 1) for kind in KINDS] == [1, 1 / 4, 1, 1, 1]
    assert (rules.output_multiplier, rules.residual_multiplier) == (1 / 4, 1)
    assert rules.attention_scale == 4 / 64
    assert rules.residual_layers == 6


def test_completep_is_table_1_of_dey_et_al():
    """m_N = 4 and m_L = 3, alpha = 1: the last column of the table, and epsilon x m_N^-1 m_L^-1 in the residual blocks."""
    rules = CompleteP(name="completep", base_width=32, base_layers=2).rules(width=128, layers=6, head_width=16)
    assert [rules.learning_rate.get(kind, 1) for kind in KINDS] == [1, 1 / 4, 1, 1, 1]
    assert (rules.output_multiplier, rules.residual_multiplier) == (1 / 4, 1 / 3)
    for kind in ("hidden", "block_vector"):
        assert rules.epsilon[kind] == pytest.approx(1 / 12)
    assert rules.residual_layers == 2  # the initial variance does not go with the depth


def test_a_router_is_an_output_of_table_3():
    """Initial variance 1 / fan_in^2 and rate 1 / fan_in: both halve in their root when the width doubles."""
    narrow, wide = (MuP(name="mup", base_width=32).rules(width, 2, 16) for width in (32, 64))
    assert wide.router_scale == narrow.router_scale / 2
    assert wide.learning_rate["router"] == narrow.learning_rate["router"] / 2


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
@pytest.mark.parametrize("parametrization", [MUP, COMPLETEP], ids=lambda each: each["name"])
def test_a_model_of_the_base_size_is_the_standard_one_bit_for_bit(family, parametrization):
    standard = _logits({**BASE, "family": family})
    np.testing.assert_array_equal(_logits({**BASE, "family": family, "parametrization": parametrization}), standard)


def test_completep_at_the_base_depth_is_mup():
    for width in (32, 128):
        completep = CompleteP(**{**COMPLETEP, "name": "completep"}).rules(width, 2, 16)
        mup = MuP(**MUP).rules(width, 2, 16)
        assert {key: completep.epsilon.get(key, 1) for key in KINDS} == {key: mup.epsilon.get(key, 1) for key in KINDS}
        assert (completep.output_multiplier, completep.learning_rate) == (mup.output_multiplier, mup.learning_rate)


@pytest.mark.parametrize(("tied", "multiplier"), [(True, 1), (True, 4), (False, 1), (False, 4)])
def test_logits_are_divided_by_the_growth_of_the_width(tied, multiplier):
    """Written out from what the blocks give: with a tied head too, whose matrix is the embedding's."""
    model = build(ModelConfig, {**BASE, "tied_head": tied, "parametrization": {**MUP, "base_width": 32 // multiplier}})
    transformer, parameters = _parameters(model)
    tokens_BxL = jnp.arange(20)[None] % 7
    x_BxLxD = transformer.embedding(tokens_BxL)
    for block in transformer.blocks:
        x_BxLxD, *_ = block(x_BxLxD)
    x_BxLxD *= jax.lax.rsqrt(jnp.square(x_BxLxD).mean(axis=-1, keepdims=True) + model.norm_epsilon)
    head_DxV = parameters["embedding"]["embedding"].T if tied else parameters["head"]["kernel"]
    np.testing.assert_allclose(transformer(tokens_BxL), x_BxLxD @ head_DxV / multiplier, rtol=1e-4, atol=1e-6)


def test_branches_of_a_deeper_model_are_divided_by_its_depth():
    """A model of six layers over a base of two adds a third of what its branches give."""
    model = build(ModelConfig, {**BASE, "layers": 6, "parametrization": COMPLETEP})
    block = Transformer(model, 64, 20, rngs=nnx.Rngs(0)).blocks[3]
    x_BxLxD = jax.random.normal(jax.random.key(0), (2, 5, 32))
    y_BxLxD = x_BxLxD + block.attention(block.attention_norm(x_BxLxD))[0] / 3
    expected = y_BxLxD + block.mlp(block.mlp_norm(y_BxLxD))[0] / 3
    np.testing.assert_allclose(block(x_BxLxD)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "parametrization", [{}, {**MUP, "base_width": 8}, {**COMPLETEP, "base_width": 8, "base_layers": 1}], ids=str
)
def test_initial_scales_are_those_of_the_table(parametrization):
    model = build(ModelConfig, {**BASE, "width": 128, "heads": 8, "experts": 64, "parametrization": parametrization})
    _, parameters = _parameters(model)
    block = parameters["blocks"][1]
    depth = 1 if parametrization.get("name") == "completep" else 2
    m = 128 / parametrization.get("base_width", 128)
    expected = {
        "embedding": (parameters["embedding"]["embedding"], 0.02),
        "head": (parameters["head"]["kernel"], 0.02),
        "query": (block["attention"]["query"]["kernel"], 128**-0.5),
        "output": (block["attention"]["output"]["kernel"], (128 * 2 * depth) ** -0.5),
        "down": (block["mlp"]["experts"]["down"]["kernel"], (model.mlp_width * 2 * depth) ** -0.5),
        "router": (block["mlp"]["router"]["kernel"], (128 / m) ** -0.5 / m),
    }
    for name, (kernel, scale) in expected.items():
        assert float(jnp.std(kernel)) == pytest.approx(scale, rel=4 / np.sqrt(2 * kernel.size)), name  # 4 standard errors


def test_a_scale_that_the_model_states_is_kept():
    assert build(ModelConfig, {**BASE, "parametrization": MUP, "attention_scale": 0.5}).attention_scale == 0.5
    one, other = (_logits({**BASE, "parametrization": MUP, "attention_scale": scale}) for scale in (None, 0.25))
    np.testing.assert_array_equal(one, other)  # sqrt(16) / 16 is 0.25 here: the same number by the rule and by the field
    assert not np.allclose(one, _logits({**BASE, "parametrization": MUP, "attention_scale": 0.5}))


@pytest.mark.parametrize(
    ("parametrization", "message"),
    [
        ({"name": "mupp"}, "parametrization.name: unknown 'mupp'; known: 'standard', 'mup', 'completep'"),
        ({"name": "mup"}, "parametrization.base_width: this field is required"),
        ({"name": "mup", "base_widht": 3}, "did you mean parametrization.base_width?"),
        ({"name": "mup", "base_width": 0}, "parametrization.base_width: input should be greater than 0, got 0"),
        ({"base_width": 32}, "parametrization.base_width: unknown field"),
        ("mup", "parametrization: input should be a valid dictionary"),
    ],
    ids=str,
)
def test_a_bad_parametrization_is_one_clear_line(parametrization, message):
    with pytest.raises(ScalingError) as raised:
        build(ModelConfig, {**BASE, "parametrization": parametrization})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_completep_is_refused_where_its_table_says_nothing():
    with pytest.raises(ScalingError, match="completep needs norm_placement before or both, not after"):
        build(ModelConfig, {**BASE, "family": "gpt1", "parametrization": COMPLETEP})


def test_the_standard_table_has_no_factor():
    rules = Standard().rules(512, 8, 64)
    assert not rules.learning_rate
    assert not rules.epsilon
    assert (rules.output_multiplier, rules.residual_multiplier, rules.orthogonal_learning_rate) == (1, 1, 1)

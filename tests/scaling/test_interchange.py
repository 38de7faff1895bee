"""Weights in Hugging Face's layouts. What needs `transformers` itself runs in an environment of its own: `make interchange`."""

import importlib.util
import json

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from scaling.config import ModelConfig, build
from scaling.errors import ScalingError
from scaling.models.interchange import LLAMA, Tensor, export, load, load_weights
from scaling.models.transformer import Transformer

VOCABULARY, CONTEXT = 50, 12
MODELS = [
    {"family": "gpt2", "heads": 4},
    {"family": "gpt2", "heads": 2, "mlp_width": 48, "norm_epsilon": 1e-3, "tied_head": False},
    {"heads": 4},
    {"heads": 4, "kv_heads": 2, "head_width": 16, "rotary_base": 5e5, "norm_epsilon": 1e-6, "tied_head": True},
    {"heads": 2, "kv_heads": 1, "biases": True, "mlp_width": 80},
]
needs_transformers = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")),
    reason="torch and transformers are in an environment of their own: make interchange",
)


def _random(fields):
    """A model whose every parameter is random, norms and biases too; and its configuration."""
    config = build(ModelConfig, {"width": 32, "layers": 3, **fields})
    model = Transformer(config, VOCABULARY, CONTEXT, rngs=nnx.Rngs(0))
    parameters = nnx.to_pure_dict(nnx.state(model, nnx.Param))
    leaves, tree = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noisy = [leaf + 0.2 * jax.random.normal(key, leaf.shape) for leaf, key in zip(leaves, keys, strict=True)]
    return config, jax.tree.unflatten(tree, noisy)


def _logits(config, parameters, tokens):
    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(config, VOCABULARY, CONTEXT, rngs=nnx.Rngs(0))))
    return np.asarray(nnx.merge(graph, nnx.State(parameters))(tokens))


def _tokens():
    return np.random.default_rng(0).integers(0, VOCABULARY, (2, CONTEXT))


@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_what_was_exported_is_imported(fields, tmp_path):
    config, parameters = _random(fields)
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    imported = load(tmp_path)
    assert imported[:3] == (config, VOCABULARY, CONTEXT)
    assert jax.tree.structure(imported.parameters) == jax.tree.structure(parameters)
    jax.tree.map(np.testing.assert_array_equal, imported.parameters, parameters)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_model_of_another_parametrization_is_exported_with_its_multipliers_in_the_weights(family, tmp_path):
    parametrization = {"name": "completep", "base_width": 8, "base_layers": 2, "base_head_width": 4}
    config, parameters = _random({"family": family, "heads": 4, "parametrization": parametrization})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    imported = load(tmp_path)
    assert imported.model.parametrization.name == "standard"
    expected = _logits(config, parameters, _tokens())
    np.testing.assert_allclose(_logits(imported.model, imported.parameters, _tokens()), expected, rtol=1e-4, atol=1e-5)


def test_a_tensor_of_the_wrong_shape_is_named_with_both_shapes(tmp_path):
    config, parameters = _random({"heads": 4})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    wider = build(ModelConfig, {"width": 32, "layers": 3, "heads": 4, "mlp_width": 96})
    with pytest.raises(
        ScalingError, match=r"tensor model\.layers\.0\.mlp\.gate_proj\.weight in .* has shape 80 x 32, .* 96 x 32"
    ):
        load_weights(tmp_path, wider, VOCABULARY, CONTEXT)


def test_missing_and_strange_tensors_are_named(tmp_path):
    config, parameters = _random({"family": "gpt2", "heads": 4})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({name: value for name, value in tensors.items() if name != "transformer.wpe.weight"}, path)
    with pytest.raises(ScalingError, match=r"has no tensor transformer\.wpe\.weight \(shape 12 x 32\)"):
        load(tmp_path)
    save_file({**tensors, "transformer.h.0.memory": tensors["transformer.wpe.weight"]}, path)
    with pytest.raises(ScalingError, match=r"1 tensors that the model has not, transformer\.h\.0\.memory"):
        load(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ScalingError, match="not a whole safetensors file"):
        load(tmp_path)


def test_the_names_of_the_first_gpt2_release_are_read(tmp_path):
    config, parameters = _random({"family": "gpt2", "heads": 4})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    path = tmp_path / "model.safetensors"
    old = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    save_file({**old, "h.0.attn.bias": np.ones((1, 1, CONTEXT, CONTEXT), np.float32)}, path)
    jax.tree.map(np.testing.assert_array_equal, load(tmp_path).parameters, parameters)


def test_bfloat16_weights_in_several_files_are_read_as_float32(tmp_path):
    config, parameters = _random({"heads": 4})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    path = tmp_path / "model.safetensors"
    rounded = {name: value.astype(jax.numpy.bfloat16) for name, value in load_file(path).items()}
    path.unlink()
    names = sorted(rounded)
    save_file({name: rounded[name] for name in names[:5]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({name: rounded[name] for name in names[5:]}, tmp_path / "model-00002-of-00002.safetensors")
    kernel = load(tmp_path).parameters["blocks"][0]["mlp"]["up"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, parameters["blocks"][0]["mlp"]["up"]["kernel"].astype("bfloat16").astype("float32"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"heads": 4, "qk_norm": True}, "the llama layout holds no model.qk_norm True, only False"),
        ({"heads": 4, "experts": 2}, "the llama layout holds no model.experts 2, only 1"),
        ({"heads": 4, "family": "gpt2", "kv_heads": 2}, "the gpt2 layout holds no model.kv_heads 2, only 4"),
        ({"heads": 4, "family": "neox"}, "the llama layout holds no model.rotary_fraction 0.25, only 1.0"),
    ],
)
def test_a_model_that_no_layout_holds_is_one_clear_line(fields, message, tmp_path):
    config, parameters = _random(fields)
    with pytest.raises(ScalingError, match=message):
        export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert'; known: gpt2, llama"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'; this transformer has 'silu'"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_type 'llama3'; this transformer has 'default'"),
    ],
)
def test_a_config_of_another_model_is_one_clear_line(change, message, tmp_path):
    config, parameters = _random({"heads": 4})
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ScalingError, match=message):
        load(tmp_path)


@needs_transformers
@pytest.mark.interchange
@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_transformers_computes_our_logits_from_what_we_export(fields, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM

    config, parameters = _random(fields)
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        logits = theirs.eval()(torch.tensor(_tokens())).logits.numpy()
    np.testing.assert_allclose(logits, _logits(config, parameters, _tokens()), atol=1e-4)
    assert np.abs(logits).max() > 1


@needs_transformers
@pytest.mark.interchange
@pytest.mark.parametrize("fields", MODELS, ids=str)
def test_we_compute_the_logits_of_transformers_from_what_it_saves(fields, tmp_path):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config, parameters = _random(fields)
    export(parameters, config, VOCABULARY, CONTEXT, tmp_path / "shape")
    theirs = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path / "shape"))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
        logits = theirs.eval()(torch.tensor(_tokens())).logits.numpy()
    theirs.save_pretrained(tmp_path / "saved")
    imported = load(tmp_path / "saved")
    assert imported.model == config
    np.testing.assert_allclose(_logits(imported.model, imported.parameters, _tokens()), logits, atol=1e-4)
    assert np.abs(logits).max() > 1


def _llama_names(ours, block_norms):
    """Our parameters under the names of Llama, with other norms of a block, as torch lays them out."""
    every = [
        *LLAMA,
        *(Tensor(f"model.layers.{{}}.{theirs}.weight", (f"blocks/{{}}/{ours}/scale",)) for theirs, ours in block_norms),
    ]
    tensors = {}
    for tensor in every:
        for block in range(3) if "{}" in tensor.theirs else [0]:
            value = ours.get(tensor.ours[0].format(block))
            if value is not None:
                tensors[tensor.theirs.format(block)] = value.T if tensor.transposed else value
    return tensors


def _qwen3(ours):
    return _llama_names(ours, [("self_attn.q_norm", "attention/query_norm"), ("self_attn.k_norm", "attention/key_norm")])


def _gemma2(ours):
    norms = ["attention_norm", "attention_post_norm", "mlp_norm", "mlp_post_norm"]
    theirs = ["input", "post_attention", "pre_feedforward", "post_feedforward"]
    tensors = _llama_names(ours, [(f"{a}_layernorm", b) for a, b in zip(theirs, norms, strict=True)])
    return {name: value - 1 if "norm" in name else value for name, value in tensors.items()}  # it multiplies by 1 + weight


def _neox(ours):
    tensors = {"gpt_neox.embed_in.weight": ours["embedding/embedding"], "lm_head.weight": ours["head/kernel"].T}
    tensors |= {f"gpt_neox.final_layer_norm.{a}": ours[f"norm/{b}"] for a, b in (("weight", "scale"), ("bias", "bias"))}
    linears = {"attention.dense": "attention/output", "mlp.dense_h_to_4h": "mlp/up", "mlp.dense_4h_to_h": "mlp/down"}
    for block in range(3):
        theirs, mine = f"gpt_neox.layers.{block}", f"blocks/{block}"
        for name, path in (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "mlp_norm")):
            tensors |= {f"{theirs}.{name}.{a}": ours[f"{mine}/{path}/{b}"] for a, b in (("weight", "scale"), ("bias", "bias"))}
        for name, path in linears.items():
            tensors[f"{theirs}.{name}.weight"] = ours[f"{mine}/{path}/kernel"].T
            tensors[f"{theirs}.{name}.bias"] = ours[f"{mine}/{path}/bias"]
        for kind, last in (("kernel", 32), ("bias", 1)):  # queries, keys and values of a head side by side
            parts = [ours[f"{mine}/attention/{each}/{kind}"].T.reshape(4, 8, last) for each in ("query", "key", "value")]
            fused = np.concatenate(parts, axis=1).reshape(96, last)
            tensors[f"{theirs}.attention.query_key_value.{'weight' if last > 1 else 'bias'}"] = (
                fused.squeeze(-1) if last == 1 else fused
            )
    return tensors


SIZES = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
OTHERS = {
    "qwen3": (
        "Qwen3",
        {"kv_heads": 2, "head_width": 16},
        {"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 80, "rope_theta": 1e6, "tie_word_embeddings": False},
        _qwen3,
    ),
    "gemma2": (
        "Gemma2",
        {"kv_heads": 2, "head_width": 16, "attention_scale": 1 / 12},
        {"num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 80, "query_pre_attn_scalar": 144},
        _gemma2,
    ),
    "neox": ("GPTNeoX", {}, {"intermediate_size": 128, "hidden_act": "gelu_new", "rotary_pct": 0.25}, _neox),
}


@needs_transformers
@pytest.mark.interchange
@pytest.mark.parametrize("family", OTHERS)
def test_other_families_are_those_of_transformers(family):
    """Not layouts that are exported: a check of the switches that these families are made of."""
    import torch
    import transformers

    name, fields, theirs, rename = OTHERS[family]
    config, parameters = _random({"family": family, "heads": 4, **fields})
    extra = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None, "attn_implementation": "eager"}
    model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**SIZES, **theirs, **extra))
    paths = jax.tree_util.tree_leaves_with_path(parameters)
    ours = {jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf) for path, leaf in paths}
    tensors = {key: torch.tensor(np.ascontiguousarray(value)) for key, value in rename(ours).items()}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if config.tied_head else set())
    with torch.no_grad():
        logits = model.eval()(torch.tensor(_tokens())).logits.numpy()
    np.testing.assert_allclose(logits, _logits(config, parameters, _tokens()), atol=1e-4)

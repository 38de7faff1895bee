"""Weights to and from Hugging Face's layouts of GPT-2 and Llama: `config.json` beside `*.safetensors`.

`transformers` reads what `export` writes, and `load` reads what it wrote; the logits are the same.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from scaling.config import ModelConfig, build
from scaling.errors import ScalingError
from scaling.models.transformer import Transformer
from scaling.record import write_json


class Tensor(NamedTuple):
    """A tensor of a layout; `{}` in a name is the number of a block, and blocks without it are left out."""

    theirs: str
    ours: tuple[str, ...]
    """Paths of parameters, laid side by side along their last dimension."""
    transposed: bool = False


def _linear(theirs: str, *ours: str, transposed: bool) -> list[Tensor]:
    kernel = Tensor(f"{theirs}.weight", tuple(f"{each}/kernel" for each in ours), transposed)
    return [kernel, Tensor(f"{theirs}.bias", tuple(f"{each}/bias" for each in ours))]


LLAMA = [
    Tensor("model.embed_tokens.weight", ("embedding/embedding",)),
    Tensor("model.layers.{}.input_layernorm.weight", ("blocks/{}/attention_norm/scale",)),
    *_linear("model.layers.{}.self_attn.q_proj", "blocks/{}/attention/query", transposed=True),
    *_linear("model.layers.{}.self_attn.k_proj", "blocks/{}/attention/key", transposed=True),
    *_linear("model.layers.{}.self_attn.v_proj", "blocks/{}/attention/value", transposed=True),
    *_linear("model.layers.{}.self_attn.o_proj", "blocks/{}/attention/output", transposed=True),
    Tensor("model.layers.{}.post_attention_layernorm.weight", ("blocks/{}/mlp_norm/scale",)),
    *_linear("model.layers.{}.mlp.gate_proj", "blocks/{}/mlp/gate", transposed=True),
    *_linear("model.layers.{}.mlp.up_proj", "blocks/{}/mlp/up", transposed=True),
    *_linear("model.layers.{}.mlp.down_proj", "blocks/{}/mlp/down", transposed=True),
    Tensor("model.norm.weight", ("norm/scale",)),
    Tensor("lm_head.weight", ("head/kernel",), transposed=True),
]

GPT2 = [
    Tensor("transformer.wte.weight", ("embedding/embedding",)),
    Tensor("transformer.wpe.weight", ("positions/embedding",)),
    Tensor("transformer.h.{}.ln_1.weight", ("blocks/{}/attention_norm/scale",)),
    Tensor("transformer.h.{}.ln_1.bias", ("blocks/{}/attention_norm/bias",)),
    *_linear(
        "transformer.h.{}.attn.c_attn",
        *(f"blocks/{{}}/attention/{each}" for each in ("query", "key", "value")),
        transposed=False,
    ),
    *_linear("transformer.h.{}.attn.c_proj", "blocks/{}/attention/output", transposed=False),
    Tensor("transformer.h.{}.ln_2.weight", ("blocks/{}/mlp_norm/scale",)),
    Tensor("transformer.h.{}.ln_2.bias", ("blocks/{}/mlp_norm/bias",)),
    *_linear("transformer.h.{}.mlp.c_fc", "blocks/{}/mlp/up", transposed=False),
    *_linear("transformer.h.{}.mlp.c_proj", "blocks/{}/mlp/down", transposed=False),
    Tensor("transformer.ln_f.weight", ("norm/scale",)),
    Tensor("transformer.ln_f.bias", ("norm/bias",)),
    Tensor("lm_head.weight", ("head/kernel",), transposed=True),
]

BUFFERS = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""Endings of what older files hold beside the weights: causal masks and rotary frequencies."""

_NOT_THE_FUNCTION = ("dtype", "z_loss", "balance_loss", "parametrization")


class Imported(NamedTuple):
    """A model from elsewhere."""

    model: ModelConfig
    vocabulary: int
    sequence_length: int
    parameters: Any


def export(parameters: Any, model: ModelConfig, vocabulary: int, sequence_length: int, directory: Path) -> None:
    """Write `config.json` and `model.safetensors` (float32) into `directory`.

    Raises:
        ScalingError: a field of the model has a value that neither layout can hold.
    """
    from safetensors.numpy import save_file

    fields = _to_fields(model, vocabulary, sequence_length)
    described, _, _ = _from_fields(fields)
    for name in ModelConfig.model_fields:
        value, held = getattr(model, name), getattr(described, name)
        if value != held and name not in _NOT_THE_FUNCTION:
            raise ScalingError(f"the {fields['model_type']} layout holds no model.{name} {value!r}, only {held!r}")
    ours = _without_multipliers(model, {name: np.asarray(leaf, np.float32) for name, leaf in _by_path(parameters).items()})
    tensors = {}
    for tensor in _tensors(_layout(fields), model, ours):
        joined = np.concatenate([ours[name] for name in tensor.ours], axis=-1)
        tensors[tensor.theirs] = np.ascontiguousarray(joined.T if tensor.transposed else joined)
    directory.mkdir(parents=True, exist_ok=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    write_json(directory / "config.json", fields)


def _without_multipliers(model: ModelConfig, ours: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The weights with the parametrization's multipliers in them, as a standard model has them."""
    rules = model.rules
    factors = (
        (r"norm/.*", rules.output_multiplier),
        (r"blocks/\d+/(attention/output|mlp/down)/.*", rules.residual_multiplier),
        (r"blocks/\d+/attention/query/.*", rules.attention_scale * math.sqrt(model.head_width)),
    )
    return {
        name: leaf * np.float32(math.prod(factor for pattern, factor in factors if re.fullmatch(pattern, name)))
        for name, leaf in ours.items()
    }


def load(directory: Path) -> Imported:
    """The model in a directory of `config.json` and `*.safetensors`, parameters in float32.

    Raises:
        ScalingError: another layout, a setting that this transformer does not have, or what `load_weights` raises.
    """
    try:
        fields = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScalingError(f"cannot read {directory / 'config.json'}: {error}") from None
    model, vocabulary, sequence_length = _from_fields(fields)
    parameters = load_weights(directory, model, vocabulary, sequence_length)
    return Imported(model, vocabulary, sequence_length, parameters)


def load_weights(directory: Path, model: ModelConfig, vocabulary: int, sequence_length: int) -> Any:
    """The parameters of `model` from the `*.safetensors` of a directory.

    Raises:
        ScalingError: a tensor is missing, has another shape (both are named), or is none of the model's.
    """
    from safetensors import SafetensorError, safe_open

    layout = _layout(_to_fields(model, vocabulary, sequence_length))
    abstract = _abstract(model, vocabulary, sequence_length)
    shapes = {name: leaf.shape for name, leaf in _by_path(abstract).items()}
    held: dict[str, np.ndarray] = {}
    paths = sorted(directory.glob("*.safetensors"))
    for path in paths:
        try:
            with safe_open(path, framework="flax") as file:
                held |= {name: np.asarray(file.get_tensor(name).astype(jnp.float32)) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ScalingError(f"{path} is not a whole safetensors file: {error}") from None
    if not paths:
        raise ScalingError(f"{directory} holds no *.safetensors")
    if layout is GPT2:  # the first release names its tensors without the prefix
        held = {name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}": held[name] for name in held}
    ours: dict[str, np.ndarray] = {}
    for tensor in _tensors(layout, model, shapes):
        widths = [shapes[name][-1] for name in tensor.ours]
        joined = (*shapes[tensor.ours[0]][:-1], sum(widths))
        expected = joined[::-1] if tensor.transposed else joined
        value = held.pop(tensor.theirs, None)
        if value is None:
            raise ScalingError(f"{directory} has no tensor {tensor.theirs} (shape {_times(expected)})")
        if value.shape != expected:
            raise ScalingError(
                f"the tensor {tensor.theirs} in {directory} has shape {_times(value.shape)}, "
                f"and the model needs {_times(expected)}"
            )
        parts = np.split(value.T if tensor.transposed else value, np.cumsum(widths)[:-1], axis=-1)
        ours |= dict(zip(tensor.ours, parts, strict=True))
    tied = {"lm_head.weight"} if model.tied_head else set()
    strange = [name for name in held if not name.endswith(BUFFERS) and name not in tied]
    if strange:
        raise ScalingError(f"{directory} has {len(strange)} tensors that the model has not, {strange[0]} the first of them")
    return jax.tree_util.tree_map_with_path(lambda path, _: jnp.asarray(ours[_name(path)]), abstract)


def _to_fields(model: ModelConfig, vocabulary: int, sequence_length: int) -> dict[str, Any]:
    """The `config.json` of a model: GPT-2's where it learns positions, else Llama's."""
    if model.positions == "learned":
        return {
            "architectures": ["GPT2LMHeadModel"],
            "model_type": "gpt2",
            "vocab_size": vocabulary,
            "n_positions": sequence_length,
            "n_embd": model.width,
            "n_layer": model.layers,
            "n_head": model.heads,
            "n_inner": model.mlp_width,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": model.norm_epsilon,
            "tie_word_embeddings": model.tied_head,
            "bos_token_id": None,
            "eos_token_id": None,
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "max_position_embeddings": sequence_length,
        "hidden_size": model.width,
        "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads,
        "num_key_value_heads": model.kv_heads,
        "head_dim": model.head_width,
        "intermediate_size": model.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rotary_base,
        "attention_bias": model.biases,
        "mlp_bias": model.biases,
        "tie_word_embeddings": model.tied_head,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _from_fields(fields: Mapping[str, Any]) -> tuple[ModelConfig, int, int]:
    """The model, vocabulary and context of a `config.json`; fields that are not there have `transformers`' defaults."""
    kind = fields.get("model_type")
    try:
        if kind == "gpt2":
            _require(fields, "activation_function", "gelu_new", "gelu_pytorch_tanh")
            _require(fields, "scale_attn_by_inverse_layer_idx", False)
            model = {
                "family": "gpt2",
                "width": fields["n_embd"],
                "layers": fields["n_layer"],
                "heads": fields["n_head"],
                "mlp_width": fields.get("n_inner") or 4 * fields["n_embd"],
                "norm_epsilon": fields.get("layer_norm_epsilon", 1e-5),
                "tied_head": fields.get("tie_word_embeddings", True),
            }
            return build(ModelConfig, model), fields["vocab_size"], fields["n_positions"]
        if kind == "llama":
            rotary = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
            _require(fields, "hidden_act", "silu")
            _require(rotary, "rope_type", "default")
            _require(fields, "mlp_bias", fields.get("attention_bias", False))
            model = {
                "family": "llama",
                "width": fields["hidden_size"],
                "layers": fields["num_hidden_layers"],
                "heads": fields["num_attention_heads"],
                "kv_heads": fields.get("num_key_value_heads"),
                "mlp_width": fields["intermediate_size"],
                "norm_epsilon": fields.get("rms_norm_eps", 1e-6),
                "rotary_base": rotary.get("rope_theta", fields.get("rope_theta", 10_000.0)),
                "biases": fields.get("attention_bias", False),
                "tied_head": fields.get("tie_word_embeddings", False),
                **({"head_width": fields["head_dim"]} if fields.get("head_dim") else {}),
            }
            return build(ModelConfig, model), fields["vocab_size"], fields["max_position_embeddings"]
    except KeyError as error:
        raise ScalingError(f"config.json has no field {error}") from None
    raise ScalingError(f"config.json is of the model_type {kind!r}; known: gpt2, llama")


def _require(fields: Mapping[str, Any], name: str, *accepted: Any) -> None:
    value = fields.get(name, accepted[0])
    if value not in accepted:
        raise ScalingError(f"config.json has {name} {value!r}; this transformer has {' or '.join(map(repr, accepted))}")


def _layout(fields: Mapping[str, Any]) -> list[Tensor]:
    return GPT2 if fields["model_type"] == "gpt2" else LLAMA


def _tensors(layout: list[Tensor], model: ModelConfig, ours: Mapping[str, Any]) -> list[Tensor]:
    """The tensors of the layout that this model has, one for each block where the name says so."""
    every = []
    for tensor in layout:
        for block in range(model.layers) if "{}" in tensor.theirs else [0]:
            names = tuple(name.format(block) for name in tensor.ours)
            if all(name in ours for name in names):
                every.append(Tensor(tensor.theirs.format(block), names, tensor.transposed))
    return every


def _abstract(model: ModelConfig, vocabulary: int, sequence_length: int) -> Any:
    made = nnx.eval_shape(lambda: Transformer(model, vocabulary, sequence_length, rngs=nnx.Rngs(0)))
    return nnx.to_pure_dict(nnx.state(made, nnx.Param))


def _by_path(tree: Any) -> dict[str, Any]:
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))

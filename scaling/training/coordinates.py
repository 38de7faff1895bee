"""The coordinate check: do activations, and what training changes of them, keep their size as a model grows?

The coordinate checking of Yang et al. 2022, arXiv 2203.03466: a few steps at several widths, and here at several depths too.
Where the parametrization is right the sizes do not go with either; in the standard one the changes grow.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from scaling.config import ModelConfig, ProgramConfig, RunConfig, build
from scaling.errors import ScalingError
from scaling.models.transformer import Transformer
from scaling.training.optimizer import SCHEDULES, hyperparameters
from scaling.training.program import make_program

SEQUENCES = 8
"""In the one synthetic batch that is trained on and measured."""

Axis = Literal["width", "layers"]

LAYERS = ("embedding", "attention", "MLP", "residual stream", "logits")
"""What is measured, from input to output; of attention and MLP, what they give before it is added to the stream."""


class Size(NamedTuple):
    """A root mean square over a layer's activations, those of all blocks together."""

    parametrization: str
    axis: Axis
    """What of the model varies."""
    at: int
    """The width, or the number of layers."""
    layer: str
    quantity: Literal["initial", "change"]
    """Of the activations before the first step, or of what all steps have changed of them."""
    value: float


class Slope(NamedTuple):
    """The exponent of a size in the width or the depth: that of the line through its logarithms."""

    parametrization: str
    axis: Axis
    layer: str
    quantity: str
    exponent: float


def check(config: RunConfig, parametrization: str, axis: Axis, factors: Sequence[int], steps: int) -> Iterator[Size]:
    """Sizes of the configuration's model made wider or deeper by `factors`, in the parametrization of that name.

    Where the configuration does not choose this one, its own model is the base. The rate is constant, without warmup.

    Raises:
        ScalingError: a loss is not finite.
    """
    for factor in factors:
        model = grown(_parametrized(config.model, parametrization), axis, factor)
        for (layer, quantity), value in _measure(config.model_copy(update={"model": model}), steps).items():
            yield Size(parametrization, axis, getattr(model, axis), layer, quantity, value)


def slopes(sizes: Sequence[Size]) -> list[Slope]:
    """The least-squares exponent of each layer's size, in the order of the sizes."""
    groups: dict[tuple[str, Axis, str, str], list[tuple[int, float]]] = {}
    for each in sizes:
        groups.setdefault((each.parametrization, each.axis, each.layer, each.quantity), []).append((each.at, each.value))
    return [Slope(*key, _exponent(points)) for key, points in groups.items()]


def grown(model: ModelConfig, axis: Axis, factor: int) -> ModelConfig:
    """The model `factor` times as wide (more heads of the same width, wider MLP) or as deep."""
    scaled = ("width", "heads", "kv_heads", "mlp_width") if axis == "width" else ("layers",)
    return build(ModelConfig, {**model.model_dump(), **{name: getattr(model, name) * factor for name in scaled}})


def _exponent(points: list[tuple[int, float]]) -> float:
    at, value = np.log(points).T
    return float(np.polyfit(at, value, deg=1)[0])


def _parametrized(model: ModelConfig, name: str) -> ModelConfig:
    if model.parametrization.name == name:
        return model
    bases = {"base_width": model.width, "base_head_width": model.head_width, "base_layers": model.layers}
    kept = {"standard": 0, "mup": 2, "completep": 3}[name]
    return build(ModelConfig, {**model.model_dump(), "parametrization": {"name": name, **dict(list(bases.items())[:kept])}})


def _measure(config: RunConfig, steps: int) -> dict[tuple[str, Any], float]:
    vocabulary, length = config.data.tokenizer.vocabulary, config.data.sequence_length
    program = make_program(config.model, vocabulary, length, ProgramConfig(), config.optimizer.structure)
    hyper = hyperparameters(config)._replace(schedule=jnp.float32(SCHEDULES.index("constant")), warmup_steps=jnp.float32(0))
    tokens_BxL1 = jnp.asarray(_batch(vocabulary, length, config.seed))
    state = program.initialise(hyper, jnp.uint32(config.seed))
    before = _activations(config.model, state.parameters, tokens_BxL1[:, :-1], vocabulary)
    for step in range(1, steps + 1):
        state, metrics = program.step(state, tokens_BxL1, hyper)
        if not np.isfinite(metrics.loss):
            raise ScalingError(
                f"the loss of a model {config.model.width} wide diverged at step {step}; lower the learning rate"
            )
    after = _activations(config.model, state.parameters, tokens_BxL1[:, :-1], vocabulary)
    changes = jax.tree.map(jnp.subtract, after, before)
    named: tuple[tuple[str, Any], ...] = (("initial", before), ("change", changes))
    return {(layer, quantity): _root_mean_square(layers[layer]) for quantity, layers in named for layer in LAYERS}


def _root_mean_square(of_blocks: list[jax.Array]) -> float:
    return float(np.sqrt(np.mean([jnp.mean(jnp.square(each)) for each in of_blocks])))


def _activations(model: ModelConfig, parameters: Any, tokens_BxL: Any, vocabulary: int) -> dict[str, list[jax.Array]]:
    """What each kind of layer gives, float32, by block."""
    batch, length = tokens_BxL.shape
    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(model, vocabulary, length, rngs=nnx.Rngs(0))))

    @jax.jit
    def run(parameters: Any) -> dict[str, list[jax.Array]]:
        transformer = nnx.merge(graph, nnx.State(parameters))
        forward = nnx.capture(
            lambda model: model.extend(tokens_BxL, model.empty_cache(batch, length)),
            nnx.Intermediate,
            method_outputs=nnx.Intermediate,
        )
        (logits_BxLxV, _), captured = forward(transformer)
        blocks = [captured["blocks"][index] for index in range(model.layers)]

        def first(outputs: Any) -> jax.Array:
            (output,) = outputs.get_value()
            return (output if isinstance(output, jax.Array) else output[0]).astype(jnp.float32)

        return {
            "embedding": [first(captured["embedding"]["__call__"])],
            "attention": [first(block["attention"]["__call__"]) for block in blocks],
            "MLP": [first(block["mlp"]["__call__"]) for block in blocks],
            "residual stream": [first(blocks[-1]["__call__"])],
            "logits": [logits_BxLxV],
        }

    return run(parameters)


def _batch(vocabulary: int, length: int, seed: int) -> np.ndarray:
    """Sequences [B, L + 1] that can be learnt: each token is the one before it plus one of three numbers."""
    jumps = np.random.default_rng(seed).choice([1, 2, 5], size=(SEQUENCES, length + 1))
    return (np.cumsum(jumps, axis=-1) % vocabulary).astype(np.int32)

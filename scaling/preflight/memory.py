"""Bytes on one device, by what they are for."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.models.execution import Execution
from scaling.models.transformer import Transformer
from scaling.preflight.programs import Shape

_SEQUENCES = 1009
"""A prime that no dimension of a model has: an array with it among its dimensions goes with the batch."""


def sharded_bytes(tree: Any) -> float:
    """Of arrays with shardings, on one device."""
    return float(sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree)))


def activation_bytes(shape: Shape, attention: str) -> float:
    """What a forward pass through the blocks keeps on one device for the backward pass.

    Counted from the residuals that `jax.vjp` would hold, so that it knows every remat policy. Over `tensor` devices the arrays
    with a dimension of heads or of the MLP are split, the others whole on each.

    Args:
        shape: the program.
        attention: the kernel, `xla`, `cudnn` or `splash`.
    """
    model, program = shape.model, shape.program
    execution = Execution(attention=attention, remat=program.remat, scan_layers=program.scan_layers)
    causal = shape.objective == "causal"
    graph, state = nnx.split(
        nnx.eval_shape(lambda: Transformer(model, shape.vocabulary, shape.sequence_length, causal=causal, rngs=nnx.Rngs(0)))
    )

    def residuals(parameters: Any, tokens_BxL: jax.Array) -> Any:
        def hidden(parameters: Any) -> Any:
            return nnx.merge(graph, parameters).hidden(tokens_BxL, execution)[0]

        kept = jax.tree.leaves(jax.vjp(hidden, parameters)[1])
        return [leaf for leaf in kept if isinstance(leaf, jax.Array)]  # beside marks of what is not needed

    tokens_BxL = jax.ShapeDtypeStruct((_SEQUENCES, shape.sequence_length), jnp.int32)
    jaxpr = jax.make_jaxpr(residuals)(state, tokens_BxL).jaxpr
    split = {model.heads, model.kv_heads, model.mlp_width}
    total = 0.0
    for variable in {id(each): each for each in jaxpr.outvars if each not in jaxpr.invars}.values():
        dimensions = variable.aval.shape
        batched = next((index for index, size in enumerate(dimensions) if size and size % _SEQUENCES == 0), None)
        if batched is None:
            continue
        others = dimensions[batched + 1 :]
        parts = program.mesh.tensor if split & set(others) else 1
        total += math.prod(dimensions) / _SEQUENCES * variable.aval.dtype.itemsize / parts
    return total * shape.micro_batch / program.mesh.batch_shards

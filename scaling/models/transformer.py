"""A transformer of one stack of blocks (Vaswani et al. 2017, arXiv 1706.03762), of the kind that its configuration says.

Shape suffixes: B batch, L sequence, D model width, V vocabulary.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig
from scaling.models.attention import Attention, Memory
from scaling.models.documents import Documents
from scaling.models.execution import ONE_DEVICE, Execution
from scaling.models.kernels import soft_cap
from scaling.models.layers import norm, normal
from scaling.models.mlp import MLP
from scaling.models.moe import Load, MixtureOfExperts
from scaling.models.next_sentence import NextSentence

Array = jax.Array


class Cache(NamedTuple):
    """What the layers remember of a sequence, to go on with it."""

    memories: list[Memory]
    length: Array
    """How many tokens, int32."""


class Transformer(nnx.Module):
    """Token ids to logits: of the next token where attention is causal, else of the token itself.

    Parameters are float32; products are computed in `config.dtype`.
    """

    def __init__(
        self,
        config: ModelConfig,
        vocabulary: int,
        sequence_length: int,
        *,
        causal: bool = True,
        next_sentence: bool = False,
        rngs: nnx.Rngs,
    ):
        self.config = config
        self.embedding = nnx.Embed(vocabulary, config.width, embedding_init=normal(0.02), rngs=rngs)
        if config.positions == "learned":
            self.positions = nnx.Embed(sequence_length, config.width, embedding_init=normal(0.02), rngs=rngs)
        self.blocks = nnx.List([Block(config, causal=causal, rngs=rngs) for _ in range(config.layers)])
        if config.norm_placement != "after":
            self.norm = norm(config, config.width, rngs)
        if not config.tied_head:
            self.head = nnx.Linear(config.width, vocabulary, use_bias=False, kernel_init=normal(0.02), rngs=rngs)
        if next_sentence:
            self.next_sentence = NextSentence(config, sequence_length, rngs=rngs)
        self.dtype = jnp.dtype(config.dtype)

    def __call__(self, tokens_BxL: Array) -> Array:
        """Logits, float32 [B, L, V]: position l predicts token l + 1 where attention is causal, else token l."""
        return self.logits(self.hidden(tokens_BxL)[0])

    def hidden(
        self, tokens_BxL: Array, execution: Execution = ONE_DEVICE, documents: Documents | None = None
    ) -> tuple[Array, Load | None]:
        """What the head reads [B, L, D] (the normalised residual stream), and the load of the experts of each block, if any.

        With `documents` a token sees its own document alone, at positions that begin anew with each.
        """
        graph, parameters = nnx.graphdef(self.blocks[0]), [nnx.state(block) for block in self.blocks]

        def block(x_BxLxD: Array, parameters: nnx.State) -> tuple[Array, Load | None]:
            x_BxLxD, _, load = nnx.merge(graph, parameters)(
                execution.constrain(x_BxLxD), execution=execution, documents=documents
            )
            return x_BxLxD, load

        block = execution.rematerialised(block)
        x_BxLxD = self.embed(tokens_BxL, 0, execution, documents)
        if execution.scan_layers:
            x_BxLxD, loads = jax.lax.scan(block, x_BxLxD, _stack(parameters))
        else:
            each = []
            for of_block in parameters:
                x_BxLxD, load = block(x_BxLxD, of_block)
                each.append(load)
            loads = _stack(each)
        return execution.constrain(self._finish(x_BxLxD)), loads

    def logits(self, x_BxLxD: Array) -> Array:
        """Logits, float32 [B, L, V], of what `hidden` returns."""
        head_DxV = self.head.kernel[...] if hasattr(self, "head") else self.embedding.embedding[...].T
        logits_BxLxV = jnp.einsum("bld,dv->blv", x_BxLxD, head_DxV.astype(self.dtype), preferred_element_type=jnp.float32)
        return soft_cap(logits_BxLxV, self.config.logit_cap)

    def empty_cache(self, batch: int, length: int) -> Cache:
        """A cache with room for `length` tokens of `batch` sequences."""
        shape = (batch, length, self.config.kv_heads, self.config.head_width)
        empty = Memory(jnp.zeros(shape, self.dtype), jnp.zeros(shape, self.dtype))
        return Cache([empty] * self.config.layers, jnp.int32(0))

    def extend(self, tokens_BxL: Array, cache: Cache) -> tuple[Array, Cache]:
        """Logits [B, L, V] of the next tokens of the sequences in the cache, and the cache with them in it."""
        x_BxLxD, memories = self.embed(tokens_BxL, cache.length), []
        for block, memory in zip(self.blocks, cache.memories, strict=True):
            x_BxLxD, memory, _ = block(x_BxLxD, cache.length, memory)
            memories.append(memory)
        return self.logits(self._finish(x_BxLxD)), Cache(memories, cache.length + tokens_BxL.shape[1])

    def embed(
        self,
        tokens_BxL: Array,
        start: int | Array,
        execution: Execution = ONE_DEVICE,
        documents: Documents | None = None,
    ) -> Array:
        """The residual stream before the first block [B, L, D], of tokens from position `start` on."""
        table_VxD = execution.place(self.embedding.embedding[...], "tensor", None)  # whole rows, to be looked up in
        x_BxLxD = jnp.take(table_VxD, tokens_BxL, axis=0)
        if self.config.embedding_scale:
            x_BxLxD *= self.config.rules.embedding_multiplier
        if hasattr(self, "positions"):
            table_LxD = self.positions.embedding[...]
            if documents is None:
                x_BxLxD += jax.lax.dynamic_slice_in_dim(table_LxD, start, tokens_BxL.shape[1])[None]
            else:
                x_BxLxD += jnp.take(execution.place(table_LxD, None, None), documents.position_BxL, axis=0)
        if hasattr(self, "next_sentence"):
            x_BxLxD += self.next_sentence.embed(tokens_BxL.shape[1])[None]
        return x_BxLxD.astype(self.dtype)

    def _finish(self, x_BxLxD: Array) -> Array:
        x_BxLxD = self.norm(x_BxLxD) if hasattr(self, "norm") else x_BxLxD
        return x_BxLxD * self.config.rules.output_multiplier


class Block(nnx.Module):
    """Attention and MLP, each added to the residual stream, with norms where `norm_placement` says."""

    def __init__(self, config: ModelConfig, *, causal: bool, rngs: nnx.Rngs):
        self.placement, self.parallel = config.norm_placement, config.parallel_blocks
        self.multiplier = config.rules.residual_multiplier
        self.attention_norm = norm(config, config.width, rngs)
        self.attention = Attention(config, causal=causal, rngs=rngs)
        self.mlp_norm = norm(config, config.width, rngs)
        self.mlp = (MLP if config.experts == 1 else MixtureOfExperts)(config, rngs=rngs)
        if self.placement == "both":
            self.attention_post_norm = norm(config, config.width, rngs)
            self.mlp_post_norm = norm(config, config.width, rngs)

    def __call__(
        self,
        x_BxLxD: Array,
        start: int | Array = 0,
        memory: Memory | None = None,
        execution: Execution = ONE_DEVICE,
        documents: Documents | None = None,
    ) -> tuple[Array, Memory, Load | None]:
        """The residual stream after this block, the memory of its attention, and the load of its experts, if any."""
        added_BxLxD, memory = self.attention(self._read("attention", x_BxLxD), start, memory, execution, documents)
        y_BxLxD = self._add("attention", x_BxLxD, added_BxLxD)
        added_BxLxD, load = self.mlp(self._read("mlp", x_BxLxD if self.parallel else y_BxLxD), execution)
        return self._add("mlp", y_BxLxD, added_BxLxD), memory, load

    def _read(self, branch: str, x_BxLxD: Array) -> Array:
        return x_BxLxD if self.placement == "after" else getattr(self, f"{branch}_norm")(x_BxLxD)

    def _add(self, branch: str, x_BxLxD: Array, added_BxLxD: Array) -> Array:
        if self.placement == "both":
            added_BxLxD = getattr(self, f"{branch}_post_norm")(added_BxLxD)
        x_BxLxD += added_BxLxD * self.multiplier
        return getattr(self, f"{branch}_norm")(x_BxLxD) if self.placement == "after" else x_BxLxD


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

"""Self-attention, causal or to both sides, with or without a memory of earlier tokens.

Shape suffixes: B batch, L sequence, M memory (keys), D model width, H query heads, G key-value heads, K head width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig
from scaling.models.documents import Documents
from scaling.models.execution import ONE_DEVICE, Execution
from scaling.models.kernels import attend, attend_within
from scaling.models.layers import linear, norm

Array = jax.Array


class Memory(NamedTuple):
    """Keys and values of the tokens that a layer has seen, in order; the rest of M is room for later ones."""

    k_BxMxGxK: Array
    v_BxMxGxK: Array


class Attention(nnx.Module):
    """Self-attention with grouped key-value heads (Ainslie et al. 2023, arXiv 2305.13245)."""

    def __init__(self, config: ModelConfig, *, causal: bool = True, rngs: nnx.Rngs):
        self.config, self.causal = config, causal
        heads_width, kv_width = config.heads * config.head_width, config.kv_heads * config.head_width
        self.query = linear(config, config.width, heads_width, rngs)
        self.key = linear(config, config.width, kv_width, rngs)
        self.value = linear(config, config.width, kv_width, rngs)
        self.output = linear(config, heads_width, config.width, rngs, residual=True)
        if config.qk_norm:
            self.query_norm = norm(config, config.head_width, rngs)
            self.key_norm = norm(config, config.head_width, rngs)

    def __call__(
        self,
        x_BxLxD: Array,
        start: int | Array = 0,
        memory: Memory | None = None,
        execution: Execution = ONE_DEVICE,
        documents: Documents | None = None,
    ) -> tuple[Array, Memory]:
        """What attention adds to the residual stream.

        Args:
            x_BxLxD: the normalised residual stream of the tokens from position `start` on.
            start: the position of the first of them.
            memory: keys and values of the positions before `start`; None where that is 0.
            execution: how it is computed where there is no memory.
            documents: those that the tokens belong to, where each sees its own alone; needs no memory.

        Returns:
            the addition [B, L, D], and the memory with these tokens in it.
        """
        config, (batch, length, _) = self.config, x_BxLxD.shape
        q_BxLxHxK = self.query(x_BxLxD).reshape(batch, length, config.heads, config.head_width)
        k_BxMxGxK = self.key(x_BxLxD).reshape(batch, length, config.kv_heads, config.head_width)
        v_BxMxGxK = self.value(x_BxLxD).reshape(batch, length, config.kv_heads, config.head_width)
        if config.qk_norm:
            q_BxLxHxK, k_BxMxGxK = self.query_norm(q_BxLxHxK), self.key_norm(k_BxMxGxK)
        position_L = start + jnp.arange(length)
        if config.positions == "rotary":
            position_BxL = position_L[None] if documents is None else documents.position_BxL
            q_BxLxHxK, k_BxMxGxK = (
                rotate(each, position_BxL, config.rotary_width, config.rotary_base) for each in (q_BxLxHxK, k_BxMxGxK)
            )
        scale = config.rules.attention_scale if config.attention_scale is None else config.attention_scale
        cap = config.attention_cap
        if memory is None:
            segment_BxL = None if documents is None else documents.segment_BxL
            qkv = q_BxLxHxK, k_BxMxGxK, v_BxMxGxK
            out_BxLxHxK = attend_within(*qkv, segment_BxL, causal=self.causal, scale=scale, cap=cap, execution=execution)
        else:
            k_BxMxGxK = jax.lax.dynamic_update_slice_in_dim(memory.k_BxMxGxK, k_BxMxGxK, start, axis=1)
            v_BxMxGxK = jax.lax.dynamic_update_slice_in_dim(memory.v_BxMxGxK, v_BxMxGxK, start, axis=1)
            out_BxLxHxK = attend(q_BxLxHxK, k_BxMxGxK, v_BxMxGxK, position_L, scale=scale, cap=cap)
        return self.output(out_BxLxHxK.reshape(batch, length, -1)), Memory(k_BxMxGxK, v_BxMxGxK)


def rotate(x_BxLxHxK: Array, position_BxL: Array, width: int, base: float) -> Array:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864, equation 34) on the first `width` dimensions of each head.

    The two halves of those are real and imaginary parts; the rest of the head stays as it is. Positions are [1, L] where
    those of all sequences are the same.
    """
    half = width // 2
    frequency_K = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle_BxLx1xK = position_BxL.astype(jnp.float32)[:, :, None, None] * frequency_K[None, None, None]
    cos_BxLx1xK, sin_BxLx1xK = (each(angle_BxLx1xK).astype(x_BxLxHxK.dtype) for each in (jnp.cos, jnp.sin))
    real_BxLxHxK, imaginary_BxLxHxK = x_BxLxHxK[..., :half], x_BxLxHxK[..., half:width]
    return jnp.concatenate(
        [
            real_BxLxHxK * cos_BxLx1xK - imaginary_BxLxHxK * sin_BxLx1xK,
            imaginary_BxLxHxK * cos_BxLx1xK + real_BxLxHxK * sin_BxLx1xK,
            x_BxLxHxK[..., width:],
        ],
        axis=-1,
    )

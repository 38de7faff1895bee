"""Attention within whole sequences, by whichever kernel the platform has.

Shape suffixes: B batch, L sequence, M keys, H query heads, G key-value heads, R query heads of each key-value head,
K head width.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from scaling.config import ModelConfig
from scaling.errors import ScalingError
from scaling.models.execution import Execution

Array = jax.Array

MIN_BLOCK, MAX_BLOCKS = 32, 8
"""Of `blocked`: the fewest queries of a block, and the most blocks (they are unrolled)."""

SPLASH_BLOCK = 128
"""Positions that the splash kernel takes at once: sequences are a multiple of it."""


def choose_attention(
    name: str, model: ModelConfig, sequence_length: int, platform: str, separate_documents: bool = False
) -> str:
    """The kernel that `execution.attention` stands for: `xla`, `cudnn` or `splash`.

    Raises:
        ScalingError: the platform (as jax names it) has no such kernel, or it cannot compute this model.
    """
    obstacles = {
        "splash": _splash_obstacle(model, sequence_length, platform),
        "cudnn": _cudnn_obstacle(model, platform, separate_documents),
    }
    if name == "auto":
        return next((kernel for kernel, obstacle in obstacles.items() if obstacle is None), "xla")
    obstacle = obstacles.get(name)
    if obstacle is not None:
        raise ScalingError(f"execution.attention {name} needs {obstacle}; auto chooses what can be used")
    return name


def _splash_obstacle(model: ModelConfig, sequence_length: int, platform: str) -> str | None:
    if platform != "tpu":
        return f"a TPU, and the devices are {platform}"
    if sequence_length % SPLASH_BLOCK:
        return f"a data.sequence_length that is a multiple of {SPLASH_BLOCK}, not {sequence_length}"
    return None


def _cudnn_obstacle(model: ModelConfig, platform: str, separate_documents: bool) -> str | None:
    if platform not in ("gpu", "cuda"):
        return f"an NVIDIA GPU, and the devices are {platform}"
    if model.dtype != "bfloat16":
        return f"model.dtype bfloat16, not {model.dtype}"
    if model.attention_cap is not None:
        return f"scores without a cap, and model.attention_cap is {model.attention_cap:g}"
    if model.head_width % 8 or model.head_width > 128:
        return f"a model.head_width that is a multiple of 8 up to 128, not {model.head_width}"
    if separate_documents:
        return "data.documents joined, not separate"
    return None


def attend_within(
    q_BxLxHxK: Array,
    k_BxLxGxK: Array,
    v_BxLxGxK: Array,
    segment_BxL: Array | None = None,
    *,
    causal: bool,
    scale: float,
    cap: float | None,
    execution: Execution,
) -> Array:
    """softmax(scale q k^T) v over the keys of a query's segment, where causal up to its position; [B, L, H, K]. As `attend`."""
    if execution.attention == "xla":
        if causal:
            return blocked(q_BxLxHxK, k_BxLxGxK, v_BxLxGxK, segment_BxL, scale=scale, cap=cap)
        last_L = jnp.full(q_BxLxHxK.shape[1], q_BxLxHxK.shape[1] - 1)
        same_BxLxL = None if segment_BxL is None else segment_BxL[:, :, None] == segment_BxL[:, None]
        return attend(q_BxLxHxK, k_BxLxGxK, v_BxLxGxK, last_L, same_BxLxL, scale=scale, cap=cap)
    kernels: dict[str, Callable[..., Array]] = {
        "splash": lambda q, k, v, *segment: splash(q, k, v, *segment, causal=causal, scale=scale, cap=cap),
        "cudnn": lambda q, k, v: jax.nn.dot_product_attention(q, k, v, scale=scale, is_causal=causal, implementation="cudnn"),
    }
    heads = PartitionSpec(execution.batch_axes, None, "tensor", None)
    segments = () if segment_BxL is None else (segment_BxL,)
    specs = (heads, heads, heads, *(PartitionSpec(execution.batch_axes, None) for _ in segments))
    kernel = execution.each_device(kernels[execution.attention], specs, heads, check_vma=False)  # kernels do not say it
    return kernel(q_BxLxHxK, k_BxLxGxK, v_BxLxGxK, *segments)


def attend(
    q_BxLxHxK: Array,
    k_BxMxGxK: Array,
    v_BxMxGxK: Array,
    position_L: Array,
    visible_BxLxM: Array | None = None,
    *,
    scale: float | None = None,
    cap: float | None = None,
) -> Array:
    """softmax(scale q k^T) v over the keys up to each query's position, softmax in float32; [B, L, H, K].

    Args:
        q_BxLxHxK, k_BxMxGxK, v_BxMxGxK: queries, and keys and values of the positions 0 .. M - 1.
        position_L: the position of each query.
        visible_BxLxM: which of those keys a query may see, bool; all where None.
        scale: 1 / sqrt(K) where None.
        cap: scores become cap tanh(scores / cap).
    """
    batch, length, heads, width = q_BxLxHxK.shape
    groups = k_BxMxGxK.shape[2]
    scale = 1.0 / math.sqrt(width) if scale is None else scale
    q_BxLxGxRxK = (q_BxLxHxK * scale).reshape(batch, length, groups, heads // groups, width)
    scores_BxGxRxLxM = jnp.einsum("blgrk,bmgk->bgrlm", q_BxLxGxRxK, k_BxMxGxK, preferred_element_type=jnp.float32)
    scores_BxGxRxLxM = soft_cap(scores_BxGxRxLxM, cap)
    visible_LxM = jnp.arange(k_BxMxGxK.shape[1])[None] <= position_L[:, None]
    seen_BxLxM = visible_LxM[None] if visible_BxLxM is None else visible_LxM[None] & visible_BxLxM
    scores_BxGxRxLxM = jnp.where(seen_BxLxM[:, None, None], scores_BxGxRxLxM, -1e30)
    weights_BxGxRxLxM = jax.nn.softmax(scores_BxGxRxLxM, axis=-1).astype(v_BxMxGxK.dtype)
    return jnp.einsum("bgrlm,bmgk->blgrk", weights_BxGxRxLxM, v_BxMxGxK).reshape(batch, length, heads, width)


def soft_cap(x: Array, cap: float | None) -> Array:
    """cap tanh(x / cap): x where it is small, never beyond the cap (Gemma 2, arXiv 2408.00118, section 2)."""
    return x if cap is None else cap * jnp.tanh(x / cap)


def blocked(
    q_BxLxHxK: Array,
    k_BxLxGxK: Array,
    v_BxLxGxK: Array,
    segment_BxL: Array | None = None,
    *,
    scale: float,
    cap: float | None,
) -> Array:
    """`attend`, a block of queries at a time with the keys up to its end: nearly half of the scores are never computed."""
    length = q_BxLxHxK.shape[1]
    counts = (count for count in range(2, MAX_BLOCKS + 1) if length % count == 0 and length // count >= MIN_BLOCK)
    size = length // max(counts, default=1)
    out_BxLxHxK = []
    for start in range(0, length, size):
        end = start + size
        same_BxLxM = None if segment_BxL is None else segment_BxL[:, start:end, None] == segment_BxL[:, None, :end]
        block = q_BxLxHxK[:, start:end], k_BxLxGxK[:, :end], v_BxLxGxK[:, :end], jnp.arange(start, end)
        out_BxLxHxK.append(attend(*block, same_BxLxM, scale=scale, cap=cap))
    return jnp.concatenate(out_BxLxHxK, axis=1)


def splash(
    q_BxLxHxK: Array,
    k_BxLxGxK: Array,
    v_BxLxGxK: Array,
    segment_BxL: Array | None = None,
    *,
    causal: bool = True,
    scale: float,
    cap: float | None,
    interpret: bool = False,
) -> Array:
    """The Pallas kernel for TPU that computes only the blocks of scores which the mask leaves; `interpret` runs it anywhere."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel, splash_attention_mask

    length, heads = q_BxLxHxK.shape[1:3]
    of_head = splash_attention_mask.CausalMask if causal else splash_attention_mask.FullMask
    mask = splash_attention_mask.MultiHeadMask([of_head((length, length))] * heads)
    kernel = splash_attention_kernel.make_splash_mha(
        mask, head_shards=1, q_seq_shards=1, attn_logits_soft_cap=cap, interpret=interpret
    )
    by_head = (each.swapaxes(1, 2) for each in (q_BxLxHxK * scale, k_BxLxGxK, v_BxLxGxK))
    segments = None if segment_BxL is None else splash_attention_kernel.SegmentIds(segment_BxL, segment_BxL)
    return jax.vmap(kernel)(*by_head, segments).swapaxes(1, 2)

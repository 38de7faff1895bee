"""Cross entropy from the residual stream, without ever holding the logits of all positions.

Shape suffixes: B batch, L sequence, C positions of a chunk, D model width, V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array

LOGIT_BYTES = 2**28
"""Of a chunk on one device, where the configuration does not say how long a chunk is."""


class TokenLosses(NamedTuple):
    """Of each position, float32 [B, L]."""

    cross_entropy: Array
    """In nats."""
    log_z: Array
    """Logarithm of the sum of the exponentials of the logits."""


def token_losses(logits: Callable[[Array], Array], x_BxLxD: Array, target_BxL: Array, chunk: int) -> TokenLosses:
    """The losses of all positions, `chunk` positions of every sequence at a time.

    The logits of a chunk are computed a second time for its gradient, where there is more than one chunk.

    Args:
        logits: [B, C, D] to float32 [B, C, V].
        x_BxLxD: the normalised residual stream.
        target_BxL: the token after each position, int32.
        chunk: divides L.
    """

    def of_chunk(x_BxCxD: Array, target_BxC: Array) -> TokenLosses:
        logits_BxCxV = logits(x_BxCxD)
        log_z_BxC = jax.nn.logsumexp(logits_BxCxV, axis=-1)
        chosen_BxC = jnp.take_along_axis(logits_BxCxV, target_BxC[..., None], axis=-1)[..., 0]
        return TokenLosses(log_z_BxC - chosen_BxC, log_z_BxC)

    batch, length = target_BxL.shape
    if chunk == length:
        return of_chunk(x_BxLxD, target_BxL)
    chunked = (each.reshape(batch, length // chunk, chunk, *each.shape[2:]).swapaxes(0, 1) for each in (x_BxLxD, target_BxL))
    losses = jax.lax.map(lambda both: jax.checkpoint(of_chunk)(*both), tuple(chunked))
    return TokenLosses(*(each.swapaxes(0, 1).reshape(batch, length) for each in losses))


def chunk_length(sequences: int, length: int, vocabulary: int, most: int | None = None) -> int:
    """The longest chunk that divides `length`, of at most `most` positions where that is said, else such that the logits of so
    many sequences are at most `LOGIT_BYTES`.
    """
    fitting = most or max(1, LOGIT_BYTES // (4 * sequences * vocabulary))
    return max(chunk for chunk in range(1, length + 1) if length % chunk == 0 and chunk <= fitting)

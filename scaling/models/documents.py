"""Sequences of several documents, in which a token sees its own document alone.

A batch carries where documents begin in the sign of its tokens: `~token`, which is negative, begins one. So the batch stays one
array, whoever splits it. Shape suffixes: B batch, L sequence.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

Array = jax.Array


class Documents(NamedTuple):
    """Which document each token of a sequence belongs to, and where in it, int32 [B, L]."""

    segment_BxL: Array
    position_BxL: Array


def read_marks(tokens_BxL1: Array) -> tuple[Array, Documents]:
    """The tokens without their marks [B, L + 1], and the documents of the inputs, all but the last of them."""
    begins_BxL1 = tokens_BxL1 < 0
    begins_BxL = begins_BxL1[:, :-1]
    index_1xL = jnp.arange(begins_BxL.shape[1], dtype=jnp.int32)[None]
    begin_BxL = jax.lax.cummax(jnp.where(begins_BxL, index_1xL, 0), axis=1)
    documents = Documents(jnp.cumsum(begins_BxL, axis=1, dtype=jnp.int32), index_1xL - begin_BxL)
    return jnp.where(begins_BxL1, ~tokens_BxL1, tokens_BxL1), documents

"""What a network has in addition to tell whether the second part of a sequence follows the first.

Shape suffixes: B batch, L sequence, D model width.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig
from scaling.models.layers import initial_scale, normal
from scaling.optimization import pair_lengths

Array = jax.Array


class NextSentence(nnx.Module):
    """BERT's segment embeddings, and its classifier of the first token through a tanh layer (Devlin et al. 2019, arXiv
    1810.04805, section 3.1 and figure 2); without biases.
    """

    def __init__(self, config: ModelConfig, sequence_length: int, *, rngs: nnx.Rngs):
        self.second = 2 + pair_lengths(sequence_length)[0]  # where the second segment begins
        self.segments = nnx.Embed(2, config.width, embedding_init=normal(0.02), rngs=rngs)
        pool_init = normal(initial_scale(config, config.width, residual=False))
        self.pool = nnx.Linear(config.width, config.width, use_bias=False, kernel_init=pool_init, rngs=rngs)
        self.head = nnx.Linear(config.width, 2, use_bias=False, kernel_init=normal(0.02), rngs=rngs)

    def embed(self, length: int) -> Array:
        """What is added to the embeddings of a sequence's tokens [L, D]."""
        return self.segments((jnp.arange(length) >= self.second).astype(jnp.int32))

    def __call__(self, x_BxLxD: Array) -> Array:
        """Logits, float32 [B, 2], of what `Transformer.hidden` returns: the second part does not follow, or does."""
        return self.head(jnp.tanh(self.pool(x_BxLxD[:, 0].astype(jnp.float32))))

"""The chunked cross entropy: the same numbers and gradients as the plain one, in a fraction of its memory."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scaling.training.cross_entropy import LOGIT_BYTES, chunk_length, token_losses

B, L, D, V = 2, 12, 8, 64


def _objective(x_BxLxD, head_DxV, target_BxL, chunk):
    losses = token_losses(lambda x_BxCxD: x_BxCxD @ head_DxV, x_BxLxD, target_BxL, chunk)
    return losses.cross_entropy.mean() + 0.1 * jnp.square(losses.log_z).mean()


@pytest.mark.parametrize("chunk", [1, 4, 12])
def test_values_and_gradients_are_those_of_the_plain_cross_entropy_with_z_loss(chunk):
    x, head = jax.random.normal(jax.random.key(0), (B, L, D)), jax.random.normal(jax.random.key(1), (D, V))
    target = jax.random.randint(jax.random.key(2), (B, L), 0, V)

    def plain(x, head):
        logits = x @ head
        z_loss = jnp.square(jax.nn.logsumexp(logits, axis=-1)).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits, target).mean() + 0.1 * z_loss

    value, gradients = jax.value_and_grad(_objective, argnums=(0, 1))(x, head, target, chunk)
    expected, expected_gradients = jax.value_and_grad(plain, argnums=(0, 1))(x, head)
    assert float(value) == pytest.approx(float(expected), rel=1e-6)
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_vocabulary_of_128k_never_has_its_logits_in_memory():
    """Value and gradient, as compiled: temporary memory well below the logits of all positions, 1 GiB here."""
    batch, length, width, vocabulary = 2, 1024, 8, 131072
    chunk = chunk_length(batch, length, vocabulary)
    shapes = jnp.zeros((batch, length, width)), jnp.zeros((width, vocabulary)), jnp.zeros((batch, length), jnp.int32)
    abstract = [jax.ShapeDtypeStruct(each.shape, each.dtype) for each in shapes]

    def temporary(chunk):
        step = jax.jit(jax.value_and_grad(_objective, argnums=(0, 1)), static_argnums=3)
        return step.lower(*abstract, chunk).compile().memory_analysis().temp_size_in_bytes

    all_logits = batch * length * vocabulary * 4
    assert batch * chunk * vocabulary * 4 == LOGIT_BYTES
    assert temporary(chunk) < 0.6 * all_logits
    assert temporary(chunk // 8) < 0.1 * all_logits
    assert temporary(length) > all_logits


def test_the_chunk_is_the_longest_divisor_that_fits():
    assert chunk_length(8, 256, 512) == 256
    assert chunk_length(1, 2048, 2**17) == 512  # 512 x 128k x 4 bytes are 256 MiB
    assert chunk_length(1, 1000, 2**17) == 500
    assert chunk_length(2**20, 7, 2**20) == 1

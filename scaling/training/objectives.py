"""What a network is trained to predict: the next token, or the tokens that are hidden from it.

Shape suffixes: B batch, L sequence, M predicted places of a sequence.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.models.documents import Documents, read_marks
from scaling.optimization import pair_lengths, predicted_places

Array = jax.Array


class Examples(NamedTuple):
    """What a batch asks of a network."""

    input_BxL: Array
    place_BxM: Array | None
    """Where a token is predicted; None for everywhere."""
    target_BxM: Array
    documents: Documents | None = None
    """Of the input, where a token sees its own alone."""
    follows_B: Array | None = None
    """Of a pair of stretches: whether the second follows the first, int32."""

    def at_places(self, x_BxLxD: Array) -> Array:
        """Of what the network makes of each token, that at the predicted places [B, M, D]."""
        return x_BxLxD if self.place_BxM is None else jnp.take_along_axis(x_BxLxD, self.place_BxM[..., None], axis=1)


def next_tokens(tokens_BxL1: Array, separate_documents: bool = False) -> Examples:
    """Each token of the last L from those before it; with `separate_documents` from those of its own document, which the marks
    of `models/documents.py` say.
    """
    tokens_BxL1, documents = read_marks(tokens_BxL1) if separate_documents else (tokens_BxL1, None)
    return Examples(tokens_BxL1[:, :-1], None, tokens_BxL1[:, 1:], documents)


def hidden_tokens(
    tokens_BxL1: Array, key: Array, vocabulary: int, separate_documents: bool = False, pairs: bool = False
) -> Examples:
    """Random tokens among the last L of each sequence from all others: BERT's masked language model.

    Of the predicted tokens, 80 % are replaced by the mask, 10 % by a random token, 10 % stay (Devlin et al. 2019,
    arXiv 1810.04805, section 3.1; as many in every sequence, as in the authors' `create_pretraining_data.py`).

    Args:
        tokens_BxL1: the windows; their last L tokens are the targets of `next_tokens` too.
        key: of the random choices, which depend on nothing else.
        vocabulary: of the network: its last token is the mask.
        separate_documents: whether a token is found by its own document alone, which the marks say as in `next_tokens`.
        pairs: whether the sequences are those of `data/pairs.py`, whose special tokens are not hidden.
    """
    token_BxL, documents = _last(tokens_BxL1, separate_documents)
    batch, length = token_BxL.shape
    for_places, for_fates, for_tokens = jax.random.split(key, 3)
    draw_BxL = jax.random.uniform(for_places, (batch, length))
    if pairs:
        draw_BxL = jnp.where(np.isin(np.arange(length), text_places(length, pairs))[None], draw_BxL, 1.0)
    order_BxL = jnp.argsort(draw_BxL, axis=1)
    place_BxM = order_BxL[:, : predicted_places(length, "masked")]
    target_BxM = jnp.take_along_axis(token_BxL, place_BxM, axis=1)
    fate_BxM = jax.random.uniform(for_fates, place_BxM.shape)
    random_BxM = jax.random.randint(for_tokens, place_BxM.shape, 0, vocabulary - (3 if pairs else 1))
    shown_BxM = jnp.where(fate_BxM < 0.8, vocabulary - 1, jnp.where(fate_BxM < 0.9, random_BxM, target_BxM))
    row_Bx1 = jnp.arange(batch)[:, None]
    follows_B = tokens_BxL1[:, 0] if pairs else None
    return Examples(token_BxL.at[row_Bx1, place_BxM].set(shown_BxM), place_BxM, target_BxM, documents, follows_B)


def text_places(sequence_length: int, pairs: bool) -> np.ndarray:
    """Where the tokens of text are among the last L, all that are no special ones of a pair."""
    place_L = np.arange(sequence_length)
    return np.delete(place_L, [0, 1 + pair_lengths(sequence_length)[0], sequence_length - 1]) if pairs else place_L


def one_hidden_token(tokens_BxL1: Array, place: Array, vocabulary: int, separate_documents: bool = False) -> Examples:
    """The token at one place of the last L from all others: over all places, the pseudo-log-likelihood of the sequence
    (Salazar et al. 2020, arXiv 1910.14659).
    """
    token_BxL, documents = _last(tokens_BxL1, separate_documents)
    place_Bx1 = jnp.full((len(token_BxL), 1), place)
    target_Bx1 = jnp.take_along_axis(token_BxL, place_Bx1, axis=1)
    return Examples(token_BxL.at[:, place].set(vocabulary - 1), place_Bx1, target_Bx1, documents)


def _last(tokens_BxL1: Array, separate_documents: bool) -> tuple[Array, Documents | None]:
    """The last L tokens of each window, and their documents."""
    if not separate_documents:
        return tokens_BxL1[:, 1:], None
    rolled_BxL1, documents = read_marks(jnp.roll(tokens_BxL1, -1, axis=1))
    return rolled_BxL1[:, :-1], documents

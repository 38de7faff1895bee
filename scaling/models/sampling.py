"""Text from a model: one token at a time, from the distribution that temperature, top-k and top-p leave of the model's.

Shape suffixes: B batch, L sequence, V vocabulary.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from scaling.data.tokenizers import Tokenizer
from scaling.errors import ScalingError
from scaling.models.transformer import Cache, Transformer

Array = jax.Array


@dataclass(frozen=True)
class Rule:
    """How the next token is chosen: `temperature` 0 takes the most probable one."""

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise ScalingError(f"temperature {self.temperature:g} is not a number from 0 (greedy) on")
        if self.top_k is not None and self.top_k < 1:
            raise ScalingError(f"top-k {self.top_k} is less than 1")
        if not 0 < self.top_p <= 1:
            raise ScalingError(f"top-p {self.top_p:g} is not above 0 and at most 1")


def filtered(logits_V: Array, rule: Rule) -> Array:
    """Logits of the distribution that is sampled from: -inf for the tokens that the rule leaves out.

    The logits are divided by the temperature; the `top_k` most probable tokens are kept (Fan et al. 2018, arXiv 1805.04833,
    section 5.4), and of these the fewest whose probabilities sum to at least `top_p` (Holtzman et al. 2019,
    arXiv 1904.09751, section 3.1). Of equal logits the lower token comes first. A temperature of 0 keeps one token.
    """
    logits_V = logits_V if rule.temperature == 0 else logits_V / rule.temperature
    top_k = 1 if rule.temperature == 0 else rule.top_k
    order_V = jnp.argsort(-logits_V, stable=True)
    sorted_V = logits_V[order_V]
    if top_k is not None:
        sorted_V = jnp.where(jnp.arange(len(sorted_V)) < top_k, sorted_V, -jnp.inf)
    p_V = jax.nn.softmax(sorted_V)
    before_V = jnp.cumsum(p_V) - p_V
    kept_V = (before_V < rule.top_p) & jnp.isfinite(sorted_V)
    return jnp.full_like(logits_V, -jnp.inf).at[order_V].set(jnp.where(kept_V, sorted_V, -jnp.inf))


class Sampler:
    """A model with the compiled functions that go on with a sequence, its keys and values kept."""

    def __init__(self, model: Transformer, sequence_length: int):
        graph, state = nnx.split(model)
        self.sequence_length = sequence_length
        self._empty: Any = model.empty_cache(1, sequence_length)

        @jax.jit
        def extend(state: Any, tokens_1xL: Array, cache: Cache) -> tuple[Array, Cache]:
            logits_1xLxV, cache = nnx.merge(graph, state).extend(tokens_1xL, cache)
            return logits_1xLxV[0, -1], cache

        self._extend = lambda tokens_1xL, cache: extend(state, tokens_1xL, cache)

    def read(self, prompt: str, tokenizer: Tokenizer) -> tuple[Array, Any]:
        """Logits [V] of the token after the prompt, and the cache to go on with. No text is the beginning of a document.

        Raises:
            ScalingError: the prompt is longer than a training sequence, or there is none and documents have no mark.
        """
        if not prompt and tokenizer.end_of_document is None:
            raise ScalingError("the documents of this world begin without a mark; give a prompt of its symbols")
        token_L = tokenizer.encode(prompt) if prompt else np.array([tokenizer.end_of_document])
        if len(token_L) > self.sequence_length:
            raise ScalingError(f"the prompt has {len(token_L)} tokens, a training sequence {self.sequence_length}; shorten it")
        return self._extend(jnp.asarray(token_L, jnp.int32)[None], self._empty)

    def generate(self, logits_V: Array, cache: Any, tokens: int | None, rule: Rule, seed: int) -> Iterator[int]:
        """`tokens` tokens after what `read` returned; None for as many as a training sequence has room for.

        Raises:
            ScalingError: there is no room for so many.
        """
        room = self.sequence_length - int(cache.length)
        tokens = room if tokens is None else tokens
        if tokens > room:
            raise ScalingError(
                f"the prompt has {int(cache.length)} tokens: with {tokens} more it is longer than a training sequence of "
                f"{self.sequence_length}; ask for at most {room}"
            )
        choose = jax.jit(lambda logits_V, key: jax.random.categorical(key, filtered(logits_V, rule)))
        token = None
        for key in jax.random.split(jax.random.key(seed), tokens):
            if token is not None:
                logits_V, cache = self._extend(token[None, None], cache)
            token = choose(logits_V, key).astype(jnp.int32)
            yield int(token)


def continuation(tokens: Iterable[int], tokenizer: Tokenizer) -> Iterator[str]:
    """The text of the tokens, piece by piece as whole characters are there, up to the end of the document."""
    token_L: list[int] = []
    given = ""
    for token in tokens:
        if token == tokenizer.end_of_document:
            break
        token_L.append(token)
        text = tokenizer.decode(np.array(token_L))
        if not text.endswith("\ufffd"):
            yield text[len(given) :]
            given = text
    yield tokenizer.decode(np.array(token_L, int))[len(given) :]


def most_probable(logits_V: Array, top: int, tokenizer: Tokenizer) -> list[tuple[int, str, float]]:
    """Id, text and probability under the model of the `top` most probable next tokens."""
    p_V = np.asarray(jax.nn.softmax(logits_V))
    order_V = np.argsort(-p_V, kind="stable")[:top]
    end = tokenizer.end_of_document
    return [(int(v), "(end of document)" if v == end else tokenizer.decode(np.array([v])), float(p_V[v])) for v in order_V]

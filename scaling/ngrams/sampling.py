"""Text from an n-gram model."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scaling.data.prepare import prepare
from scaling.data.tokenizers import Tokenizer
from scaling.errors import ScalingError
from scaling.models.sampling import Sampler
from scaling.ngrams.config import NgramRun
from scaling.ngrams.kneser_ney import KneserNey
from scaling.ngrams.train import count


class _Past(NamedTuple):
    """The tokens so far, and how many they are."""

    token_L: np.ndarray
    length: int


class NgramSampler(Sampler):
    """An n-gram model that goes on with a sequence."""

    def __init__(self, model: KneserNey, sequence_length: int):
        self.sequence_length = sequence_length
        self._empty = _Past(np.empty(0, np.int64), 0)

        def extend(tokens_1xL: jax.Array, past: _Past) -> tuple[jax.Array, _Past]:
            token_L = np.append(past.token_L, np.asarray(tokens_1xL[0]))
            return jnp.log(jnp.asarray(model.next_token(token_L), jnp.float32)), _Past(token_L, len(token_L))

        self._extend = extend


def open_counted(path: Path, config: NgramRun, facts: dict[str, Any]) -> tuple[NgramSampler, Tokenizer]:
    """The model of a run, counted again: it keeps no checkpoint, since that takes seconds.

    Raises:
        ScalingError: its data are no longer those of the run.
    """
    dataset = prepare(config.data, config.execution.data_directory)
    now = {"corpus": dataset.corpus.hash, "tokenizer": dataset.tokenizer.hash}
    for what, found in now.items():
        if facts[what] != found:
            raise ScalingError(f"{path} counted the {what} {facts[what]}; its data {config.data.corpus} now give {found}")
    return NgramSampler(count(config, dataset, config.steps), config.data.sequence_length), dataset.tokenizer

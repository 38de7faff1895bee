"""A world as a corpus: its stores of tokens, made from its arguments alone."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from scaling.data.atomic import new_directory
from scaling.data.store import write_tokens
from scaling.data.tokenizers import SymbolTokenizer
from scaling.data.worlds.world import World
from scaling.errors import ScalingError

_METHOD = 1  # raised when the same arguments would come to other tokens
_CHUNK = 2**16
_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class WorldCorpus:
    """What a run needs to know of the world its tokens come from.

    Attributes:
        hash: 16 hexadecimal digits, of the world's arguments and of how many tokens were made.
    """

    name: str
    hash: str
    world: World

    @property
    def entropy(self) -> float:
        """Nats per token; no expected loss is below it."""
        return self.world.entropy


def make_corpus(world: World, name: str, tokens: int, validation_tokens: int, directory: Path) -> tuple[WorldCorpus, Path]:
    """The corpus, and where the stores of both splits are; written a chunk at a time where they are not there yet.

    The splits are independent draws from the same language: a document can stand in both, as chance has it.
    """
    definition = json.dumps([_METHOD, world.name, asdict(world), tokens, validation_tokens])
    corpus = WorldCorpus(name, hashlib.sha256(definition.encode()).hexdigest()[:16], world)
    home = directory / "tokens" / corpus.hash / f"symbols-{world.vocabulary}"
    if not home.is_dir():
        with new_directory(home) as partial:
            tokenizer = SymbolTokenizer(world.spelling)
            tokenizer.save(partial / "tokenizer.json")
            for number, (split, due) in enumerate(zip(_SPLITS, (tokens, validation_tokens), strict=True)):
                random = np.random.default_rng([getattr(world, "seed", 0), 4, number])
                write_tokens(partial, split, ((token_L, 0) for token_L in _chunks(world, random, due)), tokenizer)
    return corpus, home


def check_alignment(world: World, name: str, sequence_length: int) -> None:
    """Refuse sequences that would begin inside a document: what came before would be hidden, and the entropy not the floor.

    Raises:
        ScalingError: `sequence_length` is no multiple of the documents' length.
    """
    if sequence_length % world.length:
        nearest = max(1, round(sequence_length / world.length)) * world.length
        raise ScalingError(
            f"data.sequence_length {sequence_length} cuts the documents of {name}, which have {world.length} tokens: "
            f"give a multiple of that, such as {nearest}"
        )


def _chunks(world: World, random: np.random.Generator, tokens: int) -> Iterator[np.ndarray]:
    """Whole documents, `tokens` tokens or a little more, and one token that the last sequence predicts."""
    left = tokens + 1
    while left > 0:
        count = max(1, min(_CHUNK, left) // world.length)
        yield world.documents(random, count).ravel()
        left -= count * world.length

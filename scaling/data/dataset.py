"""What a run needs of its data, prepared: one corpus, or a mixture of several."""

import functools
import hashlib
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from scaling.data.batches import Batches, MixedBatches
from scaling.data.corpora import Corpus
from scaling.data.pairs import PairBatches, Pairs
from scaling.data.store import TokenStore
from scaling.data.streaming import Streamed
from scaling.data.tokenizers import BpeTokenizer, Tokenizer
from scaling.data.validation import MixedValidation, ValidationSet
from scaling.data.worlds.corpus import WorldCorpus

if TYPE_CHECKING:
    from scaling.families import AnyRun


@dataclass(frozen=True, eq=False)
class Dataset:
    """A corpus as tokens.

    Attributes:
        corpus: the surveyed documents, or the world they come from; `corpus.hash` and `tokenizer.hash` go into a run's
            identity.
        held_out: the fixed validation set, the same for every run of a sweep.
    """

    corpus: Corpus | WorldCorpus
    tokenizer: Tokenizer
    train: TokenStore
    validation: TokenStore
    held_out: ValidationSet

    def batches(self, config: "AnyRun") -> Batches | PairBatches:
        """The training batches of a run."""
        separate = config.data.documents == "separate"
        length, unique = config.data.sequence_length, config.unique_tokens
        batches = Batches(self.train, length, config.batch_size, config.seed, unique, separate)
        if config.data.documents != "pairs":
            return batches
        return PairBatches(Pairs(self.train, self.tokenizer.vocabulary, length, config.seed), batches, config.batch_size)

    @property
    def contamination(self) -> float | None:
        """See `Counts`; None for a world."""
        return self.corpus.counts.contamination if isinstance(self.corpus, Corpus) else None

    @functools.cached_property
    def source_loss(self) -> float | None:
        """What the world that the held-out tokens come from loses on them, nats per token; None for a text."""
        return self.corpus.world.loss(self.held_out.window_WxL1) if isinstance(self.corpus, WorldCorpus) else None

    @property
    def report(self) -> list[str]:
        """What was read, for people: documents, bytes, tokens, and what was dropped."""
        tokenizer = self.tokenizer
        lines = [f"corpus {self.corpus.name} ({self.corpus.hash}), tokenizer of {tokenizer.vocabulary} ({tokenizer.hash})"]
        if isinstance(self.corpus, WorldCorpus):
            made = f"{self.train.tokens:,} and {self.validation.tokens:,} tokens for training and validation"
            known = f"entropy {self.corpus.entropy:.6f} nats per token, {self.source_loss:.6f} on the held-out tokens"
            return [*lines, made, known]
        for split, store in (("train", self.train), ("validation", self.validation)):
            lines.append(
                f"{split}: {store.documents:,} documents, {store.bytes / 1e6:.2f} MB, {store.tokens:,} tokens "
                f"({store.bytes / store.tokens:.2f} bytes each)"
            )
        counts = self.corpus.counts
        lines.append(f"dropped: {counts.duplicates:,} exact duplicates, {counts.empty:,} empty documents")
        if counts.near_held_out:
            lines.append(f"dropped from train: {counts.near_held_out:,} near-duplicates of validation documents")
        if counts.near_duplicates:
            done = "dropped" if self.corpus.drops_near else "kept"
            lines.append(f"{counts.near_duplicates:,} near-duplicates within train: {done} (data.near_duplicates)")
        if counts.contamination is not None:
            lines.append(f"{counts.contamination:.1%} of the 64-byte passages of validation are in train too")
        if counts.invalid_utf8:
            lines.append(f"{counts.invalid_utf8:,} documents held invalid UTF-8: read with U+FFFD in its place")
        if isinstance(tokenizer, BpeTokenizer) and tokenizer.learned < tokenizer.vocabulary - 1:
            lines.append(f"the corpus is too small for this vocabulary: {tokenizer.learned:,} tokens were learned")
        if self.train.counted_bytes != self.train.bytes:
            lines.append(
                f"the tokenizer changes text: its tokens spell {self.train.counted_bytes / self.train.bytes:.2%} of the bytes; "
                "bits per byte count those of the source"
            )
        return lines


@dataclass(frozen=True, eq=False)
class Mixture:
    """Several datasets under one tokenizer, mixed by weight; otherwise as `Dataset`."""

    sources: dict[str, Dataset]
    weights: dict[str, float]

    @property
    def corpus(self) -> SimpleNamespace:
        """Its `name`, and its `hash`: of the sources' hashes and weights."""
        content = [[self.sources[name].corpus.hash, weight] for name, weight in _normalised(self.weights).items()]
        return SimpleNamespace(name="mixture", hash=hashlib.sha256(json.dumps(sorted(content)).encode()).hexdigest()[:16])

    @property
    def tokenizer(self) -> Tokenizer:
        """Of all sources."""
        return next(iter(self.sources.values())).tokenizer

    @property
    def held_out(self) -> MixedValidation:
        """The validation set of each source."""
        sets = {name: source.held_out for name, source in self.sources.items()}
        return MixedValidation(sets, _normalised(self.weights))

    def batches(self, config: "AnyRun") -> MixedBatches:
        """The training batches of a run."""
        separate = config.data.documents == "separate"
        length, unique = config.data.sequence_length, config.unique_tokens
        stores = {name: source.train for name, source in self.sources.items()}
        return MixedBatches(stores, self.weights, length, config.batch_size, config.seed, unique, separate)

    @property
    def contamination(self) -> float | None:
        """The largest of the sources'."""
        return max((each for source in self.sources.values() if (each := source.contamination) is not None), default=None)

    @property
    def report(self) -> list[str]:
        """The sources' reports."""
        parts = _normalised(self.weights)
        return [
            line
            for name, source in self.sources.items()
            for line in (f"source {name}, {parts[name]:.1%} of the tokens:", *(f"  {line}" for line in source.report))
        ]


def _normalised(weights: dict[str, float]) -> dict[str, float]:
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


Data = Dataset | Mixture | Streamed
"""What `prepare` makes."""

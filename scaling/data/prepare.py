"""The way in: a data configuration to token stores on disk, made once and found again.

    <directory>/corpora/<fingerprint of the source>/      the text as a TFDS dataset, and its survey
    <directory>/tokens/<corpus hash>/<kind>-<vocabulary>/  tokenizer.json and the stores of both splits (of a world too)

Every directory appears whole or not at all; any of them can be deleted and is made anew.
"""

from dataclasses import dataclass
from pathlib import Path

from scaling.config import DataConfig
from scaling.data.atomic import new_directory
from scaling.data.batches import ValidationSet, validation_windows
from scaling.data.corpora import Corpus, open_corpus
from scaling.data.store import TokenStore, open_store, write_store
from scaling.data.tokenizers import BpeTokenizer, Tokenizer, load_tokenizer, make_tokenizer
from scaling.data.worlds import named_world
from scaling.data.worlds.corpus import WorldCorpus, check_alignment, make_corpus


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything a run needs of its data.

    Attributes:
        corpus: the surveyed documents, or the world they come from; `corpus.hash` and `tokenizer.hash` go into a run's
            identity.
        held_out: the fixed validation set of `validation`, the same for every run of a sweep.
    """

    corpus: Corpus | WorldCorpus
    tokenizer: Tokenizer
    train: TokenStore
    validation: TokenStore
    held_out: ValidationSet

    @property
    def report(self) -> list[str]:
        """What was read, for people: documents, bytes, tokens, and what was dropped."""
        tokenizer = self.tokenizer
        lines = [f"corpus {self.corpus.name} ({self.corpus.hash}), tokenizer of {tokenizer.vocabulary} ({tokenizer.hash})"]
        if isinstance(self.corpus, WorldCorpus):
            made = f"{self.train.tokens:,} and {self.validation.tokens:,} tokens for training and validation"
            return [*lines, f"{made}; entropy {self.corpus.entropy:.6f} nats per token"]
        counts = self.corpus.counts
        for split, store in (("train", self.train), ("validation", self.validation)):
            lines.append(
                f"{split}: {store.documents:,} documents, {store.bytes / 1e6:.2f} MB, {store.tokens:,} tokens "
                f"({store.bytes / store.tokens:.2f} bytes each)"
            )
        lines.append(f"dropped: {counts.duplicates:,} exact duplicates, {counts.empty:,} empty documents")
        if counts.invalid_utf8:
            lines.append(f"{counts.invalid_utf8:,} documents held invalid UTF-8: read with U+FFFD in its place")
        if isinstance(tokenizer, BpeTokenizer) and tokenizer.learned < tokenizer.vocabulary - 1:
            lines.append(f"the corpus is too small for this vocabulary: {tokenizer.learned:,} tokens were learned")
        return lines


def prepare(data: DataConfig, directory: str | Path) -> Dataset:
    """The dataset of a configuration, prepared below `directory` where it is not there yet.

    The first call reads and encodes the corpus; later ones, from any number of processes, open what it left (well
    under a second). Processes that prepare at the same time do the work twice and keep one result.

    Raises:
        ScalingError: the corpus is missing, empty or too small, its text field is not there, or what lies in
            `directory` is damaged or cannot be written.
    """
    directory = Path(directory)
    world = named_world(data.corpus)
    corpus: Corpus | WorldCorpus
    if world is None:
        corpus = open_corpus(data.corpus, data.text_field, directory)
        home = _encode(corpus, data, directory)
    else:
        check_alignment(world, data.corpus, data.sequence_length)
        corpus, home = make_corpus(world, data.corpus, data.world_tokens, data.validation_tokens, directory)
    tokenizer = load_tokenizer(home / "tokenizer.json")
    train, validation = (open_store(home, split, tokenizer) for split in ("train", "validation"))
    held_out = validation_windows(validation, data.sequence_length, data.validation_tokens)
    return Dataset(corpus, tokenizer, train, validation, held_out)


def _encode(corpus: Corpus, data: DataConfig, directory: Path) -> Path:
    """Where the token stores of a text are, written where they are not there yet."""
    home = directory / "tokens" / corpus.hash / f"{data.tokenizer.kind}-{data.tokenizer.vocabulary}"
    if not home.is_dir():
        with new_directory(home) as partial:
            tokenizer = make_tokenizer(data.tokenizer, corpus.texts("train"))
            tokenizer.save(partial / "tokenizer.json")
            for split in ("train", "validation"):
                write_store(partial, split, corpus.texts(split), tokenizer)
    return home

"""The way in: a data configuration to token stores on disk, made once and found again.

    <directory>/corpora/<fingerprint of the source>/      which documents are kept, and the text of what is no dataset already
    <directory>/stores/<corpus hash>/<tokenizer>/          tokenizer.json and the stores of both splits (of a world too)
    <directory>/streams/<corpus hash>/<tokenizer>/         of what is tokenised as it is read: the held-out store alone
    <directory>/buckets/                                   copies of datasets in buckets

Every directory appears whole or not at all, and what was broken off goes on; any of them can be deleted and is made anew.
"""

import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from scaling.data.atomic import new_file, resumable_directory
from scaling.data.configuration import DataConfig
from scaling.data.corpora import Corpus, open_corpus
from scaling.data.dataset import Data, Dataset, Mixture
from scaling.data.pairs import validation_pairs
from scaling.data.parts import ALONE, Part, Workforce
from scaling.data.store import encoded, open_store, shard_path, write_index, write_shard
from scaling.data.streaming import open_stream
from scaling.data.tokenizers import TRAINING_BYTES, Tokenizer, beginning, label_of, load_tokenizer, make_tokenizer
from scaling.data.validation import validation_windows
from scaling.data.worlds import named_world
from scaling.data.worlds.corpus import WorldCorpus, check_alignment, make_corpus
from scaling.errors import ScalingError

_SHARD_BYTES, _SHARDS = 2**24, 256  # the least text of a shard; about how many there are at most, each an open file


def prepare(data: DataConfig, directory: str | Path, workforce: Workforce = ALONE) -> Data:
    """The dataset of a configuration, prepared below `directory` where it is not there yet.

    The first call reads and encodes the corpus; later ones, from any number of processes, open what it left (well
    under a second). Processes that prepare at the same time share the work and keep one result.

    Raises:
        ScalingError: the corpus is missing, empty or too small, its text field is not there, or what lies in
            `directory` is damaged or cannot be written.
    """
    directory = Path(directory)
    if data.streaming:
        return open_stream(data, directory)
    if data.mixture is not None:
        return _mixture(data, directory, workforce)
    world = named_world(data.corpus)
    if world is not None:
        check_alignment(world, data.corpus, data.sequence_length)
        made, home = make_corpus(world, data.corpus, data.world_tokens, data.validation_tokens, directory)
        return _opened(made, home, data)
    corpus = open_corpus(data, directory, workforce)
    make = functools.partial(make_tokenizer, data.tokenizer, corpus.texts("train"))
    return _opened(corpus, _encode(corpus, label_of(data.tokenizer), make, directory, workforce), data)


def _mixture(data: DataConfig, directory: Path, workforce: Workforce) -> Mixture:
    configs = data.mixture or {}
    corpora = {name: open_corpus(config, directory, workforce) for name, config in configs.items()}
    weights = {name: config.weight for name, config in configs.items()}
    names: dict[str, str] = {}
    for name, corpus in corpora.items():
        if names.setdefault(corpus.hash, name) != name:
            raise ScalingError(f"the sources {names[corpus.hash]} and {name} of data.mixture are the same text")

    def texts() -> Iterator[str]:
        for name, corpus in corpora.items():
            yield from beginning(corpus.texts("train"), int(TRAINING_BYTES * weights[name] / sum(weights.values())))

    label = label_of(data.tokenizer)
    if data.tokenizer.kind == "bpe":  # trained on all of them
        contents = repr(sorted((corpora[name].hash, weights[name]) for name in corpora))
        label += f"-{hashlib.sha256(contents.encode()).hexdigest()[:16]}"
    make = functools.cache(lambda: make_tokenizer(data.tokenizer, texts()))
    homes = {name: _encode(corpus, label, make, directory, workforce) for name, corpus in corpora.items()}
    return Mixture({name: _opened(corpus, homes[name], data) for name, corpus in corpora.items()}, weights)


def _opened(corpus: Corpus | WorldCorpus, home: Path, data: DataConfig) -> Dataset:
    tokenizer = load_tokenizer(home / "tokenizer.json")
    train, validation = (open_store(home, split, tokenizer) for split in ("train", "validation"))
    length, tokens = data.sequence_length, data.validation_tokens
    if data.documents == "pairs":
        held_out = validation_pairs(validation, tokenizer.vocabulary, length, tokens)
    else:
        held_out = validation_windows(validation, length, tokens, data.documents == "separate")
    return Dataset(corpus, tokenizer, train, validation, held_out)


def _encode(corpus: Corpus, label: str, make: Callable[[], Tokenizer], directory: Path, workforce: Workforce) -> Path:
    """Where the token stores of a text are, written where they are not there yet."""
    home = directory / "stores" / corpus.hash / label
    if home.is_dir():
        return home
    with resumable_directory(home) as partial:
        saved = partial / "tokenizer.json"
        if not saved.is_file():
            with new_file(saved) as file:
                make().save(file)
        tokenizer = load_tokenizer(saved)
        parts = {split: _shards(corpus, split, partial, saved) for split in ("train", "validation")}
        workforce.make("tokens", [part for shards in parts.values() for part in shards])
        for split, shards in parts.items():
            write_index(partial, split, len(shards), tokenizer)
    return home


def _shards(corpus: Corpus, split: str, directory: Path, saved: Path) -> list[Part]:
    """The shards of a split, each of consecutive documents; how many depends on the text alone."""
    sizes = corpus.sizes(split)
    ends = np.cumsum(sizes)
    shard_of = (ends - sizes) // max(_SHARD_BYTES, ends[-1] // _SHARDS)
    starts = [0, *(np.flatnonzero(np.diff(shard_of)) + 1).tolist(), len(sizes)]
    bounds = enumerate(itertools.pairwise(starts))
    return [
        Part(shard_path(directory, split, number), _write_shard, (corpus, split, start, stop, saved), sizes[start:stop].sum())
        for number, (start, stop) in bounds
    ]


def _write_shard(path: Path, corpus: Corpus, split: str, start: int, stop: int, saved: Path) -> None:
    tokenizer = _tokenizer(saved)
    write_shard(path, encoded(corpus.texts(split, start, stop), tokenizer), tokenizer)


_tokenizer = functools.lru_cache(maxsize=1)(load_tokenizer)

"""A made-up data set whose windows all differ, and runs on it."""

from types import SimpleNamespace

import numpy as np
import pytest
from trainer import BATCH, LENGTH, STEPS, Trainer

from scaling.data.prepare import Dataset
from scaling.data.store import open_store, write_store
from scaling.data.tokenizers import ByteTokenizer
from scaling.data.validation import validation_windows


def _corpus(seed: int, characters: int) -> list[str]:
    """Texts of a language that can be learnt: after each letter one of three follows."""
    jumps = np.random.default_rng(seed).choice([1, 2, 5], characters)
    return ["".join(chr(97 + letter) for letter in np.cumsum(jumps) % 26)]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    home, tokenizer = tmp_path_factory.mktemp("store"), ByteTokenizer()
    for split, seed, characters in (("train", 0, LENGTH * BATCH * STEPS), ("validation", 1, 2000)):
        write_store(home, split, _corpus(seed, characters), tokenizer)
    train, validation = (open_store(home, split, tokenizer) for split in ("train", "validation"))
    held_out = validation_windows(validation, LENGTH, 256)
    return Dataset(SimpleNamespace(hash="made up"), tokenizer, train, validation, held_out)


@pytest.fixture
def trainer(tmp_path, dataset):
    """(name) -> a run of its own."""
    return lambda name: Trainer(tmp_path / name, dataset)

"""A base of sweeps on made-up texts, for plans that are not trained."""

import numpy as np
import pytest


@pytest.fixture
def base(tmp_path):
    random = np.random.default_rng(0)
    for number in range(40):
        (tmp_path / f"{number}.txt").write_bytes(random.integers(97, 123, size=20_000, dtype=np.uint8).tobytes())
    return {
        "data": {"sequence_length": 64, "validation_tokens": "1k", "corpus": f"files:{tmp_path}/*.txt"},
        "model": {"width": 32, "layers": 2, "heads": 2},
        "training": {"tokens": "64k", "batch_tokens": 512},
        "optimizer": {"learning_rate": 4e-3},
        "execution": {"cache_directory": f"{tmp_path}/cache"},
    }

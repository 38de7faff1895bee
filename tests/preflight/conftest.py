"""A small sweep in a directory of its own, and the command on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def text(number: int) -> str:
    """A document unlike the others."""
    return " ".join(str(7919 * (number + 1) * (each + 1) % 100_003) for each in range(1500))


SWEEP = {
    "name": "small",
    "base": {
        "model": {"width": 64, "layers": 2, "heads": 2},
        "data": {"corpus": "files:text", "sequence_length": 128, "validation_tokens": "1k"},
        "training": {"tokens": 16_384, "batch_tokens": 2048},
        "optimizer": {"learning_rate": "1e-3"},
    },
    "axes": {"model.layers": [1, 2], "seed": [0, 1]},
}


class Lab:
    """A working directory with a sweep and the `scaling` command in it."""

    def __init__(self, path: Path):
        self.path = path
        (path / "text").mkdir()
        for number in range(40):
            (path / "text" / f"{number}.txt").write_text(text(number))
        (path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP, sort_keys=False))

    def __call__(self, *arguments: str, code: int = 0, without: str | None = None) -> subprocess.CompletedProcess:
        """The command's output; `without` hides a package from it."""
        environment = {**os.environ, "XLA_FLAGS": "", "COLUMNS": "80"}
        hidden = f"import sys; sys.modules[{without!r}] = None; " if without else ""
        program = f"{hidden}from scaling.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("lab"))

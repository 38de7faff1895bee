"""The installed command on a small corpus of real text, in a directory of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

BASE = {
    "model": {"width": 32, "layers": 2, "heads": 2},
    "data": {"sequence_length": 64, "validation_tokens": "4k"},
    "training": {"tokens": 40_960, "batch_tokens": 1024},
    "optimizer": {"learning_rate": "5e-3"},
    "schedule": {"warmup_tokens": "4k"},
    "execution": {"log_every": 4, "evaluations": 2},
}


class Lab:
    """A working directory with the `scaling` command in it."""

    def __init__(self, path: Path, cache: Path):
        self.path, self.cache = path, cache
        self.output = path / "output.txt"
        self.environment = {**os.environ, "XLA_FLAGS": "", "COLUMNS": "80"}

    def write(self, name: str, content: dict) -> str:
        (self.path / name).write_text(yaml.safe_dump(content, sort_keys=False))
        return name

    def run_file(self, name: str = "run.yaml", **sections: dict) -> str:
        merged = {**BASE, "execution": {**BASE["execution"], "cache_directory": str(self.cache)}}
        for section, fields in sections.items():
            merged[section] = {**merged.get(section, {}), **fields}
        return self.write(name, merged)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "scaling", *arguments]

    def start(self, *arguments: str) -> subprocess.Popen:
        with self.output.open("ab") as log:
            return subprocess.Popen(self.command(*arguments), cwd=self.path, env=self.environment, stdout=log, stderr=log)

    def status(self, runs: str = "runs") -> dict:
        """Of the one run in a directory of runs."""
        (status,) = (self.path / runs).glob("*/*/status.json")
        return json.loads(status.read_text())

    def rows(self, runs: str = "runs") -> list[dict]:
        """The curve of the one run in a directory of runs, without wall time."""
        (curve,) = (self.path / runs).glob("*/*/curve.jsonl")
        rows = [json.loads(line) for line in curve.read_text().splitlines()]
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Prepared data and compiled programs, shared by the session."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def make_lab(tmp_path_factory, cache):
    """A working directory for more than one test."""
    return lambda name: Lab(tmp_path_factory.mktemp(name), cache)


@pytest.fixture
def lab(tmp_path, cache):
    return Lab(tmp_path, cache)

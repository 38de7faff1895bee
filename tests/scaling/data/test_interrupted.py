"""Preparation by several processes, broken off at any instant: what comes out is what an undisturbed one makes."""

import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_text import prose
from small_disk import small_disk
from test_prepare import BPE, same

from scaling.data.configuration import DataConfig
from scaling.data.parts import Workforce
from scaling.data.prepare import prepare
from scaling.errors import ScalingError

CHILD = """
import os, signal, sys
from scaling.config import DataConfig
from scaling.data.prepare import prepare
corpus, directory, *instant = sys.argv[1:]
if instant:
    here = lambda event, arguments: event == instant[0] and instant[1] in str(arguments[0])
    sys.addaudithook(lambda *event: os.kill(os.getpid(), signal.SIGKILL) if here(*event) else None)
dataset = prepare(DataConfig(corpus=corpus, sequence_length=32, validation_tokens=256), directory)
print(dataset.corpus.hash, [name for name in ("tensorflow", "jax") if name in sys.modules])
"""


def child(data: DataConfig, directory: Path, *instant: str) -> "subprocess.Popen[str]":
    """A process that prepares, and kills itself when the named audit event happens to a path with the given part."""
    arguments = [sys.executable, "-c", CHILD, data.corpus, str(directory), *instant]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})


def test_two_processes_at_once(data: DataConfig, tmp_path: Path) -> None:
    processes = [child(data, tmp_path / "data") for _ in range(2)]
    printed = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    here = prepare(data, tmp_path / "data")
    assert printed == [f"{here.corpus.hash} []\n"] * 2
    assert same(here, prepare(data, tmp_path / "other"))
    assert not list((tmp_path / "data").rglob(".*"))


@pytest.mark.parametrize(
    "instant",
    [
        ("os.mkdir", "text"),
        ("os.rename", "part-000000"),
        ("os.rename", "survey-000"),
        ("open", "corpus.json"),
        ("os.rename", "corpus.json"),
        ("os.rename", "data/corpora"),
        ("open", "train-00000.bin"),
        ("os.rename", "train-00000.json"),
        ("os.rename", "data/stores"),
    ],
    ids="-".join,
)
def test_killed_while_preparing(data: DataConfig, tmp_path: Path, instant: tuple[str, str]) -> None:
    process = child(data, tmp_path / "data", *instant)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert same(prepare(data, tmp_path / "data"), prepare(data, tmp_path / "other"))


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """A corpus of several parts and shards at every stage."""
    monkeypatch.setattr("scaling.data.corpora._PART_BYTES", 20_000)
    monkeypatch.setattr("scaling.data.survey._FEWEST", 20)
    monkeypatch.setattr("scaling.data.prepare._SHARD_BYTES", 20_000)
    (tmp_path / "many").mkdir()
    for number in range(100):
        (tmp_path / "many" / f"{number}.txt").write_text(prose(number), encoding="utf-8")
    return DataConfig(corpus=f"files:{tmp_path}/many", tokenizer=BPE, sequence_length=32, validation_tokens=256)


def test_two_processes_make_what_one_makes(many: DataConfig, tmp_path: Path) -> None:
    done: dict[str, list[tuple[int, int]]] = {}
    report = lambda what, so_far, total: done.setdefault(what, []).append((so_far, total))  # noqa: E731
    both = prepare(many, tmp_path / "two", Workforce(2, report))
    one = prepare(many, tmp_path / "one")
    assert same(both, one)
    assert len(both.train.shards) > 5
    assert list(done) == ["records of text", "survey of documents", "search for held-out passages", "tokens"]
    for steps in done.values():
        assert steps[-1][0] == steps[-1][1] > 0
        assert [so_far for so_far, _ in steps] == sorted(so_far for so_far, _ in steps)
        assert len(steps) > 5


def test_what_was_whole_when_it_was_broken_off_is_not_made_again(many: DataConfig, tmp_path: Path) -> None:
    """Broken off after three of each stage's parts, as by a full disk: the next time goes on from there."""
    expected, remaining, made, reasons = prepare(many, tmp_path / "other"), 3, [], set()

    def stop_soon(what: str, so_far: int, total: int) -> None:
        nonlocal remaining
        remaining -= so_far < total
        if remaining < 0:
            raise OSError(28, "No space left on device")

    for _ in range(40):
        remaining = 3
        try:
            dataset = prepare(many, tmp_path / "data", Workforce(1, stop_soon))
            break
        except ScalingError as error:
            reasons.add(str(error).partition(": ")[2])
            made.append({path: path.stat().st_mtime_ns for path in tmp_path.glob("data/**/*0*") if path.is_file()})
    assert same(dataset, expected)
    assert len(made) > 6
    assert reasons == {"[Errno 28] No space left on device; what is done is kept for the next time"}
    for before, after in itertools.pairwise(made):
        assert all(after[path] == time for path, time in before.items() if path in after)
    assert not list((tmp_path / "data").rglob(".*"))
    assert not list((tmp_path / "data").rglob("work"))


def test_a_worker_that_is_killed_is_one_line_and_the_next_time_goes_on(many: DataConfig, tmp_path: Path) -> None:
    def kill_a_child(what: str, so_far: int, total: int) -> None:
        if what == "tokens" and so_far:
            for child in multiprocessing.active_children():
                child.kill()

    with pytest.raises(ScalingError, match=r"a process was killed while it made tokens .*what is done is kept"):
        prepare(many, tmp_path / "data", Workforce(2, kill_a_child))
    assert same(prepare(many, tmp_path / "data"), prepare(many, tmp_path / "other"))


def test_a_mistake_in_one_part_is_the_error_of_all(many: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "many" / "50.jsonl").write_text('{"body": "x"}\n')
    with pytest.raises(ScalingError, match=r"50.jsonl:1 has no field 'text'"):
        prepare(many, tmp_path / "data", Workforce(2))
    assert not list((tmp_path / "data").glob("corpora/*"))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "disk", "64k") as disk:
        yield disk


def test_a_disk_that_is_full_at_any_stage_leaves_nothing_that_is_taken_for_whole(many: DataConfig, disk: Path) -> None:
    refused, size = [], 64
    while True:
        subprocess.run(["mount", "-o", f"remount,size={size}k", disk], check=True)
        try:
            dataset = prepare(many, disk / "data")
            break
        except ScalingError as error:
            refused.append(str(error))
        size += 32
    assert len(refused) > 5
    for each in refused:
        assert "No space left on device" in each
        assert "\n" not in each
    assert same(dataset, prepare(many, disk.parent / "other"))

"""`scaling data`, as it is typed."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sample_text import prose
from test_arrow import saved


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(Path(__file__).parents[3]), "COLUMNS": "80", "PATH": "/usr/bin:/bin"}
    return subprocess.run(
        [sys.executable, "-m", "scaling", "data", *arguments], cwd=cwd, env=environment, capture_output=True, text=True
    )


@pytest.fixture
def file(folder: Path, tmp_path: Path) -> str:
    content = {
        "data": {"corpus": f"files:{folder}", "sequence_length": 32, "validation_tokens": 256},
        "execution": {"cache_directory": "kept"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump({"name": "some", "base": content}))
    return "run.yaml"


def test_prepare_says_what_it_read_and_finds_it_again(file: str, tmp_path: Path) -> None:
    first = command("prepare", file, "--workers", "2", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    for fact in ("train:", "validation:", "tokens", "0 exact duplicates"):
        assert fact in first.stdout
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*")}
    again = command("prepare", "sweep.yaml", cwd=tmp_path)
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").rglob("*")} == files
    assert "tokens" in first.stderr  # the progress bar
    assert "tokens" not in again.stderr


def test_show_prints_statistics_and_samples(file: str, folder: Path, tmp_path: Path) -> None:
    shown = command("show", file, "data.tokenizer={kind: bpe, vocabulary: 300}", "--samples", "2", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    for fact in ("vocabulary in use", "tokens in a document", "most frequent", "document 2"):
        assert fact in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    sample = next(line for line in shown.stdout.split("document 1")[1].splitlines()[1:] if line.strip())
    assert any(sample.strip() in path.read_text() for path in folder.rglob("*.txt"))


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    for arguments, message in (
        (["files:nothing/*.txt"], "error: data.corpus: no files match files:nothing/*.txt"),
        (["stdlib", "data.validation_split=test"], "error: data.train_split and data.validation_split are for tfds: and hf:"),
        (["missing.yaml"], "error: no such file: missing.yaml"),
        (["stdlib", "data.corpsu=x"], "did you mean corpus?"),
    ):
        failed = command("prepare", *arguments, cwd=tmp_path)
        assert failed.returncode == 2
        assert message in failed.stderr.replace("\n", " ")
        assert "Traceback" not in failed.stderr


def test_what_is_streamed_is_shown_without_statistics_of_its_tokens(tmp_path: Path) -> None:
    for split, numbers in (("train", range(60)), ("test", range(1000, 1005))):
        saved(tmp_path / "set" / split, [prose(number) for number in numbers])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    shown = command("show", "hf:set", "data.streaming=true", "data.validation_tokens=1024", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "train: 60 documents, about" in shown.stdout
    assert "most frequent" not in shown.stdout

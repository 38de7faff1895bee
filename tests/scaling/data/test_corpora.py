import json
import os
import re
import shutil
import sysconfig
from pathlib import Path

import pytest
from sample_text import prose

from scaling.data.configuration import CorpusConfig
from scaling.data.corpora import Corpus, open_corpus
from scaling.data.files import stdlib_files
from scaling.errors import ScalingError


def opened(folder: Path, **fields: str) -> Corpus:
    return open_corpus(CorpusConfig(corpus=f"files:{folder}", **fields), folder.parent / "cache")


def all_texts(corpus: Corpus) -> list[str]:
    return [*corpus.texts("train"), *corpus.texts("validation")]


def test_every_document_once_in_one_of_the_splits(folder: Path) -> None:
    corpus = opened(folder)
    assert sorted(all_texts(corpus)) == sorted(prose(number) for number in range(60))
    train, validation = (list(corpus.texts(split)) for split in ("train", "validation"))
    assert corpus.counts.documents == {"train": len(train), "validation": len(validation)}
    assert corpus.counts.bytes["train"] == sum(len(text.encode()) for text in train)
    total = sum(corpus.counts.bytes.values())
    assert 0.05 <= corpus.counts.bytes["validation"] / total < 0.08


def test_the_hash_is_of_the_content_not_of_its_place(folder: Path, tmp_path: Path) -> None:
    first = opened(folder)
    moved = tmp_path / "elsewhere" / "renamed"
    moved.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.rglob("*.txt"))):
        shutil.copy(file, moved / f"{97 * number % 60}.md")
    assert opened(moved).hash == first.hash
    assert all_texts(opened(moved)) == all_texts(first)
    lines = "".join(json.dumps({"id": number, "text": prose(number)}) + "\n" for number in range(60))
    (tmp_path / "all.jsonl").write_text(lines)
    assert open_corpus(CorpusConfig(corpus=f"files:{tmp_path}/*.jsonl"), tmp_path / "third").hash == first.hash


def test_a_change_is_noticed_and_a_touch_changes_nothing(folder: Path) -> None:
    first = opened(folder)
    file = next(folder.rglob("*.txt"))
    os.utime(file, (1, 1))
    assert opened(folder).hash == first.hash
    text = file.read_text()
    file.write_text("X" + text[1:])
    edited = opened(folder)
    assert edited.hash != first.hash
    assert any(each.startswith("X") for each in all_texts(edited))
    file.write_text(text)
    assert opened(folder).hash == first.hash
    (folder / "new.txt").write_text(prose(1000))
    assert sum(opened(folder).counts.documents.values()) == 61


def test_duplicates_and_empty_documents_are_dropped(folder: Path) -> None:
    first = opened(folder)
    (folder / "copy.txt").write_text(prose(3))
    (folder / "another copy.txt").write_text(prose(3))
    (folder / "empty.txt").write_text("")
    (folder / "blank.txt").write_text(" \n\n")
    again = opened(folder)
    assert again.hash == first.hash
    assert (again.counts.duplicates, again.counts.empty) == (2, 2)


def test_invalid_utf8_is_replaced_and_counted(folder: Path) -> None:
    (folder / "latin.txt").write_bytes("caf\xe9\n".encode("latin-1") + prose(100).encode())
    lines = [rb'{"text": "lone \ud800 surrogate"}', b'{"text": "raw \xff byte"}', rb'{"text": "\ud83d\ude00"}']
    (folder / "escapes.jsonl").write_bytes(b"\n".join(lines))
    corpus = opened(folder)
    texts = "\n".join(all_texts(corpus))
    assert corpus.counts.invalid_utf8 == 3
    for readable in ("caf\ufffd\n", "raw \ufffd", "lone \ufffd", "\U0001f600"):
        assert readable in texts


def test_hidden_files_and_a_home_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / ".hidden").write_bytes(b"\0")
    (folder / ".git").mkdir()
    (folder / ".git" / "object").write_bytes(b"\0")
    monkeypatch.setenv("HOME", str(folder.parent))
    assert open_corpus(CorpusConfig(corpus="files:~/text"), folder.parent / "cache").hash == opened(folder).hash


def test_stdlib_leaves_out_tests_and_packages() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    files = stdlib_files()
    assert len(files) > 300
    assert files == sorted(files)
    for folder in ("test", "tests", "site-packages", "dist-packages"):
        assert not [file for file in files if folder in file.relative_to(root).parts]


def refused(corpus: str, message: str, tmp_path: Path, text_field: str = "text") -> None:
    with pytest.raises(ScalingError, match=message) as caught:
        open_corpus(CorpusConfig(corpus=corpus, text_field=text_field), tmp_path / "cache")
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.glob("cache/corpora/*") if path]  # nothing half made stays


def test_what_is_refused(tmp_path: Path) -> None:
    refused("stdlbi", "did you mean stdlib", tmp_path)
    refused("file:x", "did you mean files:x", tmp_path)
    refused(f"files:{tmp_path}/nothing/*.txt", "no files match", tmp_path)
    folder = tmp_path / "text"
    folder.mkdir()
    refused(f"files:{folder}", "no files match", tmp_path)
    (folder / "blank.txt").write_text("\n")
    refused(f"files:{folder}", "holds no text", tmp_path)
    (folder / "one.txt").write_text(prose(1))
    refused(f"files:{folder}", "1 different document", tmp_path)
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    refused(f"files:{folder}", r"image.png is not UTF-8 text.*glob", tmp_path)


def test_what_is_refused_in_jsonl(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"body": "x", "title": "y"}\n')
    refused(f"files:{file}", r"a.jsonl:1 has no field 'text' .data.text_field.; it has body, title", tmp_path)
    file.write_text('{"text": "x"}\n\n{"text": 3}\n')
    refused(f"files:{file}", "a.jsonl:3: the field 'text' must hold text, not 3", tmp_path)
    file.write_text('{"text": "x"}\n{"text": ')
    refused(f"files:{file}", "a.jsonl:2 is not a line of JSON", tmp_path)
    file.write_text('["x"]\n')
    refused(f"files:{file}", "a.jsonl:1 must hold an object", tmp_path)


def test_another_text_field(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"text": "no", "body": prose(number)}) + "\n" for number in range(10))
    (tmp_path / "a.jsonl").write_text(lines)
    corpus = open_corpus(CorpusConfig(corpus=f"files:{tmp_path}/a.jsonl", text_field="body"), tmp_path / "cache")
    assert sorted(all_texts(corpus)) == sorted(prose(number) for number in range(10))


def edited(text: str, line: int = 3) -> str:
    """The document with one other line: its grams resemble the first one's by more than 0.8."""
    lines = text.splitlines()
    lines[line] = "this line is another"
    return "\n".join(lines)


def test_near_duplicates_within_training_are_counted_and_dropped_if_asked(folder: Path) -> None:
    plain = opened(folder)
    texts = {prose(number) for number in range(60)}
    for number, text in enumerate(sorted(plain.texts("train"))[:4]):
        (folder / f"near{number}.txt").write_text(edited(text))
        texts.add(edited(text))
    kept, dropped = opened(folder), opened(folder, near_duplicates="drop")
    assert sorted(all_texts(kept)) == sorted(texts)
    assert kept.counts.near_duplicates == dropped.counts.near_duplicates >= 3  # all but those of a pair that was held out
    assert len(all_texts(dropped)) == 64 - dropped.counts.near_duplicates
    assert kept.hash != dropped.hash
    left = set(dropped.texts("train"))
    assert not [text for text in left if edited(text) != text and edited(text) in left]
    assert list(kept.texts("validation")) == list(dropped.texts("validation"))


def test_splits_are_for_datasets_that_have_some(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match=r"train_split and data.validation_split are for tfds: and hf:"):
        opened(folder, train_split="train[:10%]")


@pytest.mark.parametrize("place", ["gs://bucket/*.txt", "s3://bucket/texts", "https://host/a.jsonl"])
def test_files_elsewhere_are_refused(place: str, tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match=rf"files:{re.escape(place)}: files: are on this machine's disks.*copy them here"):
        open_corpus(CorpusConfig(corpus=f"files:{place}"), tmp_path)

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sample_text import prose

from scaling.data.configuration import CorpusConfig
from scaling.data.corpora import open_corpus
from scaling.data.files import read_documents
from scaling.errors import ScalingError

TEXTS = [prose(number) for number in range(30)]
LINES = "".join(
    json.dumps({"id": number, "text": text}, ensure_ascii=False) + "\n" for number, text in enumerate(TEXTS)
).encode()


def zstd(content: bytes) -> bytes:
    return pa.compress(content, codec="zstd", asbytes=True)


def parquet(path: Path, texts: list[str | None], kind: pa.DataType | None = None) -> None:
    table = pa.table({"number": range(len(texts)), "text": pa.array(texts, kind or pa.string())})
    pq.write_table(table, path, row_group_size=7)


@pytest.mark.parametrize(
    ("name", "content", "copies"),
    [
        ("a.jsonl", LINES, 1),
        ("a.jsonl.gz", gzip.compress(LINES), 1),
        ("a.jsonl.gz", gzip.compress(LINES) * 2, 2),
        ("a.jsonl.zst", zstd(LINES), 1),
        ("a.jsonl.zst", zstd(LINES) * 2, 2),
    ],
)
def test_lines(tmp_path: Path, name: str, content: bytes, copies: int) -> None:
    """A compressed file may be several put together, as `cat` does."""
    (tmp_path / name).write_bytes(content)
    assert [text.decode() for text in read_documents(tmp_path / name, "text")] == TEXTS * copies


def test_compressed_text_and_parquet_are_the_same_corpus(tmp_path: Path) -> None:
    for number, text in enumerate(TEXTS[:10]):
        (tmp_path / f"{number}.txt.gz").write_bytes(gzip.compress(text.encode()))
        (tmp_path / f"{number}.md.zst").write_bytes(zstd(TEXTS[10 + number].encode()))
    parquet(tmp_path / "rows.parquet", TEXTS[20:])
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "all.jsonl").write_bytes(LINES)
    mixed = open_corpus(CorpusConfig(corpus=f"files:{tmp_path}/*.*"), tmp_path / "cache")
    plain = open_corpus(CorpusConfig(corpus=f"files:{tmp_path}/lines"), tmp_path / "cache")
    assert mixed.hash == plain.hash
    assert list(mixed.texts("train")) == list(plain.texts("train"))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_rows_without_text_are_empty(tmp_path: Path, kind: pa.DataType) -> None:
    parquet(tmp_path / "a.parquet", ["one", None, "", "é"], kind)
    assert list(read_documents(tmp_path / "a.parquet", "text")) == [b"one", b"", b"", "é".encode()]


def refused(path: Path, message: str, field: str = "text") -> None:
    with pytest.raises(ScalingError, match=message) as caught:
        list(read_documents(path, field))
    assert "\n" not in str(caught.value)


def test_what_is_refused(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", ["one", "two"])
    refused(tmp_path / "a.parquet", r"no field 'body' .data.text_field.; it has number, text", "body")
    refused(tmp_path / "a.parquet", r"the field 'number' holds int64, not text", "number")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.parquet", "cut.parquet is not a whole Parquet file")
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstd)):
        path = tmp_path / f"cut.txt{suffix}"
        path.write_bytes(compress(LINES)[:-20])
        refused(path, f"cannot read .*{suffix}")
        path.write_bytes(LINES)
        refused(path, f"cannot read .*{suffix}")

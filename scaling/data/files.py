"""Local text: which files a corpus name stands for, and the documents in them."""

import glob
import json
import os
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scaling.errors import ScalingError

_NOT_LIBRARY = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_PARQUET_ROWS = 1024


def stdlib_files() -> list[Path]:
    """The CPython standard library's Python source, sorted by path.

    Tests are left out (some distributions strip them), and so are the generated `_sysconfigdata` files, which hold
    the paths of one machine.
    """
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        Path(folder, name)
        for folder, _, names in _walk(root)
        for name in names
        if name.endswith(".py") and not name.startswith("_sysconfigdata")
    ]
    return sorted(file for file in files if file.is_file())


def _walk(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in _NOT_LIBRARY]
        yield folder, folders, names


def matching_files(pattern: str) -> list[Path]:
    """The files of a folder (recursively) or of a glob, sorted by path; hidden ones are left out, `~` is expanded."""
    pattern = os.path.expanduser(pattern)
    if os.path.isdir(pattern):
        pattern = os.path.join(glob.escape(pattern), "**")
    return [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(name)]


def read_documents(file: Path, text_field: str) -> Iterator[bytes]:
    """The documents of one file as bytes: each line of a `.jsonl`, each row of a `.parquet`, else the file as a whole.

    Text and lines may be compressed, as `.gz` or `.zst`. Bytes that are not UTF-8 pass through: how they are read is decided,
    and counted, where all text is decoded.

    Raises:
        ScalingError: the file cannot be read, is not text, or a line has no `text_field`.
    """
    plain = file.with_suffix("") if file.suffix in _COMPRESSED else file
    try:
        if plain.suffix == ".parquet":
            yield from _parquet_texts(file, text_field)
            return
        with _opened(file) as stream:
            if plain.suffix == ".jsonl":
                for number, line in enumerate(stream, start=1):
                    if line.strip():
                        yield _json_text(line, f"{file}:{number}", text_field)
            else:
                content = stream.read()
                if b"\0" in content:
                    raise ScalingError(f"{file} is not UTF-8 text (it holds NUL bytes): name the text files by a glob")
                yield content
    except (OSError, EOFError) as error:
        raise ScalingError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from None


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """The bytes of a file, uncompressed."""
    if file.suffix not in _COMPRESSED:
        with file.open("rb") as stream:
            yield stream
        return
    import io

    import pyarrow as pa

    with pa.input_stream(str(file), compression=_COMPRESSED[file.suffix]) as stream:
        yield io.BufferedReader(stream, 2**20)


def _parquet_texts(file: Path, text_field: str) -> Iterator[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            if text_field not in names:
                raise ScalingError(f"{file} has no field {text_field!r} (data.text_field); it has {', '.join(names)}")
            kind = table.schema_arrow.field(text_field).type
            if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
                raise ScalingError(f"{file}: the field {text_field!r} holds {kind}, not text")
            for batch in table.iter_batches(_PARQUET_ROWS, columns=[text_field]):
                for value in batch.column(0):
                    yield value.as_buffer().to_pybytes() if value.is_valid else b""
    except pa.ArrowException as error:
        raise ScalingError(f"{file} is not a whole Parquet file: {str(error).splitlines()[0]}") from None


def _json_text(line: bytes, where: str, text_field: str) -> bytes:
    try:
        fields = json.loads(line.decode(errors="surrogateescape"))
    except ValueError as error:
        raise ScalingError(f"{where} is not a line of JSON: {error}") from None
    if not isinstance(fields, dict):
        raise ScalingError(f"{where} must hold an object with the field {text_field!r}, not {type(fields).__name__}")
    if text_field not in fields:
        raise ScalingError(f"{where} has no field {text_field!r} (data.text_field); it has {', '.join(fields)}")
    if not isinstance(fields[text_field], str):
        raise ScalingError(f"{where}: the field {text_field!r} must hold text, not {fields[text_field]!r:.40}")
    return fields[text_field].encode(errors="surrogatepass")

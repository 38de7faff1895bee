"""Tables in files and in memory: CSV, Parquet, JSON lines, frames, lists of dicts; a directory of files is a file per run."""

import io
import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.curves.paths import for_each, read_bytes
from analysis.curves.record import damaged
from analysis.curves.wandb import unfold
from analysis.errors import AnalysisError

TABLES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".json")
CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def stem(path: Any) -> str:
    """The name of a table's file without the endings of its format and compression."""
    name = path.name
    for ending in (*CODECS, *TABLES):
        name = name.removesuffix(ending)
    return name


def table_files(directory: Any) -> list[Any]:
    """The tables in a directory and below it, in order of their paths."""
    endings = {table + codec for table in TABLES for codec in ("", *CODECS)}
    return sorted(each for each in directory.rglob("*") if each.name.endswith(tuple(endings)) and each.is_file())


def read_directory(directory: Any, files: list[Any]) -> pd.DataFrame:
    """The tables of a directory as one; a file without the column `run` is one run, named by its path in the directory."""
    tables = for_each(directory, read_file, files)
    for path, table in zip(files, tables, strict=True):
        if "run" not in table:
            table["run"] = "/".join((*path.relative_to(directory).parts[:-1], stem(path)))
    return pd.concat(tables, ignore_index=True)


def read_file(path: Any) -> pd.DataFrame:
    """One table as it lies there, with the column `row` added where it has none.

    Raises:
        AnalysisError: the file is damaged or not of the format that its name says; a name without a known ending is CSV.
    """
    content, name = read_bytes(path), path.name
    for ending, codec in CODECS.items():
        if name.endswith(ending):
            content, name = _decompress(content, codec, path), name.removesuffix(ending)
    if name.endswith((".jsonl", ".ndjson")):
        return frame(_json_lines(content, path))
    if name.endswith(".json"):
        return frame(_json(content, path))
    try:
        if name.endswith(".parquet"):
            return frame(pd.read_parquet(io.BytesIO(content)))
        table = pd.read_csv(io.BytesIO(content), sep="\t" if name.endswith(".tsv") else ",")
    except (ValueError, OSError) as error:  # of pandas and of pyarrow: all theirs derive from one of the two
        kind = "Parquet" if name.endswith(".parquet") else "CSV"
        raise AnalysisError(f"{path}: not a {kind} table: {str(error).splitlines()[0]}") from None
    return frame(table.rename(columns=lambda column: str(column).strip()))


def frame(source: Any) -> pd.DataFrame:
    """A new pandas frame of a frame of any library, a list of dicts or a dict of columns, with the column `row`.

    What Weights & Biases exported comes in the layout of every other table, see `wandb`.

    Raises:
        AnalysisError: something else, or two columns of one name.
    """
    if hasattr(source, "collect") and not hasattr(source, "to_pandas"):
        source = source.collect()
    if isinstance(source, pd.DataFrame):
        named = any(name is not None and name not in source for name in source.index.names)
        table = source.reset_index(drop=not named)
    elif hasattr(source, "to_pandas"):
        table = source.to_pandas()
    elif hasattr(source, "__arrow_c_stream__"):
        import pyarrow

        table = pyarrow.table(source).to_pandas()
    elif isinstance(source, Mapping) or (isinstance(source, list) and all(isinstance(row, Mapping) for row in source)):
        try:
            table = pd.DataFrame(source)
        except ValueError as error:
            raise AnalysisError(f"not a table: {error}") from None
    else:
        raise AnalysisError(f"cannot read curves from a {type(source).__name__}; give a path, a data frame or a list of dicts")
    if not table.columns.is_unique:
        raise AnalysisError(f"the column {table.columns[table.columns.duplicated()][0]!r} is there twice")
    if "row" not in table or table["row"].dtype.kind != "i":
        table["row"] = range(1, len(table) + 1)
    return unfold(table)


def _decompress(content: bytes, codec: str, path: Any) -> bytes:
    import pyarrow

    try:
        return pyarrow.input_stream(pyarrow.BufferReader(content), compression=codec).read()
    except OSError as error:
        raise AnalysisError(f"{path}: not compressed with {codec}, or damaged: {error}") from None


def _json_lines(content: bytes, path: Any) -> list[dict[str, Any]]:
    lines = [line for line in content.split(b"\n") if line.strip()]
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")
    except ValueError:
        raise damaged(path, lines) from None
    return _records(rows, path)


def _json(content: bytes, path: Any) -> Any:
    try:
        rows = json.loads(content)
    except ValueError as error:
        raise AnalysisError(f"{path}: damaged JSON: {error}") from None
    return rows if isinstance(rows, dict) else _records(rows, path)


def _records(rows: Any, path: Any) -> list[dict[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnalysisError(f"{path}: each row should be a JSON object")
    return rows

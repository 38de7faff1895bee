"""One table, whatever holds the curves: files, frames, buckets, and the column map with its units."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
from made_up import Truth, fabricate_sweep

from analysis import curves
from analysis.errors import AnalysisError

ROWS = [
    {"run": "a", "parameters": 1e6, "tokens": 1e8, "loss": 4.0, "precision": "bf16"},
    {"run": "b", "parameters": 2e6, "tokens": 2e8, "loss": 3.5, "precision": "fp8"},
]
FRAME = pd.DataFrame(ROWS)


def _zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, codec="zstd", asbytes=True)


CSV = FRAME.to_csv(index=False).encode()
LINES = b"".join(json.dumps(row).encode() + b"\n" for row in ROWS)
FILES = {
    "losses.csv": CSV,
    "losses.csv.gz": gzip.compress(CSV),
    "losses.csv.zst": _zstd(CSV),
    "losses.tsv": CSV.replace(b",", b"\t"),
    "with_byte_order_mark.csv": b"\xef\xbb\xbf" + CSV,
    "losses.parquet": FRAME.to_parquet(),
    "losses.jsonl": LINES,
    "losses.jsonl.gz": gzip.compress(LINES),
    "losses.jsonl.zst": _zstd(LINES),
    "losses.json": json.dumps(ROWS).encode(),
}


class Interchanged:
    """A frame of a library that is not installed: all it offers is Arrow's interface."""

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pyarrow.Table.from_pandas(FRAME).__arrow_c_stream__(requested_schema)


FRAMES = {
    "pandas": FRAME,
    "pandas with an index of its own": FRAME.set_index(pd.Index([7, 3])),
    "pandas with the runs as index": FRAME.set_index("run"),
    "arrow table": pyarrow.Table.from_pandas(FRAME),
    "arrow interface": Interchanged(),
    "list of dicts": ROWS,
    "dict of columns": FRAME.to_dict("list"),
}


LOSS_3 = {"loss": [3]}


def _check(table: pd.DataFrame) -> None:
    assert list(table)[: len(curves.COLUMNS)] == list(curves.COLUMNS)
    for row, expected in zip(table.to_dict("records"), ROWS, strict=True):
        assert {name: row[name] for name in expected} == expected
    assert list(table["row"]) == [1, 2]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_table(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    _check(curves.read(tmp_path / name))


@pytest.mark.parametrize("kind", FRAMES)
def test_every_frame_gives_the_same_table(kind: str) -> None:
    _check(curves.read(FRAMES[kind]))


def test_frames_of_polars() -> None:
    polars = pytest.importorskip("polars", reason="polars is not installed: its interface is tested without it above")
    _check(curves.read(polars.DataFrame(ROWS)))
    _check(curves.read(polars.DataFrame(ROWS).lazy()))


def test_a_table_read_is_read_again_as_it_is(sweep: Path) -> None:
    table = curves.read(sweep)
    pd.testing.assert_frame_equal(curves.read(table), table)


def test_a_bucket_gives_what_the_disk_gives(sweep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from etils.epath import backend
    from fsspec.implementations.memory import MemoryFileSystem

    class Bucket(MemoryFileSystem):
        protocol, store, pseudo_dirs = "s3", {}, [""]

        @classmethod
        def _strip_protocol(cls, path: Any) -> str:
            return MemoryFileSystem._strip_protocol(str(path).removeprefix("s3://"))

    monkeypatch.setattr(backend.fsspec_backend, "fs", lambda path: Bucket())
    for path in sweep.rglob("*.json*"):
        Bucket().pipe_file(f"s3://bucket/lr/{path.relative_to(sweep)}", path.read_bytes())
    Bucket().pipe_file("s3://bucket/losses.csv.gz", FILES["losses.csv.gz"])
    pd.testing.assert_frame_equal(curves.read("s3://bucket/lr"), curves.read(sweep))
    _check(curves.read("s3://bucket/losses.csv.gz"))
    with pytest.raises(AnalysisError, match="s3://bucket/lost: no such file or directory"):
        curves.read("s3://bucket/lost")


@pytest.mark.parametrize(("kind", "decay_tokens"), [("wsd", 250_000), ("cosine", 950_000), ("constant", 0)])
def test_a_record_keeps_its_schedule_and_unknown_columns(kind: str, decay_tokens: int, tmp_path: Path, truth: Truth) -> None:
    run = fabricate_sweep(tmp_path / "made-up", truth) / f"{0:012x}"
    record = json.loads((run / "run.json").read_text())
    record["identity"] |= {
        "training": {"batch_tokens": 25_000},
        "optimizer": {"learning_rate": 3e-3},
        "schedule": {"kind": kind, "warmup_tokens": 50_000, "decay_fraction": 0.25},
    }
    record["facts"]["active_parameters"] = 5
    (run / "run.json").write_text(json.dumps(record))
    rows = [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]
    (run / "curve.jsonl").write_text("".join(json.dumps({**row, "loss_scale": 7.5}) + "\n" for row in rows))
    row = curves.read(run).iloc[-1]
    expected = {"schedule": kind, "batch_tokens": 25_000, "warmup_tokens": 50_000, "decay_tokens": decay_tokens}
    expected |= {"peak_learning_rate": 3e-3, "active_parameters": 5, "loss_scale": 7.5, "row": 21}
    assert {name: row[name] for name in expected} == expected


def test_the_column_map_names_units_and_joins() -> None:
    foreign = {
        "Task": ["x", "x"],
        "Seed": [1, 2],
        "Size (M)": ["1.5", "2e3"],
        "D": ["2B", "300M"],
        "U": ["40k", "0.1 T"],
        "bpt": [5.0, 4.0],
    }
    columns = {
        "run": "Task+Seed",
        "parameters": ("Size (M)", "millions"),
        "tokens": "D",
        "horizon": ("D", 2),
        "unique_tokens": "U",
        "loss": ("bpt", "bits"),
    }
    table = curves.read(foreign, columns=columns)
    assert list(table["run"]) == ["x / 1", "x / 2"]
    assert list(table["parameters"]) == [1.5e6, 2e9]
    assert list(table["tokens"]) == [2e9, 3e8]
    assert list(table["horizon"]) == [4e9, 6e8]
    assert list(table["unique_tokens"]) == [4e4, 1e11]
    assert table["loss"].to_numpy() == pytest.approx(np.log(2) * np.array([5, 4]))  # 1 bit = ln 2 nats
    assert list(table["Size (M)"]) == ["1.5", "2e3"]


def test_columns_swap_names() -> None:
    table = curves.read({"loss": [3.0], "val": [4.0]}, columns={"loss": "val", "train_loss": "loss"})
    assert (table["loss"].item(), table["train_loss"].item()) == (4.0, 3.0)


def test_facts_of_the_runs_join_their_curves() -> None:
    curve = {"run": ["a", "a", "b"], "step": [10, 20, 20], "loss": [4.0, 3.0, 2.0], "seed": [None, 1, None]}
    facts = [
        {"run": "b", "N (M)": 2.0, "batch_tokens": 50, "seed": 5},
        {"run": "a", "N (M)": 1.0, "batch_tokens": 100, "seed": 4},
    ]
    table = curves.read(curve, facts=facts, columns={"parameters": ("N (M)", 1e6)}, derive=["tokens", "flops"])
    assert list(table["parameters"]) == [1e6, 1e6, 2e6]
    assert list(table["seed"]) == [4, 1, 5]
    assert list(table["tokens"]) == [1000, 2000, 1000]
    assert list(table["flops"]) == [6e9, 12e9, 12e9]
    assert set(table["derived"]) == {"tokens = step x batch_tokens; flops = 6 x parameters x tokens"}
    with pytest.raises(AnalysisError, match="facts: none of its runs is in the curves: 'c' there, 'a' here"):
        curves.read(curve, facts=[{"run": "c", "parameters": 1}])
    with pytest.raises(AnalysisError, match="facts: the run 'b' has more than one row"):
        curves.read(curve, facts=[facts[0], facts[0]])


def test_nothing_is_derived_unasked() -> None:
    table = curves.read({"parameters": [2.0e6], "flops": [6e13], "loss": [3.0]})
    assert table["tokens"].isna().all()
    table = curves.read({"parameters": [2.0e6], "flops": [6e13], "loss": [3.0]}, derive=["tokens"])
    assert table["tokens"].item() == 6e13 / (6 * 2e6)
    assert table["derived"].item() == "tokens = flops / (6 x parameters)"


def test_derived_values_fill_only_what_is_missing() -> None:
    table = curves.read(
        {"parameters": [1e6, 1e6], "tokens": [7e8, None], "flops": [6e15, 6e15], "loss": [3, 3]}, derive=["tokens"]
    )
    assert list(table["tokens"]) == [7e8, 1e9]
    assert list(table["derived"]) == ["", "tokens = flops / (6 x parameters)"]


def test_a_table_whose_step_only_rises_is_one_run(tmp_path: Path) -> None:
    (tmp_path / "cosine.csv").write_text("step,loss\n10,4\n20,3.5\n30,3\n")
    table = curves.read(tmp_path / "cosine.csv")
    assert set(table["run"]) == {"cosine"}
    assert table["derived"].iloc[0].startswith("run = 'cosine': one run")
    for steps in ((30, 20, 30), (20, 20, 30)):
        assert list(curves.read({"step": steps, "loss": [4, 3.5, 3]})["run"]) == ["row 1", "row 2", "row 3"]


def test_a_directory_of_tables_is_a_file_per_run(tmp_path: Path) -> None:
    for name in ("25M/cosine.csv", "25M/wsd.csv", "100M/cosine.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("step,loss\n10,4\n20,3\n")
    table = curves.read(tmp_path)
    assert list(table["run"].unique()) == ["100M/cosine", "25M/cosine", "25M/wsd"]
    assert list(table["row"]) == [1, 2] * 3


def test_options_of_the_command_line() -> None:
    options = ["tokens=D_billion:1e9", "loss=eval/loss", "parameters=N:millions", "run=a:b", "flops = :pf-days"]
    assert curves.parse_columns(options) == {
        "tokens": ("D_billion", "1e9"),
        "loss": "eval/loss",
        "parameters": ("N", "millions"),
        "run": "a:b",
        "flops": ("flops", "pf-days"),
    }
    table = curves.read(
        {"N": [2], "flops": [1], "loss": [1]}, columns=curves.parse_columns(["parameters=N:1e6", "flops=:pf-days"])
    )
    assert table["parameters"].item() == 2e6
    assert table["flops"].item() == 1e15 * 24 * 3600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["tokens"], "--column 'tokens': give it as name=source or name=source:unit"),
        (["=D"], "--column '=D': give it as"),
        (["tokens=D", "tokens=E"], "--column 'tokens=E': 'tokens' is already mapped to 'D'"),
        (["token=D"], "the table has no column 'token'; did you mean 'tokens'?"),
    ],
)
def test_options_that_are_none(options: list[str], message: str) -> None:
    with pytest.raises(AnalysisError) as error:
        curves.parse_columns(options)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("source", "how", "message"),
    [
        (
            {"N": [1], "val_loss": [3]},
            {},
            "no column 'loss'; the nearest present is 'val_loss': map it with columns={'loss': 'val_loss'}",
        ),
        ({"a": [1], "b": [3]}, {}, "no column 'loss', and none like it; it has a, b"),
        (LOSS_3, {"columns": {"tokens": "Tokns"}}, "no column 'Tokns' to make 'tokens' from; it has loss"),
        ({"loss": [3], "Tokens": [1]}, {"columns": {"tokens": "Tokns"}}, "the nearest present is 'Tokens'"),
        (
            {**LOSS_3, "D": [1]},
            {"columns": {"tokens": ("D", "bilions")}},
            "the unit of 'tokens' is 'bilions'; give a positive number or",
        ),
        ({**LOSS_3, "D": [1]}, {"columns": {"tokens": ("D", -1)}}, "the unit of 'tokens' is -1"),
        ({**LOSS_3, "D": [1]}, {"columns": {"tokens": 1e9}}, "'tokens' should be a name or (name, unit), not 1000000000.0"),
        (
            {"loss": [3, 3], "D": ["many", "1B"]},
            {"columns": {"tokens": "D"}},
            "column 'D' should hold numbers; row 1 does not, the first 'many'",
        ),
        ({"loss": ["low"] * 7}, {}, "column 'loss' should hold numbers; rows 1, 2, 3, 4, 5 and 2 more do not, the first 'low'"),
        ({"loss": [-1.0, 0.0]}, {}, "no loss is above 0; rows 1, 2 hold -1, 0"),
        (LOSS_3, {"derive": ["tokens"]}, "tokens cannot be derived: step x batch_tokens or flops / (6 x parameters) needs"),
        (LOSS_3, {"derive": ["token"]}, "the column 'token' cannot be derived; did you mean 'tokens'?"),
        ({"loss": [3], "tokens": [1, 2]}, {}, "not a table"),
        ({"loss": [None, np.nan]}, {}, "the column 'loss' is empty in all 2 rows"),
        ([], {}, "no rows"),
        (pd.DataFrame([[1, 2]], columns=["loss", "loss"]), {}, "the column 'loss' is there twice"),
        ({"loss": [pd.Timestamp(0)]}, {}, "column 'loss' should hold numbers"),
        (7, {}, "cannot read curves from a int; give a path, a data frame or a list of dicts"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(source: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(AnalysisError) as error:
        curves.read(source, **how)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "not a CSV table"),
        ("a.csv", b"loss\n1\n2,3,4\n", "not a CSV table"),
        ("a.parquet", b"loss\n1\n", "not a Parquet table"),
        ("a.jsonl", b'{"loss": 3}\n{"loss"\n', "line 2: damaged row"),
        ("a.jsonl", b"3\n", "each row should be a JSON object"),
        ("a.json", b"[", "damaged JSON"),
        ("a.csv.gz", b"loss\n1\n", "not compressed with gzip, or damaged"),
    ],
)
def test_damaged_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AnalysisError) as error:
        curves.read(tmp_path / name)
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_bytes(CSV)
    with pytest.raises(AnalysisError, match=r"no such file or directory; did you mean 'losses\.csv'\?"):
        curves.read(str(tmp_path / "lossses.csv"))


def test_a_requirement_names_the_nearest_column() -> None:
    table = curves.read({"num_params": [1e6], "tokens": [1e8], "loss": [3.0]})
    curves.require(table, "tokens", "loss")
    with pytest.raises(AnalysisError, match=r"no column 'parameters'; the nearest .* or --column parameters=num_params"):
        curves.require(table, "tokens", "parameters")


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("parameters", "N"),
        ("parameters", "Model Size"),
        ("flops", "Training FLOP"),
        ("tokens", "Seen Examples"),
        ("loss", "openLM_loss"),
    ],
)
def test_names_of_real_data_sets_are_suggested(name: str, spelling: str) -> None:
    from analysis.curves.columns import nearest

    assert nearest(name, ["index", spelling, "model_args", "checkpoint"]) == spelling

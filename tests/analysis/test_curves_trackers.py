"""Curves out of experiment trackers: TensorBoard's event files and what Weights & Biases exports."""

import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.record_writer import RecordWriter

from analysis import curves
from analysis.errors import AnalysisError

MAP = {"loss": "eval/loss", "train_loss": "train/loss"}


def _write(directory: Path, losses: dict[int, float], **how: int) -> None:
    with SummaryWriter(str(directory), **how) as writer:
        for step, loss in losses.items():
            writer.add_scalar("eval/loss", loss, step)
            writer.add_scalar("train/loss", loss / 2, step)
            writer.add_histogram("weights", np.arange(3.0), step)
            writer.add_text("note", "not a number", step)


def _event_file(directory: Path) -> Path:
    (path,) = directory.glob("*tfevents*")
    return path


def test_a_directory_of_event_directories_is_one_of_runs(tmp_path: Path) -> None:
    _write(tmp_path / "small", {0: 4.0, 10: 3.5})
    _write(tmp_path / "large/seed1", {0: 4.0, 10: 3.0, 20: 2.5})
    table = curves.read(tmp_path, columns=MAP, facts=[{"run": "small", "parameters": 1e6}])
    assert list(table["run"]) == ["large/seed1"] * 3 + ["small"] * 2
    assert list(table["step"]) == [0, 10, 20, 0, 10]
    assert list(table["loss"]) == [4.0, 3.0, 2.5, 4.0, 3.5]
    assert list(table["train_loss"]) == [2.0, 1.5, 1.25, 2.0, 1.75]
    assert list(table["parameters"].dropna()) == [1e6, 1e6]
    assert not [name for name in table if name in ("weights", "note")]


def test_one_event_file_and_one_run(tmp_path: Path) -> None:
    _write(tmp_path / "small", {0: 4.0, 10: 3.5})
    assert set(curves.read(tmp_path / "small", columns=MAP)["run"]) == {"small"}
    pd.testing.assert_frame_equal(
        curves.read(_event_file(tmp_path / "small"), columns=MAP), curves.read(tmp_path / "small", columns=MAP)
    )


def test_a_restart_voids_what_came_after_it(tmp_path: Path) -> None:
    """What TensorBoard does with a session that starts at an earlier step (EventAccumulator's purge)."""
    _write(tmp_path / "run", dict.fromkeys((0, 10, 20, 25), 4.0))
    first = _event_file(tmp_path / "run")
    first.rename(first.with_name("events.out.tfevents.1000000000.host"))
    _write(tmp_path / "run", {22: 3.0, 30: 2.0}, purge_step=20)
    table = curves.read(tmp_path, columns=MAP)
    assert table[["step", "loss"]].to_numpy().tolist() == [[0, 4], [10, 4], [22, 3], [30, 2]]


@pytest.mark.parametrize(
    "tensor",
    [
        TensorProto(dtype=1, float_val=[2.5]),
        TensorProto(dtype=1, tensor_content=struct.pack("<f", 2.5)),
        TensorProto(dtype=2, tensor_content=struct.pack("<d", 2.5)),
    ],
    ids=["value", "bytes", "double"],
)
def test_scalars_of_tensorflow_2_are_tensors(tensor: TensorProto, tmp_path: Path) -> None:
    writer = RecordWriter(str(tmp_path / "events.out.tfevents.1.host.v2"))
    vector = TensorProto(dtype=1, float_val=[1, 2])
    values = [Summary.Value(tag="loss", tensor=tensor), Summary.Value(tag="vector", tensor=vector)]
    writer.write(Event(step=3, summary=Summary(value=values)).SerializeToString())
    writer.close()
    table = curves.read(tmp_path)
    assert table[["step", "loss"]].to_numpy().tolist() == [[3, 2.5]]
    assert "vector" not in table


def test_a_torn_end_is_skipped_and_damage_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "run", {0: 4.0, 10: 3.5})
    path = _event_file(tmp_path / "run")
    content = path.read_bytes()
    for cut in (3, len(content) // 2):
        path.write_bytes(content[:-cut])
        assert len(curves.read(tmp_path, columns=MAP)) in (1, 2)
    path.write_bytes(b"loss,tokens" + content)
    with pytest.raises(AnalysisError, match="damaged at byte 0, or not an event file"):
        curves.read(tmp_path, columns=MAP)
    path.write_bytes(b"")
    with pytest.raises(AnalysisError, match="the event files hold no scalar"):
        curves.read(tmp_path)


def test_a_tag_that_is_not_there(tmp_path: Path) -> None:
    _write(tmp_path / "run", {0: 4.0})
    with pytest.raises(AnalysisError, match="no column 'loss'; the nearest present is 'eval/loss'"):
        curves.read(tmp_path)


CHART = """"Step","brisk - pond-1 - eval/loss","brisk - pond-1 - eval/loss__MIN","brisk - pond-1 - eval/loss__MAX",\
"sun-2 - eval/loss","sun-2 - eval/loss__MIN","sun-2 - eval/loss__MAX"
"0","4.5","4.5","4.5","4","4","4"
"50","3.5","3.5","3.5","",""
"100","","","","3","2.5","3.5"
"""


def test_a_chart_of_weights_and_biases(tmp_path: Path) -> None:
    (tmp_path / "wandb_export.csv").write_text(CHART)
    table = curves.read(tmp_path / "wandb_export.csv", columns={"loss": "eval/loss"})
    rows = table[["run", "row", "step", "loss"]].to_numpy().tolist()
    assert rows == [["brisk - pond-1", 1, 0, 4.5], ["brisk - pond-1", 2, 50, 3.5], ["sun-2", 1, 0, 4.0], ["sun-2", 3, 100, 3.0]]
    assert table["eval/loss__MIN"].iloc[-1] == 2.5  # kept where the value is an average of several
    assert "W&B's count of log calls" in table["derived"].iloc[0]


def test_a_directory_of_charts(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(CHART)
    (tmp_path / "more.csv").write_text(CHART.replace("sun-2", "rain-3"))
    table = curves.read(tmp_path, columns={"loss": "eval/loss"})
    assert set(table["run"]) == {"brisk - pond-1", "sun-2", "rain-3"}


def test_a_chart_over_another_axis_than_the_step(tmp_path: Path) -> None:
    header = "tokens,a - _step,a - _step__MIN,a - _step__MAX,a - loss,a - loss__MIN,a - loss__MAX\n"
    (tmp_path / "chart.csv").write_text(header + "1000,5,5,5,3,3,3\n")
    row = curves.read(tmp_path / "chart.csv").iloc[0]
    assert (row["run"], row["tokens"], row["step"], row["loss"]) == ("a", 1000, 5, 3)


def test_histories_of_weights_and_biases_are_a_file_per_run(tmp_path: Path) -> None:
    rows = [
        {"_step": 0, "_runtime": 1.0, "_timestamp": 1.7e9, "train/loss": 4.2, "train/tokens": 1e6},
        {"_step": 1, "_runtime": 2.0, "_timestamp": 1.7e9, "eval/loss": 4.0, "train/tokens": 1e6},
        {"_step": 2, "_runtime": 3.0, "_timestamp": 1.7e9, "system/gpu": 90.0},
    ]
    pd.DataFrame(rows).to_parquet(tmp_path / "a1b2c3.parquet")
    rows[1]["eval/loss"] = 3.9
    pd.DataFrame(rows).to_json(tmp_path / "d4e5f6.jsonl", orient="records", lines=True)
    table = curves.read(tmp_path, columns={**MAP, "tokens": "train/tokens"})
    assert list(table["run"].unique()) == ["a1b2c3", "d4e5f6"]
    assert list(table["step"]) == [0, 1, 2] * 2
    assert list(table["loss"].dropna()) == [4.0, 3.9]
    points = curves.final_points(table)
    assert list(points["loss"]) == [4.0, 3.9]
    assert list(points["excluded"]) == ["", ""]


def test_the_table_of_runs_of_weights_and_biases() -> None:
    runs = {
        "Name": ["sun-1", "sun-2", "sun-3"],
        "State": ["finished", "crashed", "running"],
        "config.n_params": [1e6, 1e6, 2e6],
        "eval/loss": [3.0, 2.9, 2.8],
    }
    columns = {"run": "Name", "state": "State", "parameters": "config.n_params", "loss": "eval/loss"}
    points = curves.final_points(curves.read(runs, columns=columns))
    assert list(points["excluded"]) == ["", "failed", "unfinished (running): last evaluated at row 3"]

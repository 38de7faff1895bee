"""The data sets that others published, each read with nothing but a column map."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis import curves

DataSet = Callable[[str], Path]


def test_epoch_reconstruction_of_chinchilla(data_set: DataSet, epoch_points: pd.DataFrame) -> None:
    columns = {"parameters": "Model Size", "flops": "Training FLOP"}
    table = curves.read(data_set("epoch_chinchilla/svg_extracted_data.csv"), columns=columns, derive=["tokens"])
    points = curves.final_points(table)
    assert len(points) == 245
    assert (points["excluded"] == "").all()
    kept = points[points["loss"] < points["loss"].nlargest(5).min()]
    for name in ("parameters", "tokens", "loss"):
        assert kept[name].to_numpy() == pytest.approx(epoch_points[name].to_numpy(), rel=1e-15)
    assert set(curves.flags(table)["kind"]) == {"derived", "near-duplicate"}


def test_datablations(data_set: DataSet) -> None:
    columns = {
        "run": "index",
        "loss": "openLM_loss",
        "parameters": "num_params",
        "tokens": "token_num",
        "unique_tokens": "tokens_per_epoch",
    }
    table = curves.read(data_set("datablations/datablations_contour_losses.csv"), columns=columns)
    points = curves.final_points(table)
    assert len(points) == 229
    first = points.iloc[0]
    assert (first["parameters"], first["tokens"], first["unique_tokens"], first["loss"]) == (2.81e9, 4e9, 1.5e9, 3.265024)
    assert first["epochs"] == 1.0


def test_datablations_curves_under_one_name_are_noticed(data_set: DataSet) -> None:
    """Sizes such as `2.8B` are read; the checkpoint's address names several runs, which the flags tell."""
    columns = {"parameters": "num_params", "tokens": "token_num", "unique_tokens": "tokens_per_epoch"}
    path = data_set("datablations/datablations_losses.csv")
    table = curves.read(path, columns={"run": "checkpoint", **columns})
    assert len(table) == 9261
    assert table["parameters"].min() == 2.8e9
    found = curves.flags(table)
    repeated = found[found["reason"].str.contains("two runs of one name")]
    assert len(repeated) == table["run"].nunique() == 6
    apart = curves.flags(curves.read(path, columns={"run": "checkpoint+epochs+model_args", **columns}))
    assert not apart["reason"].str.contains("two runs of one name").any()


def test_multi_power_law_curves(data_set: DataSet) -> None:
    facts = [{"run": f"{size}/cosine_24000", "parameters": size * 1e6} for size in (25, 100, 400)]
    table = curves.read(data_set("multipowerlaw"), columns={"learning_rate": "lr"}, facts=facts)
    assert table["run"].nunique() == 27
    assert set(table["parameters"].dropna()) == {25e6, 100e6, 400e6}
    found = curves.flags(table)
    decayed = set(found.loc[found["kind"] == "mid-decay", "run"])
    assert {run for run in table["run"] if "constant" not in run} == decayed
    single = curves.read(data_set("multipowerlaw/25/cosine_24000.csv"), columns={"learning_rate": "lr"})
    assert set(single["run"]) == {"cosine_24000"}


def test_routed_language_models(data_set: DataSet) -> None:
    columns = {
        "run": "hyper_id",
        "loss": "loss_validation",
        "parameters": "total_parameter_count",
        "active_parameters": "dense_parameter_count",
    }
    table = curves.read(data_set("deepmind_routing/curves.csv.gz"), columns=columns)
    assert len(table) == 5799
    assert table["run"].iloc[0] == "0"
    points = curves.final_points(table)
    assert (points["parameters"] >= points["active_parameters"]).all()
    assert (points["step"] == points["run"].map(table.groupby("run")["step"].max())).all()


@pytest.mark.parametrize(("name", "runs", "rows"), [("lang", 20, 1399), ("vision", 72, 18883)])
def test_extrapolation_benchmark(name: str, runs: int, rows: int, data_set: DataSet) -> None:
    columns = {"run": "Domain+Task+Model", "tokens": "Seen Examples", "loss": "Loss"}
    table = curves.read(data_set(f"alabdulmohsin_benchmark/benchmark.{name}.csv"), columns=columns)
    assert (len(table), table["run"].nunique()) == (rows, runs)
    assert set(table["Training"]) == {0, 1}
    repeated = curves.flags(table).query("kind == 'duplicate'")["run"]
    assert all(run.startswith("LM") for run in repeated)
    assert len(repeated) == (5 if name == "lang" else 0)

"""Published data sets that the benchmarks read where they lie; nothing of them is part of the project.

They are looked for in `../shared/data` beside the repository, or in the directory SCALING_LAB_DATA names. Every function
returns points (`parameters`, `tokens`, `loss`) or curves (`curve`, `examples`, `loss`), and raises FileNotFoundError where its
data set is absent.
"""

import os
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("SCALING_LAB_DATA", Path(__file__).resolve().parents[1] / "../shared/data"))
CURVE_POINTS = 60  # of a logged curve that are kept, evenly in the logarithm of the step


def epoch() -> pd.DataFrame:
    """Hoffmann et al. 2022, figure 4, as Besiroglu et al. 2024 read and trimmed it."""
    table = pd.read_csv(DATA / "epoch_chinchilla/svg_extracted_data.csv")
    table = table[table["loss"] < table["loss"].nlargest(5).min()]
    size, flops = table["Model Size"], table["Training FLOP"]
    return pd.DataFrame({"parameters": size, "tokens": flops / (6 * size), "loss": table["loss"]})


def datablations() -> pd.DataFrame:
    """Muennighoff et al. 2023: final losses on C4 after up to four epochs, which cost next to nothing there."""
    table = pd.read_csv(DATA / "datablations/datablations_contour_losses.csv")
    table = table[(table["data"] == "c4") & (table["epochs"] <= 4)]
    points = table[["num_params", "token_num", "openLM_loss"]].set_axis(["parameters", "tokens", "loss"], axis=1)
    return points.assign(unique_tokens=table["token_num"] / table["epochs"]).dropna()


def routing() -> pd.DataFrame:
    """Dense models of Clark et al. 2022: validation loss from step 20,000 on, 256 sequences of 2,048 tokens a step.

    Their points are mid-run, with no decay to the step they are read at, and so an adverse case.
    """
    table = pd.read_csv(DATA / "deepmind_routing/curves.csv.gz")
    table = table[(table["router_type"] == "Dense") & (table["step"] >= 20_000)]
    size, tokens = table["dense_parameter_count"], table["step"] * 256 * 2048.0
    points = pd.DataFrame({"parameters": size, "tokens": tokens, "loss": table["loss_validation"]}).dropna()
    return points.drop_duplicates(["parameters", "tokens"])


def routing_curves() -> pd.DataFrame:
    """A few models of Clark et al. 2022 as curves: validation loss against steps."""
    table = pd.read_csv(DATA / "deepmind_routing/curves.csv.gz")
    table = table[(table["step"] > 0) & table["loss_validation"].notna()]
    curves = pd.DataFrame({"curve": table["hyper_id"], "examples": table["step"] * 1.0, "loss": table["loss_validation"]})
    long = curves.groupby("curve").filter(lambda curve: len(curve) >= 16)
    return long[long["curve"].isin(sorted(long["curve"].unique())[::24])].drop_duplicates(["curve", "examples"])


def multipowerlaw() -> pd.DataFrame:
    """Training losses of Luo et al. 2025 at a constant rate, against steps."""
    found = sorted((DATA / "multipowerlaw").glob("*/constant_*.csv"))
    if not found:
        raise FileNotFoundError(2, "no such directory", str(DATA / "multipowerlaw"))
    return pd.concat([_thinned(pd.read_csv(path), "step", f"{path.parent.name}M {path.stem}") for path in found])


def datablations_curves() -> pd.DataFrame:
    """Training-loss curves of Muennighoff et al. 2023, against tokens: some of the runs with 40 points or more."""
    table = pd.read_csv(DATA / "datablations/datablations_losses.csv")
    runs = [run for run, rows in table.groupby("checkpoint") if len(rows) >= 40][::6]
    return pd.concat([_thinned(table[table["checkpoint"] == run].sort_values("token_num"), "token_num", run) for run in runs])


def alabdulmohsin() -> pd.DataFrame:
    """The learning-curve benchmark of Alabdulmohsin et al. 2022: also `domain` and `training` (1 to fit on, 0 to predict)."""
    directory = DATA / "alabdulmohsin_benchmark"
    table = pd.concat([pd.read_csv(directory / f"benchmark.{part}.csv") for part in ("vision", "lang")], ignore_index=True)
    names = table[["Domain", "Task", "Model"]].agg(" ".join, axis=1)
    columns = {"Domain": "domain", "Seen Examples": "examples", "Loss": "loss", "Training": "training"}
    return table[list(columns)].rename(columns=columns).assign(curve=names)


def _thinned(table: pd.DataFrame, examples: str, name: str) -> pd.DataFrame:
    kept = np.unique(np.geomspace(1, len(table), CURVE_POINTS).astype(int)) - 1
    rows = table.iloc[kept]
    return pd.DataFrame({"curve": name, "examples": rows[examples].astype(float), "loss": rows["loss"]})

"""The tidy table of curves: its columns with their types and units, and the words for a column that is not there."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.errors import AnalysisError


class Column(NamedTuple):
    """One column: `kind` is `str` (missing: ""), `float` (missing: NaN) or `int`; `elsewhere` are other trainers' names of it.

    The other names are only ever suggested in an error: no column is taken for another without being told.
    """

    kind: type
    unit: str
    meaning: str
    elsewhere: tuple[str, ...] = ()


COLUMNS = {
    "run": Column(str, "", "identifier of the run", ("run_id", "run_name", "name", "id", "model", "hyper_id")),
    "role": Column(str, "", "`fit`, or `holdout` for a run kept out of the fit"),
    "baseline": Column(str, "", "what is drawn beside trained networks and kept out of their fit, such as `3-gram`"),
    "state": Column(str, "", "planned, running, saved, done, diverged or failed", ("status",)),
    "reason": Column(str, "", "one line on how the run ended"),
    "evaluation": Column(str, "", "name of the evaluation set of `loss`", ("eval_set", "dataset", "split")),
    "schedule": Column(str, "", "shape of the learning rate over the run: cosine, wsd, constant ...", ("lr_schedule",)),
    "derived": Column(str, "", "how columns of this row were computed that its source did not hold, `; ` between them"),
    "row": Column(int, "", "row of its source that this row is, from 1; 0 for a run that has logged nothing"),
    "seed": Column(float, "", "random seed of the run", ("random_seed",)),
    "step": Column(float, "", "updates done at this row", ("_step", "global_step", "iteration", "iter", "train/global_step")),
    "steps": Column(float, "", "updates planned", ("max_steps", "total_steps", "num_steps")),
    "tokens": Column(
        float,
        "tokens",
        "training tokens seen at this row",
        ("D", "n_tokens", "num_tokens", "token_num", "training_tokens", "tokens_seen", "seen_tokens", "Seen Examples"),
    ),
    "horizon": Column(float, "tokens", "training tokens planned for the whole run", ("max_tokens", "total_tokens")),
    "unique_tokens": Column(float, "tokens", "distinct training tokens at the end of the run", ("U", "tokens_per_epoch")),
    "epochs": Column(float, "", "passes over the unique tokens at this row", ("epoch",)),
    "batch_tokens": Column(float, "tokens", "tokens of one update", ("batch_size_tokens", "tokens_per_batch")),
    "warmup_tokens": Column(float, "tokens", "tokens over which the learning rate rises to its peak"),
    "decay_tokens": Column(
        float, "tokens", "tokens before the horizon over which the learning rate falls; 0 where it does not"
    ),
    "parameters": Column(
        float,
        "",
        "all parameters",
        ("N", "params", "num_params", "n_params", "model_size", "total_parameter_count", "parameter_count"),
    ),
    "active_parameters": Column(float, "", "those that one token uses", ("active_params",)),
    "non_embedding_parameters": Column(
        float, "", "without embeddings and without an untied output head", ("non_embedding_params", "params_non_emb")
    ),
    "non_embedding_and_head_parameters": Column(float, "", "the former and the output head's matrix"),
    "flops": Column(
        float,
        "FLOPs",
        "model FLOPs spent at this row, in the convention of the trainer",
        ("C", "flop", "compute", "training_flop", "training_flops", "total_flops"),
    ),
    "flops_6nd": Column(float, "FLOPs", "6 x non_embedding_and_head_parameters x tokens at this row"),
    "train_loss": Column(float, "nats per token", "cross entropy of the step's batch", ("train/loss", "training_loss")),
    "loss": Column(
        float,
        "nats per token",
        "held-out cross entropy; missing where it was not evaluated",
        ("eval/loss", "val_loss", "valid_loss", "validation_loss", "eval_loss", "final_loss", "test_loss", "L"),
    ),
    "entropy": Column(float, "nats per token", "of the data's source, where it is known exactly: no expected loss is below it"),
    "source_loss": Column(float, "nats per token", "what the data's source loses on the held-out tokens, where known"),
    "bits_per_byte": Column(float, "bits", "held-out cross entropy per UTF-8 byte", ("bpb", "val_bpb")),
    "learning_rate": Column(float, "", "of this step", ("lr", "train/lr", "train/learning_rate")),
    "peak_learning_rate": Column(float, "", "the highest of the run", ("max_lr", "peak_lr", "base_lr")),
    "gradient_norm": Column(float, "", "global norm before clipping", ("grad_norm", "train/grad_norm")),
    "gradient_noise_scale": Column(float, "", "as the trainer estimates it (McCandlish et al. 2018, arXiv 1812.06162)"),
    "skipped_updates": Column(float, "", "updates that the trainer left out"),
    "seconds": Column(float, "s", "wall time since the row before"),
}
"""Columns in the order of the table.

Whatever else the source holds is kept after them under its own name and type; a sweep's axes are `label.<axis>`.
"""

TEXT = tuple(name for name, column in COLUMNS.items() if column.kind is str)
PARAMETERS = (
    "non_embedding_and_head_parameters",
    "parameters",
    "non_embedding_parameters",
)
"""The conventions of counting a dense model, in the order in which 6ND takes the first that is there."""

STATES = {"finished": "done", "completed": "done", "success": "done", "crashed": "failed", "killed": "failed"}
"""Other trackers' words for how a run ended."""

_COUNT = re.compile(r"\s*([-+]?[\d.]+(?:[eE][-+]?\d+)?)\s*([kKMBT]?)\s*")
_SUFFIX = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def tidy(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with every column of `COLUMNS`, typed and in order; `run` and `row` must be there.

    Counts written as `2.8B` are read as what they say.

    Raises:
        AnalysisError: a numeric column that holds something else, with its rows.
    """
    extra = [name for name in table if name not in COLUMNS]
    table = table.reindex(columns=[*COLUMNS, *extra])
    typed = {}
    for name, column in COLUMNS.items():
        if column.kind is str:
            typed[name] = words(table[name])
        else:
            values = numbers(table[name], name, source, table["row"])
            typed[name] = values.astype("int64") if column.kind is int else values
    typed["role"] = typed["role"].replace("", "fit")
    typed["state"] = typed["state"].str.lower().replace({"": "done", **STATES})
    return table.assign(**typed)


def words(values: pd.Series) -> pd.Series:
    """A text column: whole numbers without a decimal point, "" where nothing is."""
    if values.isna().all():
        return pd.Series("", index=values.index, dtype="str")
    if values.dtype.kind == "f" and ((values.dropna() % 1 == 0) & (values.dropna().abs() < 2**53)).all():
        values = values.astype("Int64")
    return values.astype("str").where(values.notna(), "").str.strip()


def numbers(values: pd.Series, name: str, source: str, rows: pd.Series) -> pd.Series:
    """A numeric column as float64; an `AnalysisError` that lists the rows that hold something else."""
    if values.dtype.kind in "biuf":
        return values.astype("float64")
    found = [_number(value) for value in values]
    bad = [number is None for number in found]
    if any(bad):
        first = next(value for value, wrong in zip(values, bad, strict=True) if wrong)
        raise AnalysisError(f"{source}: column {name!r} should hold numbers; {_rows(rows[bad])} not, the first {str(first)!r}")
    return pd.Series(found, index=values.index, dtype="float64")


def _number(value: Any) -> float | None:
    if value is None or value is pd.NA:
        return np.nan
    if not isinstance(value, str):
        try:
            return float(value)
        except (TypeError, ValueError):
            return None
    match = _COUNT.fullmatch(value)
    try:
        return float(match[1]) * _SUFFIX[match[2]] if match else float(value or "nan")
    except ValueError:
        return None


def _rows(rows: Iterable[int]) -> str:
    listed = list(rows)
    return f"row{'s' * (len(listed) > 1)} {some(listed)} {'do' if len(listed) > 1 else 'does'}"


def some(items: Sequence[Any], shown: int = 5) -> str:
    """The first few of a list in words, and how many more there are."""
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in items[:shown]) + more


def require(table: pd.DataFrame, *names: str, source: str = "the table") -> None:
    """Make sure that columns are there and hold something.

    Raises:
        AnalysisError: the first that does not, with the nearest one present and how to map it.
    """
    for name in names:
        if name not in table or table[name].isna().all() or (table[name] == "").all():
            raise AnalysisError(f"{source}: {missing(name, filled(table))}")


def filled(table: pd.DataFrame) -> list[str]:
    """The columns that came from the source and hold something."""
    own = ("run", "role", "state", "derived", "row")
    return [str(name) for name in table if name not in own and table[name].notna().any() and not (table[name] == "").all()]


def missing(name: str, present: Sequence[str]) -> str:
    """The words for a column that is not among those present: the nearest that is, and how to map it."""
    near = nearest(name, present)
    if not near:
        return f"no column {name!r}, and none like it; it has {some(present, 12) or 'no columns'}"
    how = f"columns={{{name!r}: {near!r}}} or --column {name}={near}"
    return f"no column {name!r}; the nearest present is {near!r}: map it with {how}"


def nearest(name: str, present: Iterable[str]) -> str | None:
    """The column present that most likely is meant by a name: by the names of other trainers, then by spelling."""
    plain = {_plain(each): each for each in reversed(list(present))}
    known = (name, *(COLUMNS[name].elsewhere if name in COLUMNS else ()))
    for spelling in map(_plain, known):
        if spelling in plain:
            return plain[spelling]
    for spelling in map(_plain, known):
        if close := get_close_matches(spelling, plain, n=1, cutoff=0.75):
            return plain[close[0]]
    holding = [
        each for spelling, each in plain.items() if len(spelling) > 2 and (_plain(name) in spelling or spelling in _plain(name))
    ]
    return holding[-1] if holding else None


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())

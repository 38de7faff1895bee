"""Fits, allocations and forecasts as tables for the terminal: every number with its interval."""

from textwrap import shorten
from typing import Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from analysis.checks import Finding
from analysis.design import Design
from analysis.disagreement import EXPONENTS, Disagreement
from analysis.results import Fit, Forecast

QUANTITIES = {"parameters": "N*", "tokens": "D*", "tokens_per_parameter": "D*/N*", "loss": "loss"}


def fit_table(fit: Fit) -> Table:
    """The law's parameters with intervals."""
    counted = f"\nN counts {fit.columns['parameters']}" if "parameters" in fit.columns else ""
    table = _table(f"{fit.form.formula}{counted}", ("parameter",), ("estimate", _level(fit.level)))
    for name, each in {**fit.estimates, "noise of log loss": fit.noise}.items():
        table.add_row(name, f"{each.value:.6g}", f"{each.low:.4g} to {each.high:.4g}")
    return table


def fit_lines(fit: Fit) -> list[str]:
    """What was fitted and how well the optimum is known, a sentence each."""
    solver, origin, extrapolation = fit.solver, fit.origin, fit.extrapolation
    lines = [
        f"{len(origin.runs)} runs fitted, {len(origin.excluded)} left out; {fit.objective}; C = {fit.size_convention}",
        f"objective {solver.objective:.9g}, {solver.share_of_starts:.0%} of the starts reached it, "
        f"largest gradient {solver.largest_gradient:.1e}, condition number {solver.condition_number:.1e}",
        f"intervals: {fit.interval_method}; law error of predictions {100 * extrapolation.law_error:.2g} % per factor e of "
        f"compute beyond the data, after {len(extrapolation.errors)} rollout errors within them",
    ]
    if not solver.converged:
        lines.append("WARNING: the solver did not converge; do not use these numbers")
    if solver.at_bound:
        lines.append(f"WARNING: at the bound of the search: {', '.join(solver.at_bound)}; the data do not determine it")
    return lines


def allocation_table(allocation: pd.DataFrame, level: float) -> Table:
    """Compute-optimal parameters and tokens at budgets, from `allocation.compute_optimal`."""
    table = _table("compute-optimal", ("FLOPs", "beyond data", ""), ("estimate", _level(level)))
    for row in allocation.to_dict("records"):
        heads = (f"{row['budget']:.1e}", f"{row['extrapolation']:.3g} x")
        for name, symbol in QUANTITIES.items():
            interval = f"{row[f'{name}_low']:.4g} to {row[f'{name}_high']:.4g}"
            table.add_row(*heads, symbol, f"{row[name]:.4g}", interval)
            heads = ("", "")
    return table


def over_training_table(table: pd.DataFrame, level: float) -> Table:
    """What models trained longer than is compute-optimal cost, from `trade_offs.over_training`."""
    shown = _table("trained on M tokens per parameter", ("FLOPs", "M", "N", ""), ("estimate", _level(level)))
    for row in table.to_dict("records"):
        heads = (f"{row['budget']:.3g}", f"{row['tokens_per_parameter']:.4g}", f"{row['parameters']:.3g}")
        for name, words in (("loss", "loss"), ("excess", "loss / optimal"), ("overhead", "compute / optimal")):
            shown.add_row(*heads, words, *_numbers(row, name))
            heads = ("", "", "")
    return shown


def inference_table(table: pd.DataFrame, level: float) -> Table:
    """The cheapest way to train to a loss and serve tokens, from `trade_offs.inference_aware`."""
    shown = _table("cheapest for the loss, served tokens counted", ("served", ""), ("estimate", _level(level)))
    for row in table.to_dict("records"):
        head = f"{row['served']:.3g}"
        for name, words in (("parameters", "N"), ("tokens", "D"), ("flops", "FLOPs in all"), ("saving", "saving, factor")):
            shown.add_row(head, words, *_numbers(row, name))
            head = ""
    return shown


def iso_loss_table(table: pd.DataFrame, level: float) -> Table:
    """Sizes that reach one loss, from `trade_offs.iso_loss`."""
    shown = _table("all that reach the loss", ("N",), ("tokens", _level(level), "FLOPs", _level(level)))
    for row in table.to_dict("records"):
        shown.add_row(f"{row['parameters']:.3g}", *_numbers(row, "tokens"), *_numbers(row, "flops"))
    return shown


def prediction_table(fit: Fit, predicted: pd.DataFrame) -> Table:
    """What runs will measure, from `prediction.predict` beside the places it was asked at."""
    columns = [fit.columns[name] for name in fit.form.variables]
    interval = _level(fit.level)
    shown = _table("", (*fit.form.variables, "beyond data"), (fit.form.target, interval, "if the law holds"))
    for row in predicted.to_dict("records"):
        places = (f"{row[name]:.3g}" for name in columns)
        statistical = f"{row['statistical_low']:.4g} to {row['statistical_high']:.4g}"
        shown.add_row(*places, f"{row['extrapolation']:.3g} x", *_numbers(row, "value", ""), statistical)
    return shown


def convention_line(fit: Fit) -> str:
    """What the numbers of a fit count, and where their intervals come from."""
    counted = f"N counts {fit.columns['parameters']}; " if "parameters" in fit.columns else ""
    error = f"beyond the data a law error of {100 * fit.extrapolation.law_error:.2g} % per factor e of {fit.form.size[0]}"
    return f"{counted}{fit.form.size[0]} = {fit.size_convention}; {len(fit.origin.runs)} runs; {fit.interval_method}; {error}"


def design_table(design: Design) -> Table:
    """The next runs, and the interval of the answer expected once each is in."""
    title = f"next runs for: {design.question}"
    shown = _table(title, ("",), ("N", "D", "seed", "FLOPs", f"expected {_level(design.level)}"))
    low, high = design.before
    shown.add_row("now", "", "", "", "", f"{low:.5g} to {high:.5g}")
    for number, row in enumerate(design.runs.to_dict("records"), start=1):
        numbers = (f"{row['parameters']:.3g}", f"{row['tokens']:.3g}", f"{row['seed']:.0f}", f"{row['flops']:.2e}")
        shown.add_row(f"{number}", *numbers, f"{row['low']:.5g} to {row['high']:.5g}")
    return shown


def findings_table(findings: list[Finding]) -> Table:
    """What `checks.find` found, each with what to do."""
    colours = {"serious": "red", "warning": "yellow", "note": "dim"}
    shown = _table("findings" if findings else "nothing found", ("",), ())
    shown.add_column("finding, and what to do")
    for each in findings:
        shown.add_row(f"[{colours[each.severity]}]{each.severity}[/]", Text(f"{each.text} ").append(each.advice, "italic"))
    return shown


def laws_table(scored: pd.DataFrame, level: float) -> Table:
    """Laws by their rollouts, from `selection.compare`: errors in per cent of the target."""
    tested = scored[scored["refused"] == ""]
    cutoffs = int(tested["cutoffs"].max()) if len(tested) else 0
    heads = ("score", "near", "far", "bias", "held", "with law error")
    shown = _table(f"errors beyond {cutoffs} cut-offs, %; what {level:.0%} intervals held", ("law", "window"), heads)
    for row in tested.to_dict("records"):
        errors = ("–" if pd.isna(row[name]) else f"{100 * row[name]:.2f}" for name in ("score", "near", "far"))
        held = (f"{row[name]:.0%}" for name in ("coverage", "covered"))
        shown.add_row(row["law"][:24], _window(row["window"]), *errors, f"{100 * row['bias']:+.2f}", *held)
    return shown


def multiplier_table(table: pd.DataFrame, level: float) -> Table:
    """What a recipe is worth in compute, from `multipliers.compute_multiplier`."""
    heads = ("loss", _level(level), "multiplier", _level(level))
    shown = _table("compute the baseline needs for the same loss, over the recipe's", ("FLOPs", "beyond data"), heads)
    for row in table.to_dict("records"):
        beyond = f"{row['extrapolation']:.3g} x, {row['baseline_extrapolation']:.3g} x"
        shown.add_row(f"{row['budget']:.3g}", beyond, *_numbers(row, "loss"), *_numbers(row, "multiplier"))
    return shown


def disagreement_table(found: Disagreement, level: float) -> Table:
    """Every procedure's answer, side by side."""
    shown = _table("procedures side by side", ("", "procedure"), ("answer", _level(level)))
    words = {**EXPONENTS, **QUANTITIES}
    for (quantity, budget), group in found.table.groupby(["quantity", "budget"], sort=False, dropna=False):
        head = words[quantity] + _at(budget)
        for row in group.to_dict("records"):
            shown.add_row(head, row["procedure"], *_numbers(row, "value", ""))
            head = ""
    return shown


def verdict_lines(found: Disagreement) -> list[str]:
    """Where procedures disagree, and why some gave no answer."""
    words = {**EXPONENTS, **QUANTITIES}
    lines = [
        f"{words[row['quantity']]}{_at(row['budget'])}: {row['verdict']}"
        for row in found.verdicts.to_dict("records")
        if not row["agree"]
    ]
    refused = [f"no answer: {name}: {shorten(reason, 240, placeholder=' …')}" for name, reason in found.refused.items()]
    return [*(lines or ["the procedures that answer agree"]), *refused]


def refused_lines(scored: pd.DataFrame, lacking: dict[str, list[str]]) -> list[str]:
    """Why laws were not tested: those refused, a line per reason, and those whose columns are not there."""
    refused = scored[scored["refused"] != ""].drop_duplicates(["law", "refused"])
    lines = [f"not tested: {', '.join(names)}: {reason}" for reason, names in refused.groupby("refused", sort=False)["law"]]
    if lacking:
        needs = ", ".join(f"{name} ({columns[0]})" for name, columns in lacking.items())
        lines.append(f"no columns for the laws: {needs}")
    return lines


def forecast_table(forecast: Forecast) -> Table:
    """Predicted losses of runs that do not exist yet."""
    title = f"forecast of {forecast.created}, from {len(forecast.origin.runs)} runs"
    table = _table(title, ("run",), ("N", "D", "beyond data", "loss", _level(forecast.level)))
    for each in forecast.predictions:
        numbers = (f"{each.parameters:.3g}", f"{each.tokens:.3g}", f"{each.extrapolation:.2f} x", f"{each.loss:.4f}")
        table.add_row(each.run, *numbers, f"{each.low:.4f} to {each.high:.4f}")
    return table


def comparison_table(forecast: Forecast, compared: pd.DataFrame) -> Table:
    """Measured losses beside what was forecast, from `results.compare_forecast`."""
    table = _table("forecast against measured", ("run",), ("forecast", _level(forecast.level), "measured", "error"))
    table.add_column("verdict", no_wrap=True)
    for row in compared.to_dict("records"):
        forecast_cells = (f"{row['loss']:.4f}", f"{row['low']:.4f} to {row['high']:.4f}")
        if row["note"]:
            table.add_row(row["run"], *forecast_cells, "", "", row["note"])
            continue
        verdict = "[green]inside[/]" if row["inside"] else "[red]MISSED[/]"
        table.add_row(row["run"], *forecast_cells, f"{row['measured']:.4f}", f"{row['error_percent']:+.2f} %", verdict)
    return table


def quality_table(flags: pd.DataFrame, shown: int = 3) -> Table:
    """What is odd about the curves, from `curves.flags`: the first few of each kind, and how many more there are."""
    excluded = (flags["severity"] == "excluded").sum()
    table = _table(f"{excluded} excluded, {len(flags) - excluded} notes", ("",), ())
    for name in ("flag", "run"):
        table.add_column(name, no_wrap=True)
    table.add_column("row", justify="right")
    table.add_column("reason")
    for (severity, kind), group in flags.groupby(["severity", "kind"], sort=False):
        for run, row, reason in group[["run", "row", "reason"]].head(shown).itertuples(index=False):
            name = run if len(run) <= 20 else f"…{run[-19:]}"
            table.add_row(severity, kind, name or "all", f"{row or ''}", reason)
            severity = kind = ""
        if len(group) > shown:
            table.add_row("", "", f"and {len(group) - shown} more")
    return table


def _at(budget: float) -> str:
    return "" if pd.isna(budget) else f" at {budget:.2g} FLOPs"


def _window(window: float) -> str:
    return "all" if window == float("inf") else f"{window:g} x"


def _numbers(row: dict[str, Any], name: str, prefix: str | None = None) -> tuple[str, str]:
    """A number and its interval, from the columns of that name and `_low` and `_high`."""
    start = f"{name}_" if prefix is None else prefix
    return f"{row[name]:.4g}", f"{row[f'{start}low']:.4g} to {row[f'{start}high']:.4g}"


def _level(level: float) -> str:
    return f"{level:.0%} interval"


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table

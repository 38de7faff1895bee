"""Fits, allocations and forecasts as tables for the terminal: every number with its interval."""

import pandas as pd
from rich.table import Table

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


def _level(level: float) -> str:
    return f"{level:.0%} interval"


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in words:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", overflow="fold")
    return table

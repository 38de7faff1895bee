"""Columns that follow from others: computed only when asked for, and said so in the column `derived`."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from typing import NamedTuple

import pandas as pd

from analysis.curves.columns import PARAMETERS
from analysis.errors import AnalysisError

COUNTED = ("active_parameters", *PARAMETERS)
"""What 6ND counts as N, the first that is there: of a mixture of experts what a token uses."""


class Rule(NamedTuple):
    """A column from others by one formula; {N} in them is the first of `COUNTED` that is filled."""

    formula: str
    needs: tuple[str, ...]
    compute: Callable[..., pd.Series]


RULES: dict[str, tuple[Rule, ...]] = {
    "tokens": (
        Rule("step x batch_tokens", ("step", "batch_tokens"), lambda step, batch: step * batch),
        Rule("flops / (6 x {N})", ("flops", "{N}"), lambda flops, n: flops / (6 * n)),
    ),
    "flops": (Rule("6 x {N} x tokens", ("{N}", "tokens"), lambda n, tokens: 6 * n * tokens),),
    "parameters": (Rule("flops / (6 x tokens)", ("flops", "tokens"), lambda flops, tokens: flops / (6 * tokens)),),
    "unique_tokens": (Rule("tokens / epochs", ("tokens", "epochs"), lambda tokens, epochs: tokens / epochs),),
    "epochs": (Rule("tokens / unique_tokens", ("tokens", "unique_tokens"), lambda tokens, unique: tokens / unique),),
    "horizon": (Rule("steps x batch_tokens", ("steps", "batch_tokens"), lambda steps, batch: steps * batch),),
    "batch_tokens": (Rule("tokens / step", ("tokens", "step"), lambda tokens, step: tokens / step.where(step > 0)),),
}


def derive(table: pd.DataFrame, names: Iterable[str], source: str) -> pd.DataFrame:
    """The tidy table with the columns named filled where they are missing, by the first rule whose columns are there.

    Raises:
        AnalysisError: a column that has no rule, or none whose columns are there.
    """
    for name in names:
        if name not in RULES:
            near = get_close_matches(name, RULES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"these can be: {', '.join(RULES)}"
            raise AnalysisError(f"the column {name!r} cannot be derived; {hint}")
        table = _derive(table, name, source)
    return table


def _derive(table: pd.DataFrame, name: str, source: str) -> pd.DataFrame:
    counted = next((each for each in COUNTED if table[each].notna().any()), "parameters")
    for rule in RULES[name]:
        needs = [need.format(N=counted) for need in rule.needs]
        values = rule.compute(*(table[need] for need in needs))
        filled = table[name].isna() & values.notna()
        if filled.any():
            said = table["derived"].where(table["derived"] == "", table["derived"] + "; ")
            said = said + f"{name} = {rule.formula.format(N=counted)}"
            derived = table["derived"].where(~filled, said)
            return table.assign(**{name: table[name].where(~filled, values), "derived": derived})
    if table[name].notna().all():
        return table
    formulas = " or ".join(rule.formula.format(N=counted) for rule in RULES[name])
    raise AnalysisError(f"{source}: {name} cannot be derived: {formulas} needs columns that are not there")

"""Tables of plans and counts for the terminal.        (no jax)"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from scaling.counting import ModelCount
from scaling.quantities import format_quantity
from scaling.sweeps.plan import Plan
from scaling.sweeps.status import CellStatus, cell_table, read_cell

if TYPE_CHECKING:
    from scaling.parentheses import Judgement
    from scaling.training.coordinates import Slope


def plan_table(plan: Plan, directory: Path) -> Table:
    """One line a run: its sizes, its training FLOPs, and what is already done in `directory`; totals at the end."""
    cells = [read_cell(directory, cell.record()) for cell in plan.cells]
    numbers: dict[str, Callable[[CellStatus], str]] = {
        "N": lambda each: format_quantity(each.cell["parameters"]) if each.cell["parameters"] else "",
        "D": lambda each: format_quantity(each.cell["tokens"]),
        "FLOPs": lambda each: f"{each.cell['flops']:.2e}",
    }
    title = f"sweep {plan.name}: N parameters, D training tokens"
    if plan.rule is not None:
        numbers["batch"] = lambda each: format_quantity(each.cell["config"]["training"]["batch_tokens"])
        numbers["rate"] = lambda each: f"{each.cell['config']['optimizer']['learning_rate']:.2e}"
        title += f"; batch and rate by the rule {plan.rule.name}"
    return cell_table(cells, numbers, title=title)


def plan_summary(plan: Plan, directory: Path) -> str:
    """How many runs, how much they cost together, and how much of it is done."""
    cells = [read_cell(directory, cell.record()) for cell in plan.cells]
    tokens, flops = (sum(each.cell[key] for each in cells) for key in ("tokens", "flops"))
    done = sum(each.state == "done" for each in cells)
    return f"{len(cells)} runs, {format_quantity(tokens)} tokens, {flops:.2e} FLOPs; {done} done, {len(cells) - done} to train"


def count_tables(count: ModelCount) -> list[Table]:
    """Parameters by part and by convention; the shape; FLOPs per token and of the whole training by convention."""
    model, parameters = count.model, count.parameters
    parts = _table("parameters", ("count",), ("", "exact"))
    named = {
        "total": parameters.total,
        "non-embedding": parameters.non_embedding,
        "non-embedding + head": parameters.non_embedding_and_head,
        "  embeddings and positions": parameters.embedding,
        "  attention": parameters.attention,
        "  MLP": parameters.mlp,
        "  MLP of one layer": parameters.mlp // model.layers,
        "  norms": parameters.norms,
        "  untied head": parameters.head,
    }
    if parameters.idle:
        named = {"total": named.pop("total"), "active, used by a token": parameters.active, **named}
    for name, value in named.items():
        parts.add_row(name, format_quantity(value), f"{value:,}")
    shape = _table("shape", ("",), ("",))
    shape.show_header = False
    shape.add_row("layers x width", f"{model.layers} x {model.width:,}")
    shape.add_row("heads x head width", f"{model.heads} x {model.head_width}")
    shape.add_row("key-value heads", f"{model.kv_heads}")
    shape.add_row("MLP width", f"{model.mlp_width:,}")
    if parameters.idle:
        shape.add_row("experts used of all", f"{model.experts_per_token} of {model.experts}")
    attentions = model.layers * model.heads
    shape.add_row("attention operations per token", f"{model.layers} layers x {model.heads} heads = {attentions:,}")
    shape.add_row("vocabulary", f"{count.vocabulary:,}")
    shape.add_row("context", f"{count.context:,}")
    title = "FLOPs per token" + (f", and of training on {format_quantity(count.tokens)} tokens" if count.tokens else "")
    costs = _table(title, ("convention",), ("forward", "forward + backward", *(("training",) if count.tokens else ())))
    for name, cost in count.flops.table().items():
        training = [f"{cost * count.tokens:.2e}"] if count.tokens else []
        costs.add_row(name, f"{cost / 3:.4g}", f"{cost:.4g}", *training)
    return [parts, shape, costs]


def probability_table(tokens: list[tuple[int, str, float]]) -> Table:
    """The most probable next tokens: id, text as Python writes it, probability."""
    table = _table("the next token", ("text",), ("id", "probability"))
    for token, text, probability in tokens:
        table.add_row(escape(repr(text)), f"{token}", f"{probability:.4f}")
    return table


def judgement_table(judged: "Sequence[tuple[dict[str, Any], Judgement]]") -> Table:
    """What networks know of brackets, one line a run."""
    title = (
        "the grammar of brackets: nats per token above the entropy, closings of\n"
        "the right kind, probability of illegal tokens, and the most opening\n"
        "brackets that are completed rightly at temperature T"
    )
    table = _table(title, ("run",), ("blocks", "width", "words", "excess", "closing", "illegal", "T=0", "T=0.8"))
    for facts, found in judged:
        table.add_row(
            *(str(facts[name]) for name in ("run", "blocks", "width")),
            format_quantity(facts["examples"]),
            f"{facts['excess']:.4f}",
            f"{found.accuracy:.2%}",
            f"{found.illegal:.1e}",
            *(str(found.longest(temperature)) for temperature in (0.0, 0.8)),
        )
    return table


def slope_table(slopes: "Sequence[Slope]") -> Table:
    """The exponents of sizes in the width and the depth, a column for each parametrization; 0 keeps its size."""
    names = list(dict.fromkeys(each.parametrization for each in slopes))
    table = _table("size ~ (width or layers)^exponent", ("grows", "of", "layer"), tuple(names))
    exponents: dict[tuple[str, str, str], dict[str, float]] = {}
    for each in sorted(slopes, key=lambda slope: (names.index(slope.parametrization), slope.axis != "width", slope.quantity)):
        exponents.setdefault((each.axis, each.quantity, each.layer), {})[each.parametrization] = each.exponent
    for row, of in exponents.items():
        table.add_row(*row, *(f"{of[name]:+.2f}" for name in names))
    return table


def _table(title: str, words: tuple[str, ...], numbers: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in words:
        table.add_column(name, no_wrap=name == "run", overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table

"""Tables of plans and counts for the terminal.        (no jax)"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from scaling.counting import ModelCount
from scaling.quantities import format_bytes, format_quantity
from scaling.sweeps.estimates import Hardware
from scaling.sweeps.status import CellStatus, SweepStatus, cell_table, format_seconds

if TYPE_CHECKING:
    from scaling.parentheses import Judgement
    from scaling.training.coordinates import Slope


def plan_table(plan: dict[str, Any], directory: Path) -> Table:
    """One line a run of a plan as `plan.json` has it: its sizes, what it will take, what it waits for, how far it is."""
    cells = SweepStatus(directory, plan["cells"]).read()
    numbers: dict[str, Callable[[CellStatus], str]] = {
        "N": lambda each: format_quantity(each.cell["parameters"]) if each.cell["parameters"] else "",
        "D": lambda each: format_quantity(each.cell["tokens"]),
        "FLOPs": lambda each: f"{each.cell['flops']:.1e}",
    }
    title = f"sweep {plan['sweep']}: N parameters, D training tokens"
    if plan["rule"] is not None:
        numbers["batch"] = lambda each: format_quantity(each.cell["config"]["training"]["batch_tokens"])
        numbers["rate"] = lambda each: f"{each.cell['config']['optimizer']['learning_rate']:.2e}"
        title += "; rates as tuned" if plan["rule"] == "tuned" else f"; batch and rate by the rule {plan['rule']}"
    numbers["memory"] = lambda each: format_bytes(each.cell["memory"]) if each.cell["memory"] else ""
    if plan["hardware"] is not None:
        numbers["time"] = lambda each: _device_time(each.cell["device_seconds"])
        numbers["cost"] = lambda each: _dollars(each.cell["cost"])
    if any(each.cell["trunk"] for each in cells):
        numbers["after"] = lambda each: (each.cell["trunk"] or "")[:6]
    return cell_table(cells, numbers, title=title, hidden={"tokens", "tokens_per_parameter", "budget"})


def plan_summary(plan: dict[str, Any], directory: Path) -> str:
    """How many runs, how much they take together, what trunks save of it, and how much of it is done."""
    cells = SweepStatus(directory, plan["cells"]).read()
    tokens, flops, to_train = (sum(each.cell[key] for each in cells) for key in ("tokens", "flops", "flops_to_train"))
    done = sum(each.state == "done" for each in cells)
    lines = [
        f"{len(cells)} runs, {format_quantity(tokens)} tokens, {flops:.2e} FLOPs; {done} done, {len(cells) - done} to train"
    ]
    if to_train < flops:
        lines.append(f"trunks: {to_train:.2e} FLOPs of training in place of {flops:.2e}, {1 - to_train / flops:.0%} saved")
    if (hardware := plan["hardware"]) is not None:
        left = sum(min(each.cell["flops_to_train"], each.cell["flops"] * (1 - each.fraction)) for each in cells)
        device = Hardware.model_validate({name: value for name, value in hardware.items() if name != "name"})
        lines.append(
            f"{hardware['name']}: {_device_time(device.seconds(to_train))} of one device, {_dollars(device.cost(to_train))}; "
            f"still to come {_device_time(device.seconds(left))}, {_dollars(device.cost(left))}\n"
            f"(assuming {device.utilization:.0%} of {device.peak_flops / 1e12:.0f} TFLOP/s; {_price(device)})"
        )
        most = max(each.cell["memory"] for each in cells)
        if most > device.memory_bytes:
            lines.append(
                f"the largest run needs about {format_bytes(most)} on a device, and a {hardware['name']} has "
                f"{format_bytes(device.memory_bytes)}: spread it (execution.mesh), or see execution.micro_batch and remat"
            )
    return "\n".join(lines)


def _device_time(seconds: float) -> str:
    return f"{seconds / 3600:,.0f}h" if seconds >= 360_000 else format_seconds(seconds)


def _dollars(cost: float | None) -> str:
    if cost is None:
        return "?"
    return f"${cost:,.0f}" if cost >= 100 else f"${cost:.2f}" if cost >= 0.01 or not cost else "<$0.01"


def _price(device: Hardware) -> str:
    return f"${device.price:.2f} an hour, {device.priced}" if device.price is not None else device.priced


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

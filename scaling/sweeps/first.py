"""A first sweep for a machine and a time: five sizes by four token counts, and a larger run to forecast.        (no jax)"""

from dataclasses import dataclass

from scaling.machine import Machine
from scaling.quantities import format_quantity

SIZES, TOKENS = 5, 4
SPREAD = 3.0  # the widest model over the narrowest: about 27 in parameters
TOKENS_PER_PARAMETER = 10.0  # of the largest run; the others lie between a twentieth and ten times the ratio of 20
HOLDOUT = (1.3, 2.0)  # factors of the width and the tokens of the largest run
ASPECT = 24  # width per layer
NARROWEST = 32
ROUNDS = 20
FEWEST_TOKENS = 2**15  # of the shortest runs: 64 batches of 512; a sweep that has less to spend takes longer than asked
RULED = 1e17  # FLOPs of the largest run from which Step Law was measured; below, the rates of configs/quickstart.yaml
RATE, RATE_POWER = 3.5e-3, 0.66  # best at width 32 and how it falls to width 96, in batches of 512 (docs/lab-log.md)
BYTES_PER_PARAMETER = 48  # weights, gradients and Adam's moments in float32, and as much again for activations and copies
VOCABULARY = 256
SHARE = {"cpu": 0.3, "gpu": 0.25, "tpu": 0.25}
"""Of the speed of large products that training keeps: an assumption for models of some width, which the file states."""
SHARE_OF_WIDTH = 1 / 600
"""What a CPU keeps of it for each unit of the widest fitted model, as long as that is less: 16 % at 96 (docs/lab-log.md)."""
PREPARATION = 12.0
"""Seconds of a CPU core to compile the programs of a shape, and its share of starting workers (docs/lab-log.md)."""


@dataclass(frozen=True)
class Shape:
    """A model of the sweep."""

    width: int

    @property
    def layers(self) -> int:
        """At `ASPECT` to the width, two at least."""
        return max(2, round(self.width / ASPECT))

    @property
    def heads(self) -> int:
        """32 wide in small models, 64 in others, or as much wider as divides the width."""
        most = max(1, self.width // (32 if self.width < 256 else 64))
        return next(heads for heads in range(most, 0, -1) if self.width % (2 * heads) == 0)

    @property
    def parameters(self) -> float:
        """About: those that do the arithmetic, with the head's matrix."""
        return 12 * self.layers * self.width**2 + VOCABULARY * self.width

    def yaml(self) -> str:
        """As a sweep file has it."""
        return f"{{width: {self.width}, layers: {self.layers}, heads: {self.heads}}}"


@dataclass(frozen=True)
class First:
    """The sweep: shapes, rising; tokens, rising; the run kept out; FLOPs of all of it."""

    shapes: list[Shape]
    tokens: list[int]
    holdout: Shape
    holdout_tokens: int
    flops: float


def first_sweep(flops: float, memory: float) -> First:
    """The sweep that spends about so many FLOPs, or the least that is worth it; no model needs more than `memory` bytes."""
    share = sum(SPREAD ** (-3 * step / (SIZES - 1)) for step in range(SIZES)) * sum(2.0**-step for step in range(TOKENS))
    largest = flops / (share + HOLDOUT[0] ** 3 * HOLDOUT[1])
    parameters = (largest / 6 / TOKENS_PER_PARAMETER) ** 0.5
    if memory:
        parameters = min(parameters, memory / BYTES_PER_PARAMETER / HOLDOUT[0] ** 3)
    widest = max(SPREAD * NARROWEST, (ASPECT * parameters / 12) ** (1 / 3))
    shapes = [Shape(_rounded(widest * SPREAD ** (step / (SIZES - 1) - 1))) for step in range(SIZES)]
    held_out = Shape(_rounded(widest * HOLDOUT[0]))
    halves = [2.0 ** (step - TOKENS + 1) for step in range(TOKENS)]
    per_token = 6 * (sum(each.parameters for each in shapes) * sum(halves) + held_out.parameters * HOLDOUT[1])
    most = max(flops / per_token, FEWEST_TOKENS / halves[0])
    return First(shapes, [_count(most * half) for half in halves], held_out, _count(most * HOLDOUT[1]), most * per_token)


def for_time(seconds: float, speed: float, machine: Machine) -> tuple[First, float, float]:
    """The sweep that takes about so long.

    Args:
        seconds: of wall time.
        speed: FLOPs per second of large products, of the whole machine.
        machine: where it is to run.

    Returns:
        The sweep, the share of `speed` that it is taken to keep, and the seconds that it is taken to need.
    """
    workers = machine.cores if machine.backend == "cpu" else len(machine.devices)
    preparation = PREPARATION * (SIZES + 1) / min(workers, SIZES)
    share = SHARE.get(machine.backend, SHARE["gpu"])
    left = max(seconds - preparation, seconds / 4)
    found = first_sweep(left * share * speed, machine.device_memory)
    if machine.backend == "cpu":
        for _ in range(ROUNDS):  # the share goes with the width, and that with what the share leaves time for
            share = min(SHARE["cpu"], SHARE_OF_WIDTH * found.shapes[-1].width)
            found = first_sweep(left * share * speed, machine.device_memory)
    return found, share, found.flops / (share * speed) + preparation


def sweep_file(first: First, name: str, corpus: str, comment: list[str]) -> str:
    """The YAML of the sweep, with comments that say what each part is for.

    Args:
        first: the sweep.
        name: of its directory in runs/.
        corpus: as `data.corpus` takes it.
        comment: lines above it.
    """
    runs = len(first.shapes) * len(first.tokens)
    apart = first.shapes[-1].parameters / first.shapes[0].parameters
    warmup = format_quantity(first.tokens[0] // 20)
    large = 6 * first.shapes[-1].parameters * first.tokens[-1] > RULED
    lines = [
        *(f"# {line}" for line in comment),
        f"name: {name}                      # runs/{name} will hold the record",
        "base:                             # what all runs share; every field is listed in docs/configuration.md",
        f'  data: {{corpus: "{corpus}", sequence_length: 128}}   # or "files:~/texts/**/*.txt", tfds:wiki40b/en, dyck:pairs=16',
        "  optimizer: {name: adamw}        # or muon, lion, adafactor",
        f"  schedule: {{kind: cosine, warmup_tokens: {warmup}}}   # or wsd, linear, constant",
        *([] if large else ["  training: {batch_tokens: 512}"]),
        f"axes:                             # their product is the grid: {runs} runs",
        f"  rung:                           # sizes a factor of {apart:.0f} apart: what tells A and alpha from the rest",
        *(f"    - {_rung(each, large)}   # {format_quantity(each.parameters)} parameters" for each in first.shapes),
        f"  training.tokens: [{', '.join(map(format_quantity, first.tokens))}]   # and tokens a factor of 8: B and beta",
        *(["rule: {name: step_law}            # batch and learning rate of each cell, by its size"] if large else []),
        "holdouts:                         # forecast from the others before it is trained: does the law predict?",
        f"  - rung: {_rung(first.holdout, large)}",
        f"    training.tokens: {format_quantity(first.holdout_tokens)}",
    ]
    return "\n".join(lines) + "\n"


def _rung(shape: Shape, large: bool) -> str:
    """A size with its learning rate, unless a rule chooses that."""
    rate = "" if large else f", optimizer: {{learning_rate: {RATE * (NARROWEST / shape.width) ** RATE_POWER:.2g}}}"
    return f"{{model: {shape.yaml()}{rate}}}"


def _rounded(width: float) -> int:
    """To what divides into heads, finely enough that five sizes stay five."""
    unit = 8 if width < 64 else 16 if width < 128 else 32 if width < 512 else 64
    return max(NARROWEST, round(width / unit) * unit)


def _count(tokens: float) -> int:
    return int(float(f"{tokens:.2g}"))

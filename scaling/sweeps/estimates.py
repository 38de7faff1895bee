"""What a run will need, from its shapes: memory, and time and money on a device of `hardware.yaml`.        (no jax)

For choosing between plans: what a compiled program needs is measured by compiling it.
"""

import difflib
from pathlib import Path

from pydantic import Field

import scaling
from scaling.config import ModelConfig, RunConfig, build, read_yaml
from scaling.counting import count_parameters
from scaling.errors import ScalingError
from scaling.families import AnyRun
from scaling.models.shapes import GATED
from scaling.section import Section

_MOMENTS = {"adamw": 2, "muon": 2, "lion": 1, "adafactor": 0}
"""Numbers that an optimizer keeps of each parameter (of Muon's matrices one; Adafactor's sums are small)."""

LOGIT_BYTES = 2**28
"""At most so many of logits are in memory where `execution.loss_chunk` is null."""


class Hardware(Section):
    """A device: an entry of `hardware.yaml`."""

    peak_flops: float = Field(gt=0)
    """Dense bfloat16 FLOP/s."""
    memory_bytes: int = Field(gt=0)
    memory_bandwidth: float | None = Field(None, gt=0)
    link_bandwidth: float | None = Field(None, gt=0)
    network_bandwidth: float | None = Field(None, gt=0)
    """The three in bytes/s, which a preflight needs."""
    price: float | None = Field(ge=0)
    """USD an hour; null where it is not known."""
    priced: str
    """Where and when."""
    utilization: float = Field(gt=0, le=1)
    """Model FLOPs over the peak: an assumption."""

    def seconds(self, flops: float) -> float:
        """Seconds of one device for so many model FLOPs."""
        return flops / (self.peak_flops * self.utilization)

    def cost(self, flops: float) -> float | None:
        """USD for so many model FLOPs, or None where the price is not known."""
        return None if self.price is None else self.price * self.seconds(flops) / 3600


def read_hardware(name: str, beside: Path) -> Hardware:
    """The device of this name in the `hardware.yaml` in `beside`, or else in `configs/` of this checkout.

    Raises:
        ScalingError: there is no such file or no such device in it.
    """
    places = [beside / "hardware.yaml", Path(scaling.__file__).parents[1] / "configs" / "hardware.yaml"]
    path = next((each for each in places if each.is_file()), places[0])
    devices = read_yaml(path)
    if name not in devices:
        near = difflib.get_close_matches(name, devices, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(devices)}"
        raise ScalingError(f"hardware: no {name!r} in {path}; {hint}")
    return build(Hardware, devices[name])


def memory(config: AnyRun, vocabulary: int) -> float:
    """Bytes on each device while it trains: parameters, gradients and moments in float32, activations, logits.

    What a backward pass needs is counted tensor by tensor, the scores of attention only where `execution.attention` is `xla`;
    what the compiler adds or saves is not. An n-gram model takes nothing: it is counted on the host.
    """
    if not isinstance(config, RunConfig):
        return 0.0
    execution, mesh = config.execution, config.execution.mesh
    model, length = config.model, config.data.sequence_length
    parameters = count_parameters(model, vocabulary, length)
    unused = model.experts - model.experts_per_token
    in_experts = parameters.idle / unused * model.experts if unused else 0.0
    here = (parameters.total - in_experts + in_experts / mesh.expert) / (mesh.fsdp * mesh.tensor)
    state = 4 * (2 + _MOMENTS[config.optimizer.name]) * here
    tokens = config.micro_batch * length / mesh.batch_shards
    kept, whole = _activations(model, length, execution.remat, scores=execution.attention == "xla")
    activations = tokens * (kept * (model.layers - 1) + whole) * (2 if model.dtype == "bfloat16" else 4)
    all_logits = 4 * tokens * vocabulary
    logits = min(all_logits, LOGIT_BYTES) if execution.loss_chunk is None else all_logits * execution.loss_chunk / length
    return state + (activations + 2 * logits) / mesh.tensor


def _activations(model: ModelConfig, length: int, remat: str, scores: bool) -> tuple[float, float]:
    """Numbers of a token that a block keeps for its backward pass, and those that it has while it is in it."""
    attention, keys = model.heads * model.head_width, model.kv_heads * model.head_width
    mlp = model.experts_per_token * model.mlp_width
    products = attention + 2 * keys + 2 * model.width + (2 if model.mlp in GATED else 1) * mlp
    elementwise = 4 * model.width + attention + 2 * mlp + (2 * model.heads * length if scores else 0)
    whole = products + elementwise
    kept = {"none": whole, "dots": products, "dots_without_batch": products, "full": model.width}[remat]
    return kept, whole

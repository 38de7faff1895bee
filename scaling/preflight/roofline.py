"""The least time that a step can take, and what it will probably take, from the peaks of the hardware.        (no jax)"""

from typing import NamedTuple

from scaling.preflight.hardware import Target
from scaling.preflight.jobs import Compilation


class Times(NamedTuple):
    """Seconds of a step on every resource of a device, each as if the others cost nothing."""

    compute: float
    """Matrix products, recomputation and padding included, at the peak of bfloat16."""
    memory: float
    """Reading and writing the device's memory, of every array all but what a cache could hold."""
    links: float
    """Sending to devices of the same slice or host."""
    network: float
    """Sending to devices of other slices."""

    def least(self, optimised: bool) -> float:
        """Where all of it happens at once; of a program that was not optimised, of products alone: they will be the same."""
        return max(self) if optimised else self.compute

    @property
    def apart(self) -> float:
        """Where devices send and compute in turn."""
        return max(self.compute, self.memory) + self.links + self.network


def step_times(compilation: Compilation, target: Target, padding: float, devices: int) -> Times:
    """The roofline of a compiled step.

    Args:
        compilation: of the step; what it does not know counts as nothing.
        target: whose peaks they are.
        padding: share of FLOPs added by padding.
        devices: of its mesh.
    """
    device, found = target.device, compilation.collectives
    between = sum(each.sent_between_slices for each in found)
    return Times(
        compute=compilation.flops * (1 + padding) / (devices * device.peak_flops),
        memory=(compilation.accessed or 0.0) / device.memory_bandwidth,
        links=sum(each.sent for each in found) / device.link_bandwidth,
        network=between / device.network_bandwidth if device.network_bandwidth else 0.0,
    )


class Range(NamedTuple):
    """What others reached, and where that is said."""

    low: float
    high: float
    source: str


_SMALL = 1e9

_BY_SIZE = {
    # models below a billion parameters, and others
    "v4": (
        Range(0.35, 0.42, "Levanter's 345M and 1.4B on v3-256"),
        Range(0.42, 0.57, "Levanter on v3-256, MaxText's 22B on v4"),
    ),
    "v5e": (Range(0.35, 0.42, "Levanter's 345M and 1.4B on v3-256"), Range(0.46, 0.67, "axlearn's 7B, MaxText's 16B to 128B")),
    "v5p": (Range(0.35, 0.42, "Levanter's 345M and 1.4B on v3-256"), Range(0.42, 0.71, "Levanter on v3-256, MaxText on v5p")),
    "v6e": (Range(0.35, 0.42, "Levanter's 345M and 1.4B on v3-256"), Range(0.38, 0.50, "MaxText's 8B to 405B on v6e-256")),
    "v7x": (Range(0.35, 0.42, "Levanter's 345M and 1.4B on v3-256"), Range(0.38, 0.50, "none found; MaxText on v6e-256")),
    "a100": (Range(0.43, 0.57, "llm-foundry's 125M to 760M on A100"), Range(0.39, 0.64, "llm-foundry's 1B to 70B on A100")),
    "h100": (Range(0.35, 0.40, "llm-foundry's 760M on H100"), Range(0.30, 0.46, "llm-foundry's 1B to 70B on H100")),
}


def published_utilization(target: Target, parameters: float) -> Range:
    """Model FLOPs over the peak that others published for such hardware and models of about such a size; docs/hardware.md.

    Most of them count attention in full where this project counts it at half, and all of them tuned what they measured.
    """
    kind = target.kind.partition("-")[0]
    small, large = _BY_SIZE.get(kind, _BY_SIZE["h100"])  # nothing was found for H200 and B200
    return small if parameters < _SMALL else large


class Expectation(NamedTuple):
    """What runs of a program will cost."""

    ceiling: float
    """Model FLOPs over the peak in the least time: no schedule of this program is better."""
    low: float
    high: float
    """The published range, or the ceiling where that is lower."""
    source: str

    def hours(self, flops: float, target: Target, devices: float) -> tuple[float, float]:
        """Of a run of so many model FLOPs on so many devices: at the high and at the low end."""
        per_hour = 3600 * devices * target.device.peak_flops
        return flops / (per_hour * self.high), flops / (per_hour * self.low)


def expect(least: float, target: Target, devices: int, model_flops: float, parameters: float) -> Expectation:
    """The utilization of its devices to expect of a step of so many model FLOPs that takes at least so many seconds."""
    ceiling = model_flops / (least * devices * target.device.peak_flops)
    published = published_utilization(target, parameters)
    return Expectation(ceiling, min(published.low, ceiling), min(published.high, ceiling), published.source)

"""What the command and the processes that compile say to each other.        (no jax)"""

from typing import Literal

from scaling.preflight.collectives import Collective
from scaling.preflight.hardware import Target
from scaling.preflight.programs import Shape
from scaling.section import Section

Effort = Literal["quick", "full", "lower"]
"""Optimization level 0, the default, or no compilation at all."""


class Memory(Section):
    """Bytes on the device that has most."""

    parameters: float
    optimizer: float
    """What the optimizer keeps of them."""
    activations: float
    """What the blocks keep for their backward pass, of one micro-batch: counted from shapes, not by the compiler."""
    peak: float | None = None
    """Of a step, by the compiler, all of the above in it; None where nothing was compiled."""

    @property
    def temporaries(self) -> float | None:
        """What the step needs beside: gradients, copies, gathered weights, logits."""
        return None if self.peak is None else max(0.0, self.peak - self.parameters - self.optimizer - self.activations)


class Failure(Section):
    """Why a program cannot run there."""

    kind: Literal["memory", "refused", "compiler"]
    """It does not fit; its mesh, kernel or shape is refused before the compiler; the compiler failed."""
    reason: str
    """One line."""


class Compilation(Section):
    """What is known of a program on a target."""

    effort: Effort
    attention: str = ""
    failure: Failure | None = None
    memory: Memory | None = None
    flops: float = 0.0
    """Matrix products of a step over all devices, recomputation included."""
    accessed: float | None = None
    """Bytes that a step moves to and from one device's memory."""
    collectives: tuple[Collective, ...] = ()
    notes: tuple[str, ...] = ()
    hash: str = ""
    """SHA-256 of the lowered program (StableHLO)."""
    optimised: bool = False
    """Whether it was compiled as a run will compile it: a program of level 0 moves other bytes and sends in other ways."""
    cpu_seconds: float = 0.0
    """What lowering and compiling took; of a stored result, when it was made."""


class Job(Section):
    """What a worker is asked for."""

    shape: Shape
    target: Target
    effort: Effort
    directory: str | None
    """Where results are kept; None for nowhere."""

"""The fixed validation set: the same windows for every run of a sweep. Shapes: W windows, L sequence length."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scaling.data.store import TokenStore
from scaling.data.windows import Windows, without_marks
from scaling.errors import ScalingError


class Validation(ABC):
    """What is held out: one set, or one for each source of a mixture."""

    @property
    @abstractmethod
    def parts(self) -> "dict[str, ValidationSet]":
        """The sets that are evaluated apart, by name; the only one has none."""

    @property
    @abstractmethod
    def bytes_per_token(self) -> float:
        """UTF-8 bytes of source text that a target stands for, in the mean."""

    @abstractmethod
    def mean(self, losses: Mapping[str, float]) -> float:
        """The loss of the whole from those of the parts, nats per token."""

    def bits_per_byte(self, loss: float) -> float | None:
        """Bits per byte of text from the mean loss in nats per token; None where the tokens are no text."""
        return loss / math.log(2) / self.bytes_per_token if self.bytes_per_token else None


@dataclass(frozen=True, eq=False)
class ValidationSet(Validation):
    """A fixed set of held-out windows.

    Attributes:
        window_WxL1: int32 [W, L + 1].
        tokens: targets, W * L.
        bytes: UTF-8 source bytes that the targets stand for. The first token of a window is context and not counted;
            an end of document is a target of 0 bytes: its loss counts, as part of saying where the text ends. A
            character cut by the border of a window counts with the bytes on each side.
    """

    window_WxL1: np.ndarray
    tokens: int
    bytes: float

    @property
    def parts(self) -> "dict[str, ValidationSet]":
        """Itself."""
        return {"": self}

    @property
    def bytes_per_token(self) -> float:
        """See `Validation`."""
        return self.bytes / self.tokens

    def mean(self, losses: Mapping[str, float]) -> float:
        """See `Validation`."""
        return losses[""]


@dataclass(frozen=True, eq=False)
class MixedValidation(Validation):
    """The validation sets of a mixture's sources; its loss is the mean of theirs with the shares that training has.

    Attributes:
        shares: of each part, together 1.
    """

    sets: dict[str, ValidationSet]
    shares: dict[str, float]

    @property
    def parts(self) -> dict[str, ValidationSet]:
        """The sources."""
        return self.sets

    @property
    def tokens(self) -> int:
        """Targets of all sources."""
        return sum(part.tokens for part in self.sets.values())

    @property
    def bytes_per_token(self) -> float:
        """Of text mixed by these shares."""
        return self.mean({name: part.bytes_per_token for name, part in self.sets.items()})

    def mean(self, losses: Mapping[str, float]) -> float:
        """See `Validation`."""
        return sum(self.shares[name] * loss for name, loss in losses.items())


def validation_windows(store: TokenStore, sequence_length: int, tokens: int, separate: bool = False) -> ValidationSet:
    """`tokens` targets (rounded down to whole windows) spread evenly over the store: no seed, no model enters.

    Raises:
        ScalingError: the store has fewer, or not even one window is asked for.
    """
    windows = Windows(store, sequence_length, separate)
    window_WxL1 = windows.read(spread(windows, tokens))
    return ValidationSet(window_WxL1, window_WxL1[:, 1:].size, store.bytes_of(without_marks(window_WxL1[:, 1:])))


def spread(windows: Windows, tokens: int) -> np.ndarray:
    """The numbers [W] of windows with `tokens` targets, spread evenly; raises as `validation_windows`."""
    sequence_length = windows.sequence_length
    available, wanted = len(windows), tokens // sequence_length
    if wanted > available:
        raise ScalingError(
            f"the validation split holds {available * sequence_length} tokens in sequences of {sequence_length}, "
            f"fewer than data.validation_tokens {tokens}: ask for fewer or give a larger corpus"
        )
    if not wanted:
        raise ScalingError(f"data.validation_tokens {tokens} is less than data.sequence_length {sequence_length}")
    return np.arange(wanted) * available // wanted

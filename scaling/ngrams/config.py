"""The configuration of a run of an n-gram model.        (no jax)"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from scaling.config import DataConfig, ExecutionConfig, ModelConfig, RunConfig
from scaling.optimization import TrainingConfig
from scaling.quantities import Count
from scaling.section import Section


class NgramConfig(Section):
    """An interpolated modified Kneser-Ney model (`kneser_ney.py`)."""

    family: Literal["ngram"]
    order: int = Field(ge=1, le=8)
    """Tokens of its longest n-gram: it predicts from the order - 1 before."""


class NgramTraining(Section):
    """How many tokens are counted, in whole sequences."""

    tokens: Count


class NgramRun(Section):
    """A run that counts the sequences which a network of the same seed would be trained on, in the same order.

    What a file says of networks alone (`optimizer`, `schedule`, the batch, a width) is read past, so that one sweep's base
    serves both.
    """

    model: NgramConfig
    data: DataConfig = DataConfig()
    training: NgramTraining
    seed: int = 0
    execution: ExecutionConfig = ExecutionConfig()
    """Of it, `evaluations` and `cache_directory` matter."""

    @model_validator(mode="before")
    @classmethod
    def _read_past_networks(cls, fields: Any) -> Any:
        if not isinstance(fields, Mapping):
            return fields
        fields = _known_here(fields, cls, RunConfig)
        fields["model"] = _known_here(fields.get("model"), NgramConfig, ModelConfig)
        fields["training"] = _known_here(fields.get("training"), NgramTraining, TrainingConfig)
        return fields

    @model_validator(mode="after")
    def _check(self) -> "NgramRun":
        if not self.steps:
            length = self.data.sequence_length
            raise ValueError(f"training.tokens {self.training.tokens} is less than data.sequence_length {length}")
        return self

    @property
    def batch_size(self) -> int:
        """Sequences of a step."""
        return 1

    @property
    def steps(self) -> int:
        """Sequences counted."""
        return self.training.tokens // self.data.sequence_length

    @property
    def tokens(self) -> int:
        """Tokens counted."""
        return self.steps * self.data.sequence_length


def _known_here(fields: Any, own: type[Section], network: type[Section]) -> Any:
    """The fields of a section without those that only a network's has; what is no section is left to its validation."""
    if not isinstance(fields, Mapping):
        return fields
    foreign = set(network.model_fields) - set(own.model_fields)
    return {name: value for name, value in fields.items() if name not in foreign}

"""The configuration of a run of an n-gram model.        (no jax)"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from scaling.config import DataConfig, ExecutionConfig, ModelConfig, RunConfig, unique_tokens
from scaling.optimization import TrainingConfig
from scaling.quantities import Count
from scaling.section import Section


class NgramConfig(Section):
    """An interpolated modified Kneser-Ney model (`kneser_ney.py`)."""

    family: Literal["ngram"]
    order: int = Field(ge=1, le=8)
    """Tokens of its longest n-gram: it predicts from the order - 1 before."""


class NgramTraining(Section):
    """How many tokens are counted, in whole sequences, and how many different ones; as of a network's `TrainingConfig`."""

    tokens: Count
    unique_tokens: Count | None = None


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
        length, unique = self.data.sequence_length, self.training.unique_tokens
        if not self.steps:
            raise ValueError(f"training.tokens {self.training.tokens} is less than data.sequence_length {length}")
        if unique is not None and unique < length:
            raise ValueError(f"training.unique_tokens {unique} is less than data.sequence_length {length}")
        if self.data.documents != "joined":
            raise ValueError(
                f"model.family ngram needs data.documents joined, whose marks end a context, not {self.data.documents}"
            )
        if self.data.streaming:
            raise ValueError("model.family ngram counts what is tokenised; leave data.streaming out")
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

    @property
    def unique_tokens(self) -> int | None:
        """The whole sequences in `training.unique_tokens`, where those are fewer than the run's tokens."""
        return unique_tokens(self.training.unique_tokens, self.tokens, self.data.sequence_length)


def _known_here(fields: Any, own: type[Section], network: type[Section]) -> Any:
    """The fields of a section without those that only a network's has; what is no section is left to its validation."""
    if not isinstance(fields, Mapping):
        return fields
    foreign = set(network.model_fields) - set(own.model_fields)
    return {name: value for name, value in fields.items() if name not in foreign}

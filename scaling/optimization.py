"""How a network is trained: objective, tokens, optimizer and schedule.        (no jax)"""

import re
from typing import Annotated, Literal, NamedTuple

from pydantic import Discriminator, Field, Tag, field_validator

from scaling.quantities import Amount, Count
from scaling.section import Section, tag

Multipliers = dict[str, Annotated[float, Field(ge=0)]]


class Structure(NamedTuple):
    """What of an optimizer a program is compiled for: all else of it is traced."""

    name: str = "adamw"
    learning_rate_patterns: tuple[str, ...] = ()
    weight_decay_patterns: tuple[str, ...] = ()


ADAMW = Structure()
"""AdamW with no pattern of its own."""


class _Optimizer(Section):
    """What all optimizers have. Weight decay is decoupled and multiplied by the learning rate (as optax has it)."""

    name: str
    learning_rate: Amount
    weight_decay: Amount = 0.1
    gradient_clip: float = Field(1.0, gt=0)
    """The bound of the gradient's global norm."""
    learning_rate_multipliers: Multipliers = Field(default_factory=dict)
    """Factors of the learning rate by pattern of a parameter's whole path, such as `{embedding/.*: 3, blocks/.*/bias: 0.5}`;
    on top of the parametrization's."""
    weight_decay_multipliers: Multipliers = Field(default_factory=dict)
    """Factors of the weight decay by pattern, in place of 1 for matrices and 0 for embeddings, norms and biases."""

    @field_validator("learning_rate_multipliers", "weight_decay_multipliers")
    @classmethod
    def _compiles(cls, multipliers: Multipliers) -> Multipliers:
        for pattern in multipliers:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
        return multipliers

    @property
    def structure(self) -> Structure:
        """What a program is compiled for."""
        return Structure(self.name, tuple(self.learning_rate_multipliers), tuple(self.weight_decay_multipliers))


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101, algorithm 2)."""

    name: Literal["adamw"] = "adamw"
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)


class Lion(_Optimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, arXiv 2302.06675), with its default betas."""

    name: Literal["lion"]
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.99, ge=0, lt=1)


class Adafactor(_Optimizer):
    """Second moments as products of sums over rows and columns (Shazeer & Stern 2018, arXiv 1804.04235), without momentum.

    The constants are the paper's: second-moment decay 1 - t^-0.8, updates clipped at a root mean square of 1, 1e-30 added to
    squared gradients. Every matrix is factored, at any width. Updates are not multiplied by the size of the parameter (the
    paper's relative step sizes), so that learning rates and parametrizations are those of Adam.
    """

    name: Literal["adafactor"]


class Muon(_Optimizer):
    """Orthogonalised momentum for the matrices of blocks (Jordan et al. 2024), AdamW for all else, head and router too.

    Orthogonal updates are scaled to the root mean square of about 0.2 that AdamW's have, so that both go with one learning
    rate and weight decay (Liu et al. 2025, arXiv 2502.16982).
    """

    name: Literal["muon"]
    momentum: float = Field(0.95, ge=0, lt=1)
    """Of the matrices (Nesterov's)."""
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    epsilon: float = Field(1e-8, gt=0)


OptimizerConfig = Annotated[
    Annotated[AdamW, Tag("adamw")]
    | Annotated[Lion, Tag("lion")]
    | Annotated[Adafactor, Tag("adafactor")]
    | Annotated[Muon, Tag("muon")],
    Discriminator(tag("adamw")),
]


class ScheduleConfig(Section):
    """Learning rate against tokens: linear warmup, then down to `final_fraction` of the peak.

    `cosine` and `linear` end with the run; `wsd` (warmup, stable, decay) is constant until the last `decay_fraction` of the
    run's tokens; `constant` has no decay.
    """

    kind: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    warmup_tokens: Amount = 0
    final_fraction: float = Field(0.1, ge=0, le=1)
    decay_fraction: float = Field(0.2, gt=0, le=1)
    decay_shape: Literal["linear", "1-sqrt"] = "linear"
    """Of the decay of `wsd`."""


class SpikeConfig(Section):
    """Which updates are skipped as loss spikes: those far above the last `window` steps (`scaling/training/spikes.py`)."""

    window: Count = Field(128, ge=20)
    deviations: float = Field(6.0, gt=0)


class TrainingConfig(Section):
    """What is predicted, how much is trained on, in tokens (a batch is a whole number of sequences), and whether loss spikes
    are skipped.
    """

    tokens: Count
    batch_tokens: Count
    unique_tokens: Count | None = None
    """Only so many different ones, the first of the seed's order, then the same ones in new orders; null for no limit."""
    objective: Literal["causal", "masked"] = "causal"
    """The next token, or hidden ones from both sides (`scaling/training/objectives.py`)."""
    skip_spikes: SpikeConfig | None = None


HIDDEN_SHARE = 0.15
"""Of the tokens of a sequence, where tokens are hidden (Devlin et al. 2019, arXiv 1810.04805, section 3.1)."""


def predicted_places(sequence_length: int, objective: str) -> int:
    """How many tokens of a sequence are predicted in training: every one, or those that are hidden (at least one)."""
    return sequence_length if objective == "causal" else max(1, round(HIDDEN_SHARE * sequence_length))


def pair_lengths(sequence_length: int) -> tuple[int, int]:
    """Tokens of the first and of the second stretch in a sequence of two, beside [CLS] and two [SEP]."""
    text = sequence_length - 3
    return text - text // 2, text // 2

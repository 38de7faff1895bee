"""Batch size and learning rate by the size of a run: rules that a sweep file switches on.        (no jax)

`rule: {name: step_law}` fills `training.batch_tokens` and `optimizer.learning_rate` of every cell as the paper has them; with
`reference: {...}`, the labels of a cell whose batch and rate are known to be good, only the exponents are the paper's, and
both go through the reference. N are non-embedding parameters, D training tokens, B tokens of a batch, eta the peak rate.

All were measured at 10^17 FLOPs and more. Below that, on the sizes of a laptop, they are extrapolations: use a reference.
"""

from typing import Annotated, Any, Literal, NamedTuple, Protocol

from pydantic import Discriminator, Tag

from scaling.config import RunConfig
from scaling.counting import count_flops, count_parameters
from scaling.section import Section, tag


class Size(NamedTuple):
    """What the rules go by."""

    parameters: float
    """N, non-embedding; of a mixture of experts those that a token uses."""
    tokens: float
    """D."""
    flops: float
    """C = M D with M = 6 N + 12 layers x attention width x context (DeepSeek-AI 2024, equation 2)."""


class Choice(NamedTuple):
    """What a rule says."""

    batch_tokens: float | None
    """None where only the rate is chosen."""
    learning_rate: float

    def rounded(self, sequence_length: int) -> "Choice":
        """To whole sequences, at least one, and to three digits of the rate."""
        batch = self.batch_tokens and max(1, round(self.batch_tokens / sequence_length)) * sequence_length
        return Choice(batch, float(f"{self.learning_rate:.3g}"))


class Chooser(Protocol):
    """What chooses the batch and the rate of a size: a rule, or what was tuned."""

    @property
    def name(self) -> str:
        """For messages and plans."""

    @property
    def reference(self) -> dict[str, Any] | None:
        """Labels of a cell whose batch and rate are known to be good, that the choices go through."""

    def choose(self, size: Size) -> Choice:
        """Of a run of this size."""


class PowerLines(Section):
    """Batches by tokens (Bergsma et al. 2025, arXiv 2505.13738), rates by batches; relative to a reference.

    | | formula | source |
    |---|---|---|
    | B | B_ref (D / D_ref)^0.383 | Bergsma et al.; the optimum depends on D and not on N |
    | eta | eta_ref sqrt(B / B_ref) | square-root scaling of Adam with the batch (Malladi et al. 2022, arXiv 2205.10287) |

    Measured on models of 111 M to 3.3 B parameters in muP, 2,048 tokens of context. Karpathy's nanochat combines the two in
    this way. The rate does not go with N: the rule is made for muP.
    """

    name: Literal["power_lines"]
    reference: dict[str, Any]

    def choose(self, size: Size) -> Choice:
        """B and eta but for constant factors."""
        batch = size.tokens**0.383
        return Choice(batch, batch**0.5)


class StepLaw(Section):
    """Step Law (Li et al. 2025, arXiv 2503.04715).

    | | formula |
    |---|---|
    | B | 0.58 D^0.571 |
    | eta | 1.79 N^-0.713 D^0.307 |

    Fitted to 3,700 runs of up to 1 B parameters and 100 B tokens: AdamW, standard parametrization, warmup, cosine to a fixed
    final rate of 10^-5. The authors found it for dense models and mixtures of experts alike.
    """

    name: Literal["step_law"]
    reference: dict[str, Any] | None = None

    def choose(self, size: Size) -> Choice:
        """B and eta."""
        return Choice(0.58 * size.tokens**0.571, 1.79 * size.parameters**-0.713 * size.tokens**0.307)


class DeepSeek(Section):
    """DeepSeek LLM (DeepSeek-AI 2024, arXiv 2401.02954, equation 1), C as in its equation 2.

    | | formula |
    |---|---|
    | B | 0.2920 C^0.3271 |
    | eta | 0.3118 C^-0.1250 |

    Fitted to near-optimal runs (within 0.25 % of the best loss) of 10^17 to 2 x 10^19 FLOPs, and checked at 10^20, with a rate
    that goes down in steps.
    """

    name: Literal["deepseek"]
    reference: dict[str, Any] | None = None

    def choose(self, size: Size) -> Choice:
        """B and eta."""
        return Choice(0.2920 * size.flops**0.3271, 0.3118 * size.flops**-0.1250)


Rule = Annotated[
    Annotated[PowerLines, Tag("power_lines")] | Annotated[StepLaw, Tag("step_law")] | Annotated[DeepSeek, Tag("deepseek")],
    Discriminator(tag("none")),
]


def size_of(config: RunConfig, tokens: float) -> Size:
    """The size of a run of so many tokens, whatever batch and rate its configuration has."""
    model, length = config.model, config.data.sequence_length
    parameters = count_parameters(model, config.data.tokenizer.vocabulary, length)
    per_token = count_flops(model, config.data.tokenizer.vocabulary, length).six_n_non_embedding
    attention = 12 * model.layers * model.heads * model.head_width * length
    return Size(parameters.non_embedding - parameters.idle, tokens, (per_token + attention) * tokens)


def choose(rule: Chooser, size: Size, reference: RunConfig | None, sequence_length: int) -> Choice:
    """What the rule says of a size, through the batch and rate of the reference where there is one."""
    batch, rate = rule.choose(size)
    if reference is not None:
        there = rule.choose(size_of(reference, reference.training.tokens))
        if batch is not None and there.batch_tokens is not None:
            batch *= reference.training.batch_tokens / there.batch_tokens
        rate *= reference.optimizer.learning_rate / there.learning_rate
    return Choice(batch, rate).rounded(sequence_length)

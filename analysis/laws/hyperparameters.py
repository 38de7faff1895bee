"""The learning rate and the batch that are best for a run, as powers of its size.

Published constants hold for the recipe they were found with: optimizer, schedule, data and the count of parameters.
"""

from typing import ClassVar

from analysis.laws.law import Parameter, PowerLaw


class LearningRate(PowerLaw):
    """eta*(N, D) = k D^beta / N^alpha: the peak learning rate with the lowest final loss (Step Law).

    N counts parameters without embeddings. Published with a final learning rate of 1e-5 whatever the peak.
    """

    name: ClassVar[str] = "learning-rate"
    formula: ClassVar[str] = "eta*(N, D) = k D^beta / N^alpha"
    source: ClassVar[str] = "Li et al. 2025, arXiv 2503.04715, Step Law"
    target: ClassVar[str] = "learning_rate"
    unit: ClassVar[str] = "1"
    variables: ClassVar[tuple[str, ...]] = ("parameters", "tokens")
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "1 x N^alpha / D^beta", "coefficient"),
        Parameter("alpha", "exponent of N", "number", bounds=(-3.0, 3.0)),
        Parameter("beta", "exponent of D", "number", bounds=(-3.0, 3.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "alpha", "parameters"), ("k", "-beta", "tokens"))
    published: ClassVar[dict[str, dict[str, float]]] = {"step law": {"k": 1.79, "alpha": 0.713, "beta": 0.307}}


class Batch(PowerLaw):
    """B*(D) = k D^beta, in tokens: the batch with the lowest final loss at D tokens, whatever the model (Step Law).

    Bergsma et al. 2025 (Power Lines, arXiv 2505.13738) find the same form, with beta = 0.383.
    """

    name: ClassVar[str] = "batch"
    formula: ClassVar[str] = "B*(D) = k D^beta"
    source: ClassVar[str] = "Li et al. 2025, arXiv 2503.04715, Step Law"
    target: ClassVar[str] = "batch_tokens"
    unit: ClassVar[str] = "tokens"
    variables: ClassVar[tuple[str, ...]] = ("tokens",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "tokens / D^beta", "coefficient"),
        Parameter("beta", "exponent of D", "number", bounds=(-3.0, 3.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "-beta", "tokens"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"step law": {"k": 0.58, "beta": 0.571}}


class ComputeLearningRate(PowerLaw):
    """eta*(C) = k / C^alpha at compute-optimal sizes, C without embeddings (DeepSeek LLM)."""

    name: ClassVar[str] = "compute-learning-rate"
    formula: ClassVar[str] = "eta*(C) = k / C^alpha"
    source: ClassVar[str] = "DeepSeek-AI 2024, arXiv 2401.02954, eq. 1"
    target: ClassVar[str] = "learning_rate"
    unit: ClassVar[str] = "1"
    variables: ClassVar[tuple[str, ...]] = ("flops",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "1 x C^alpha", "coefficient"),
        Parameter("alpha", "exponent of C", "number", bounds=(-3.0, 3.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "alpha", "flops"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"deepseek": {"k": 0.3118, "alpha": 0.1250}}


class ComputeBatch(PowerLaw):
    """B*(C) = k C^beta in tokens at compute-optimal sizes, C without embeddings (DeepSeek LLM)."""

    name: ClassVar[str] = "compute-batch"
    formula: ClassVar[str] = "B*(C) = k C^beta"
    source: ClassVar[str] = "DeepSeek-AI 2024, arXiv 2401.02954, eq. 1"
    target: ClassVar[str] = "batch_tokens"
    unit: ClassVar[str] = "tokens"
    variables: ClassVar[tuple[str, ...]] = ("flops",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "tokens / C^beta", "coefficient"),
        Parameter("beta", "exponent of C", "number", bounds=(-3.0, 3.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "-beta", "flops"),)
    published: ClassVar[dict[str, dict[str, float]]] = {"deepseek": {"k": 0.2920, "beta": 0.3271}}


class Timescale(PowerLaw):
    """tau*(D / N) = k / (D / N)^alpha: the best AdamW timescale, tau = B / (eta lambda D) with weight decay lambda.

    With the learning rate eta set otherwise, it gives the weight decay.
    """

    name: ClassVar[str] = "timescale"
    formula: ClassVar[str] = "tau*(D / N) = k / (D / N)^alpha"
    source: ClassVar[str] = "Bergsma et al. 2025, arXiv 2505.13738, Power Lines"
    target: ClassVar[str] = "timescale"
    unit: ClassVar[str] = "share of the run"
    variables: ClassVar[tuple[str, ...]] = ("tokens_per_parameter",)
    parameters: ClassVar[tuple[Parameter, ...]] = (
        Parameter("k", "share of the run x (D / N)^alpha", "coefficient"),
        Parameter("alpha", "exponent of D / N", "number", bounds=(-3.0, 3.0)),
    )
    powers: ClassVar[tuple[tuple[str, str, str], ...]] = (("k", "alpha", "tokens_per_parameter"),)

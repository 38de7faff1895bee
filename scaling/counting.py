"""Parameters and FLOPs of a model, in every convention that papers use.        (no jax)

FLOPs count a multiply-add as two, matrix products only; a backward pass costs twice a forward pass. Of a mixture of experts,
every convention of FLOPs counts the experts that a token uses. The papers' conventions are of causal training; only `model`
knows that where tokens are hidden, attention sees both sides and the head reads the hidden ones alone.
"""

from dataclasses import asdict, dataclass

from scaling.config import ModelConfig
from scaling.models.shapes import GATED
from scaling.optimization import predicted_places


@dataclass(frozen=True)
class Parameters:
    """How many numbers a model learns, and the three counts that scaling laws use for N."""

    embedding: int
    """Token embeddings, learned positions and segments."""
    attention: int
    mlp: int
    """With all experts, and their routers."""
    idle: int
    """The part of `mlp` that a token does not use: the experts it is not sent to."""
    norms: int
    head: int
    """The output matrix where it is not tied to the token embeddings, and what predicts a next sentence."""
    vocabulary_by_width: int

    @property
    def total(self) -> int:
        """All parameters (Hoffmann et al. 2022, arXiv 2203.15556)."""
        return self.embedding + self.non_embedding + self.head

    @property
    def active(self) -> int:
        """All parameters that a token uses (Fedus et al. 2022, arXiv 2101.03961, section 2)."""
        return self.total - self.idle

    @property
    def non_embedding(self) -> int:
        """Without embeddings, positions and an untied head (Kaplan et al. 2020, arXiv 2001.08361, section 2.1)."""
        return self.attention + self.mlp + self.norms

    @property
    def non_embedding_and_head(self) -> int:
        """The matrices that cost FLOPs: with the head, tied or not (Porian et al. 2024, arXiv 2406.19146, section 3.1)."""
        return self.non_embedding + self.vocabulary_by_width


def count_parameters(model: ModelConfig, vocabulary: int, sequence_length: int, objective: str = "causal") -> Parameters:
    """Parameters of a transformer over `vocabulary` tokens; `sequence_length` matters for learned positions only, the objective
    for what next-sentence prediction adds.
    """
    width, vectors = model.width, 2 if model.norm == "layernorm" else 1
    query_width, kv_width = model.heads * model.head_width, model.kv_heads * model.head_width
    matrices = _mlp_matrices(model)
    expert = matrices * width * model.mlp_width
    if model.biases:
        expert += (matrices - 1) * model.mlp_width + width
    attention_biases = query_width + 2 * kv_width + width if model.biases else 0
    qk_norms = 2 * model.head_width * vectors if model.qk_norm else 0
    block_norms = {"before": 2, "after": 2, "both": 4}[model.norm_placement]
    final_norm = 0 if model.norm_placement == "after" else 1
    pairs = objective == "next_sentence"
    return Parameters(
        embedding=(vocabulary + (sequence_length if model.positions == "learned" else 0) + (2 if pairs else 0)) * width,
        attention=model.layers * (2 * width * query_width + 2 * width * kv_width + attention_biases),
        mlp=model.layers * (model.experts * expert + _router(model)),
        idle=model.layers * (model.experts - model.experts_per_token) * expert,
        norms=(model.layers * block_norms + final_norm) * width * vectors + model.layers * qk_norms,
        head=(0 if model.tied_head else vocabulary * width) + (_next_sentence(model) if pairs else 0),
        vocabulary_by_width=vocabulary * width,
    )


def _mlp_matrices(model: ModelConfig) -> int:
    return 3 if model.mlp in GATED else 2


def _next_sentence(model: ModelConfig) -> int:
    return model.width * (model.width + 2)


def _router(model: ModelConfig) -> int:
    return model.width * model.experts if model.experts > 1 else 0


@dataclass(frozen=True)
class TrainingFlops:
    """FLOPs per training token, forward and backward, under each convention; a forward pass is a third of each."""

    model: float
    """What this project records: matrix products from their shapes, head included, causal attention counted at half."""
    palm: float
    """6 N + 12 layers x heads x head width x context, N all parameters (Chowdhery et al. 2022, arXiv 2204.02311, app. B)."""
    chinchilla: float
    """Embeddings, key-query-value, full attention, softmax, MLP and logits (Hoffmann et al. 2022, appendix F)."""
    kaplan: float
    """3 (2 N + 2 layers x context x attention width), N non-embedding (Kaplan et al. 2020, table 1 and section 2.1)."""
    six_n_total: float
    """6 N, N all parameters."""
    six_n_non_embedding: float
    """6 N, N non-embedding parameters."""
    six_n_non_embedding_and_head: float
    """6 N, N non-embedding parameters and the head."""

    def table(self) -> dict[str, float]:
        """Convention -> FLOPs per token."""
        return asdict(self)


def count_flops(model: ModelConfig, vocabulary: int, sequence_length: int, objective: str = "causal") -> TrainingFlops:
    """Training FLOPs per token of a transformer on full sequences of `sequence_length` tokens."""
    parameters = count_parameters(model, vocabulary, sequence_length)
    width, query_width, kv_width = model.width, model.heads * model.head_width, model.kv_heads * model.head_width
    projections = 2 * width * query_width + 2 * width * kv_width
    mlp = model.experts_per_token * _mlp_matrices(model) * width * model.mlp_width + _router(model)
    head = vocabulary * width
    full_attention = 4 * sequence_length * query_width  # scores and weighted values, of every query with every key
    softmax = 3 * model.heads * sequence_length
    non_embedding = parameters.non_embedding - parameters.idle
    seen = 0.5 if objective == "causal" else 1.0
    heads = predicted_places(sequence_length, objective) * head + (_next_sentence(model) if objective == "next_sentence" else 0)
    return TrainingFlops(
        model=3.0 * (model.layers * (2 * (projections + mlp) + seen * full_attention) + 2 * heads / sequence_length),
        palm=6.0 * parameters.active + 12.0 * model.layers * query_width * sequence_length,
        chinchilla=3.0 * (2 * head + model.layers * (2 * (projections + mlp) + full_attention + softmax) + 2 * head),
        kaplan=3.0 * (2 * non_embedding + 2 * model.layers * sequence_length * query_width),
        six_n_total=6.0 * parameters.active,
        six_n_non_embedding=6.0 * non_embedding,
        six_n_non_embedding_and_head=6.0 * (non_embedding + head),
    )


@dataclass(frozen=True)
class ModelCount:
    """A model with its counts, on sequences of `context` tokens."""

    model: ModelConfig
    vocabulary: int
    context: int
    tokens: float | None
    """Training tokens, where they are known."""
    objective: str = "causal"

    @property
    def parameters(self) -> Parameters:
        """How many numbers it learns."""
        return count_parameters(self.model, self.vocabulary, self.context, self.objective)

    @property
    def flops(self) -> TrainingFlops:
        """What a training token costs."""
        return count_flops(self.model, self.vocabulary, self.context, self.objective)

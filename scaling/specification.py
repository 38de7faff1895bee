"""What a run is, worked out once from its configuration and its data: the content of `run.json`.        (no jax)"""

from dataclasses import dataclass
from typing import Any

from scaling.config import RunConfig, identity, run_id
from scaling.counting import count_flops, count_parameters
from scaling.data.prepare import Data
from scaling.families import AnyRun
from scaling.ngrams.config import NgramRun


@dataclass(frozen=True)
class Specification:
    """One run: its id, its identity, the facts that follow from it, and the configuration it was made from."""

    run_id: str
    identity: dict[str, Any]
    facts: dict[str, Any]
    config: AnyRun

    def record(self) -> dict[str, Any]:
        """The content of `run.json`."""
        config = self.config.model_dump(mode="json")
        return {"run_id": self.run_id, "identity": self.identity, "facts": self.facts, "config": config}


def specify(config: AnyRun, dataset: Data) -> Specification:
    """The specification of a run on a prepared data set; a `ScalingError` where the data cannot carry it."""
    extra = config.extra_tokens if isinstance(config, RunConfig) else 0
    vocabulary, tokens = dataset.tokenizer.vocabulary + extra, config.tokens
    batches = dataset.batches(config)
    if config.unique_tokens is None:  # else repetition is what was asked for
        batches.check_budget(tokens, config.data.max_epochs)
    unique_tokens = batches.unique_tokens(tokens)
    facts = {
        **_sizes(config, vocabulary),
        "tokens": tokens,
        "unique_tokens": unique_tokens,
        "epochs": tokens / unique_tokens,
        "steps": config.steps,
        "bytes_per_token": dataset.held_out.bytes_per_token,
        "dropped_bytes": batches.dropped,
        "contamination": dataset.contamination,
        "validation_tokens": dataset.held_out.tokens,
        "corpus": dataset.corpus.hash,
        "tokenizer": dataset.tokenizer.hash,
        "vocabulary": vocabulary,
        "entropy": None if extra else getattr(dataset.corpus, "entropy", None),
        "source_loss": None if extra else getattr(dataset, "source_loss", None),
    }
    fields = identity(config, dataset.corpus.hash, dataset.tokenizer.hash)
    return Specification(run_id(fields), fields, facts, config)


def _sizes(config: AnyRun, vocabulary: int) -> dict[str, Any]:
    """What the model counts and costs."""
    if isinstance(config, NgramRun):  # what it keeps grows with its tokens, and no matrices are multiplied
        counts = ("parameters", "active_parameters", "non_embedding_parameters", "non_embedding_and_head_parameters")
        costs = ("flops", "flops_6nd", "flops_per_token")
        return {"baseline": f"{config.model.order}-gram", **dict.fromkeys(counts), **dict.fromkeys(costs, 0.0)}
    parameters = count_parameters(config.model, vocabulary, config.data.sequence_length, config.objective)
    flops = count_flops(config.model, vocabulary, config.data.sequence_length, config.objective)
    return {
        "baseline": None,
        "parameters": parameters.total,
        "active_parameters": parameters.active,
        "non_embedding_parameters": parameters.non_embedding,
        "non_embedding_and_head_parameters": parameters.non_embedding_and_head,
        "flops": flops.model * config.tokens,
        "flops_6nd": flops.six_n_non_embedding_and_head * config.tokens,
        "flops_per_token": flops.model,
    }

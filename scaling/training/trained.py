"""A run's last saved model, to use it after training."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from scaling.config import ProgramConfig, RunConfig
from scaling.data.prepare import prepare
from scaling.data.tokenizers import Tokenizer, make_tokenizer
from scaling.errors import ScalingError
from scaling.families import AnyRun, build_run
from scaling.models.transformer import Transformer
from scaling.record import RunDirectory
from scaling.stores import store_of
from scaling.training.checkpoints import restore
from scaling.training.program import make_program


@dataclass(frozen=True, eq=False)
class Trained:
    """What a checkpoint of a run holds of its model."""

    config: RunConfig
    facts: dict[str, Any]
    """Of `run.json`."""
    step: int
    parameters: Any

    def transformer(self) -> Transformer:
        """The model itself."""
        model, vocabulary, length = self.config.model, self.facts["vocabulary"], self.config.data.sequence_length
        graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(model, vocabulary, length, rngs=nnx.Rngs(0))))
        return nnx.merge(graph, nnx.State(self.parameters))

    def next_probabilities(self) -> Callable[[np.ndarray], np.ndarray]:
        """A function of tokens [B, L]: the probabilities [B, L, V] of the token after each."""
        graph, state = nnx.split(self.transformer())
        predict = jax.jit(lambda state, tokens_BxL: jax.nn.softmax(nnx.merge(graph, state)(tokens_BxL)))
        return lambda tokens_BxL: np.asarray(predict(state, jnp.asarray(tokens_BxL, jnp.int32)))

    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the run; one that was trained is found, or made again, with the run's data.

        Raises:
            ScalingError: the data now gives another tokenizer than the run was trained with.
        """
        data, expected = self.config.data, self.facts["tokenizer"]
        if data.tokenizer.kind == "bytes":
            return make_tokenizer(data.tokenizer, ())
        tokenizer = prepare(data, self.config.execution.data_directory).tokenizer
        if tokenizer.hash != expected:
            raise ScalingError(
                f"the run was trained with the tokenizer {expected}; its data {data.corpus} now give {tokenizer.hash}"
            )
        return tokenizer


def read_run(path: Path) -> tuple[AnyRun, dict[str, Any]]:
    """The configuration and the facts of a run directory.

    Raises:
        ScalingError: it is none.
    """
    record = RunDirectory(path).specification
    if record is None:
        raise ScalingError(f"{path} is not a run directory: it holds no run.json")
    return build_run(record["config"]), record["facts"]


def load_trained(path: Path) -> Trained:
    """The newest saved model of a run directory, on one device.

    Raises:
        ScalingError: no run directory, no network saved in it, or one that does not predict the next token.
    """
    config, facts = read_run(path)
    if not isinstance(config, RunConfig):
        raise ScalingError(f"{path} counted a {facts['baseline']} model, which has no weights")
    if config.training.objective == "masked":
        raise ScalingError(f"{path} was trained to find hidden tokens (training.objective masked): it predicts no next token")
    if not store_of(path).names(path / "checkpoints"):
        raise ScalingError(f"{path} has no checkpoint yet; its run is {RunDirectory(path).status['state']}")
    length = config.data.sequence_length
    program = make_program(
        config.model, facts["vocabulary"], length, ProgramConfig(), config.optimizer.structure, config.training.skip_spikes
    )
    restored, damaged = restore(path / "checkpoints", program.abstract_state)
    for step, damage in damaged.items():
        print(f"warning: the checkpoint of step {step} is damaged and not used: {damage}", file=sys.stderr)
    if restored is None:
        raise ScalingError(f"{path} has no whole checkpoint; its run is {RunDirectory(path).status['state']}")
    return Trained(config, facts, restored.step, restored.state.parameters)

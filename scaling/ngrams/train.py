"""Count one run's tokens, with the record that a network's run leaves."""

import time
from collections.abc import Callable

import numpy as np

from scaling.data.prepare import Data
from scaling.errors import Exit
from scaling.ngrams.config import NgramRun
from scaling.ngrams.kneser_ney import KneserNey, fit
from scaling.record import RunDirectory
from scaling.specification import Specification


def count(config: NgramRun, dataset: Data, sequences: int) -> KneserNey:
    """The model of the first `sequences` of the run."""
    return fit(dataset.batches(config).rows(0, 0, sequences), config.model.order, dataset.tokenizer.vocabulary)


def train(
    directory: RunDirectory, specification: Specification, dataset: Data, attempt: int, should_stop: Callable[[], bool]
) -> Exit:
    """Count an eighth, a quarter, half of the run's tokens and so on up to all, and record the held-out loss of each model.

    Every row is a whole model: a run that goes on makes the rows that are missing.

    Returns:
        `Exit.DONE`, or `Exit.SAVED` where `should_stop()` said so.
    """
    config = specification.config
    assert isinstance(config, NgramRun)
    before = directory.status.get("seconds", 0.0)
    begun = last = time.perf_counter()
    directory.truncate(config.steps)  # cuts off a torn row
    there = {row["step"] for row in directory.rows()}
    directory.update_status(state="running", steps=config.steps, attempt=attempt, reason=None, checkpoint=None)
    for sequences in evaluated_after(config):
        if sequences in there:
            continue
        if should_stop():
            directory.update_status(state="saved", reason="stopped by a signal")
            return Exit.SAVED
        model = count(config, dataset, sequences)
        losses = {name: _loss(model, part.window_WxL1) for name, part in dataset.held_out.parts.items()}
        loss = dataset.held_out.mean(losses)
        tokens, now = sequences * config.data.sequence_length, time.perf_counter()
        directory.append(
            {
                "step": sequences,
                "tokens": tokens,
                "flops": 0.0,
                "train_loss": None,
                "loss": loss,
                "bits_per_byte": dataset.held_out.bits_per_byte(loss),
                **{f"loss_{name}": losses[name] for name in losses if name},
                "ngrams": model.ngrams,
                "seconds": now - last,
            }
        )
        changes = {"step": sequences, "loss": loss, "tokens_per_second": tokens / (now - last)}
        directory.update_status(**changes, seconds=before + now - begun)
        last = now
    directory.update_status(state="done", step=config.steps)
    return Exit.DONE


def _loss(model: KneserNey, window_WxL1: np.ndarray) -> float:
    return float(-np.log(model.probabilities(window_WxL1)[:, 1:]).mean())


def evaluated_after(config: NgramRun) -> list[int]:
    """Sequences after which there is a row: all of them, half, and so on, `execution.evaluations` times, ascending."""
    halvings = (config.steps >> halved for halved in range(config.execution.evaluations))
    return sorted({sequences for sequences in halvings if sequences})

"""Which kind of run a configuration is: where the family of a model decides what trains it and what samples from it.

Imports jax only where a network is trained or sampled from.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.config import RunConfig, build
from scaling.ngrams.config import NgramRun

if TYPE_CHECKING:
    from scaling.data.prepare import Data
    from scaling.data.tokenizers import Tokenizer
    from scaling.errors import Exit
    from scaling.models.sampling import Sampler
    from scaling.record import RunDirectory
    from scaling.specification import Specification
    from scaling.training.loop import Updates

    Trainer = Callable[[RunDirectory, Specification, Data, int, Callable[[], bool]], Exit | Updates]

AnyRun = RunConfig | NgramRun


def build_run(fields: Mapping[str, Any]) -> AnyRun:
    """The checked configuration of a network's run, or of an n-gram model's where `model.family` says so.

    Raises:
        ScalingError: it is not valid.
    """
    model = fields.get("model")
    if isinstance(model, Mapping) and model.get("family") == "ngram":
        return build(NgramRun, fields)
    return build(RunConfig, fields)


def trainer(config: AnyRun) -> "Trainer":
    """What trains such a run: at once, or update by update for `scaling.training.places.drive`."""
    if isinstance(config, NgramRun):
        from scaling.ngrams import train as counting

        return counting.train
    from scaling.training import loop

    return loop.train


def open_sampler(path: Path) -> "tuple[Sampler, Tokenizer]":
    """What goes on with text as the run in a directory learnt it.

    Raises:
        ScalingError: no run directory, nothing saved in it, or data that are no longer those of the run.
    """
    from scaling.training.trained import load_trained, read_run

    config, facts = read_run(path)
    if isinstance(config, NgramRun):
        from scaling.ngrams.sampling import open_counted

        return open_counted(path, config, facts)
    from scaling.models.sampling import Sampler

    trained = load_trained(path)
    return Sampler(trained.transformer(), trained.config.data.sequence_length), trained.tokenizer()

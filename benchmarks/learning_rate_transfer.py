"""How far the best learning rate moves with the width: `python -m benchmarks.learning_rate_transfer`, about 6 minutes of CPU.

Models of two layers, 32 to 256 wide, are trained on the standard library's source text (bytes) under the standard
parametrization and under muP with the narrowest as its base. At each width the rate is doubled or halved until the best one
lies between two worse ones; the vertex of the parabola in log rate through these three is the best rate. All runs of a
width see the same batches, start from the same seed and are judged by the same held-out bytes.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config import ProgramConfig, RunConfig, build
from scaling.data.batches import Batches
from scaling.data.prepare import Dataset, prepare
from scaling.training.optimizer import hyperparameters
from scaling.training.program import Program, make_program

WIDTHS = (32, 64, 128, 256)
LENGTH, SEQUENCES, STEPS = 64, 8, 200
HELD_OUT = 128
FIRST_RATE = 8e-3


def configuration(width: int, parametrization: dict[str, object]) -> RunConfig:
    tokens = LENGTH * SEQUENCES
    return build(
        RunConfig,
        {
            "model": {"width": width, "layers": 2, "heads": width // 16, "parametrization": parametrization},
            "data": {"sequence_length": LENGTH, "validation_tokens": "16k"},
            "training": {"tokens": STEPS * tokens, "batch_tokens": tokens},
            "optimizer": {"learning_rate": FIRST_RATE},
            "schedule": {"warmup_tokens": 20 * tokens},
        },
    )


def final_loss(config: RunConfig, program: Program, dataset: Dataset, rate: float) -> float:
    """Held-out nats per token after training at a peak rate."""
    hyper = hyperparameters(config)._replace(learning_rate=jnp.float32(rate))
    batches = Batches(dataset.train, LENGTH, SEQUENCES, config.seed)
    state = program.initialise(hyper, jnp.uint32(config.seed))
    for step in range(STEPS):
        state, _ = program.step(state, jax.device_put(batches.at(step), program.batch_sharding), hyper)
    windows = dataset.held_out.window_WxL1[:HELD_OUT]
    sums = [
        program.evaluate(state.parameters, windows[first : first + SEQUENCES], np.ones(SEQUENCES, np.float32))
        for first in range(0, HELD_OUT, SEQUENCES)
    ]
    return float(np.sum(sums)) / (HELD_OUT * LENGTH)


def best_rate(config: RunConfig, dataset: Dataset, start: float) -> tuple[float, dict[float, float]]:
    """The vertex, and the losses by rate."""
    program = make_program(config.model, dataset.tokenizer.vocabulary, LENGTH, ProgramConfig(), config.optimizer.structure)
    losses = {rate: final_loss(config, program, dataset, rate) for rate in (start / 2, start, start * 2)}
    while (best := min(losses, key=lambda rate: losses[rate])) in (min(losses), max(losses)):
        beyond = best / 2 if best == min(losses) else best * 2
        losses[beyond] = final_loss(config, program, dataset, beyond)
    rates = np.array([best / 2, best, best * 2])
    curvature, slope, _ = np.polyfit(np.log(rates), [losses[rate] for rate in rates], 2)
    return float(np.exp(-slope / (2 * curvature))), losses


def main() -> None:
    cache = Path(sys.argv[1] if len(sys.argv) > 1 else ".cache/data")
    dataset = prepare(configuration(WIDTHS[0], {"name": "standard"}).data, cache)
    for parametrization in ({"name": "standard"}, {"name": "mup", "base_width": WIDTHS[0], "base_head_width": 16}):
        found: list[float] = []
        for width in WIDTHS:
            start = 2.0 ** round(np.log2(found[-1] if found else FIRST_RATE))
            rate, losses = best_rate(configuration(width, parametrization), dataset, start)
            found.append(rate)
            tried = "  ".join(f"{each:.2e}: {loss:.4f}" for each, loss in sorted(losses.items()))
            print(f"{parametrization['name']:9} width {width:4}  best rate {rate:.2e}   {tried}", flush=True)
        wider, moved = WIDTHS[-1] // WIDTHS[0], max(found) / min(found)
        print(f"{parametrization['name']}: over {wider}x of width the best rate moves by {moved:.2f}x\n", flush=True)


if __name__ == "__main__":
    main()

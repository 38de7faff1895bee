"""What the gradient noise scale costs: steps with and without it, interleaved in one process on one core.

python benchmarks/noise_scale.py
"""

import os
import time
from unittest import mock

os.environ["JAX_PLATFORMS"] = "cpu"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax
import jax.numpy as jnp
import numpy as np

from scaling.config import RunConfig, build
from scaling.training import gradients, program
from scaling.training.optimizer import hyperparameters

SHAPES = ((32, 2, 128, 4), (64, 4, 256, 8), (128, 4, 256, 8), (256, 6, 256, 8))
VOCABULARY, ROUNDS = 512, 15


class Variant:
    """A training step whose CPU time is taken."""

    def __init__(self, width: int, layers: int, length: int, batch: int, micro_batch: int):
        fields = {
            "model": {"width": width, "layers": layers, "heads": 4},
            "data": {"sequence_length": length},
            "training": {"tokens": batch * length, "batch_tokens": batch * length},
            "optimizer": {"learning_rate": 1e-3},
            "execution": {"micro_batch": micro_batch},
        }
        config = build(RunConfig, fields)
        program._make_program.cache_clear()  # the variants differ in what is patched, too
        made = program.make_program(config.model, VOCABULARY, length, config.execution.program)
        self.step, self.hyper = made.step, hyperparameters(config)
        self.state = made.initialise(self.hyper, jnp.uint32(0))
        self.tokens = np.random.default_rng(0).integers(0, VOCABULARY, (batch, length + 1)).astype(np.int32)
        self.seconds: list[float] = []
        started = time.process_time()
        self.run(1)
        self.compilation = time.process_time() - started
        self.seconds.clear()

    def run(self, steps: int) -> None:
        started = time.process_time()
        for _ in range(steps):
            self.state, metrics = self.step(self.state, self.tokens, self.hyper)
        jax.block_until_ready((self.state, metrics))
        self.seconds.append((time.process_time() - started) / steps)


def main() -> None:
    constant = gradients.Noise(jnp.float32(1), jnp.float32(1))
    unmeasured = mock.patch.object(gradients, "estimate_noise", return_value=constant)
    print("width x layers, batch x length | halves with noise / halves without | halves with noise / whole batch")
    for width, layers, length, batch in SHAPES:
        shape = width, layers, length, batch
        with unmeasured:  # what only the estimate needs is dead code then
            without = Variant(*shape, batch // 2)
        whole, halves = Variant(*shape, batch), Variant(*shape, batch // 2)
        for _ in range(ROUNDS):
            for variant in (whole, without, halves):
                variant.run(max(1, 128 // width))
        ratios = [np.array(halves.seconds) / np.array(each.seconds) for each in (without, whole)]
        shown = [
            f"{np.median(ratio):.3f} ({np.quantile(ratio, 0.25):.3f} to {np.quantile(ratio, 0.75):.3f})" for ratio in ratios
        ]
        compilation = f"compilation {halves.compilation:.1f} s against {whole.compilation:.1f} s"
        print(f"{width}x{layers}, {batch}x{length} | {shown[0]} | {shown[1]} | {compilation}", flush=True)


if __name__ == "__main__":
    main()

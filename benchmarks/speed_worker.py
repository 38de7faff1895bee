"""One process of `speed.py`: it makes the training step of one engine, then obeys lines on stdin with lines of JSON on stdout.

run SECONDS     steps for that long: tokens, wall seconds, page faults a step
peak            the fastest 1024-cubed matrix product of this process and this engine's type, FLOP/s
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

PEAK_SIZE = 1024


def jax_step(shape: dict[str, int], dtype: str) -> tuple[Callable[[np.ndarray], float], int]:
    """The program that `scaling train` runs, its loss read one step late as the training loop does."""
    import jax
    import jax.numpy as jnp

    from scaling.config import RunConfig, build
    from scaling.training.optimizer import hyperparameters
    from scaling.training.program import make_program

    batch_tokens = shape["batch"] * shape["length"]
    config = build(
        RunConfig,
        {
            "model": {"family": "gpt2", "dtype": dtype, **{name: shape[name] for name in ("width", "layers", "heads")}},
            "data": {"sequence_length": shape["length"]},
            "training": {"tokens": 10**6 * batch_tokens, "batch_tokens": batch_tokens},
            "optimizer": {"learning_rate": 1e-3},
        },
    )
    program = make_program(config.model, shape["vocabulary"], shape["length"], config.execution.program)
    hyper = hyperparameters(config)
    state = program.initialise(hyper, jnp.uint32(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(state.parameters))
    waiting: list[Any] = []

    def step(tokens_BxL1: np.ndarray) -> float:
        nonlocal state
        state, metrics = program.step(state, jax.device_put(tokens_BxL1.astype(np.int32), program.batch_sharding), hyper)
        waiting.append(metrics.loss)
        return float(waiting.pop(0)) if len(waiting) > 1 else 0.0

    return step, count


def jax_peak(dtype: str) -> float:
    import jax
    import jax.numpy as jnp

    a = jax.random.normal(jax.random.key(0), (PEAK_SIZE, PEAK_SIZE)).astype(dtype)
    product = jax.jit(lambda a: jnp.dot(a, a))
    return _fastest(lambda: product(a).block_until_ready())


def torch_peak(dtype: str) -> float:
    import torch

    a = torch.randn(PEAK_SIZE, PEAK_SIZE, dtype=getattr(torch, dtype))
    return _fastest(lambda: torch.mm(a, a))


def _fastest(product: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(20):
        begun = time.perf_counter()
        product()
        seconds.append(time.perf_counter() - begun)
    return 2 * PEAK_SIZE**3 / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=["jax", "torch", "torch-compile"])
    parser.add_argument("dtype", choices=["float32", "bfloat16"])
    parser.add_argument("shape", type=json.loads)
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    shape, dtype = arguments.shape, arguments.dtype
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})  # before any library makes its threads
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    if arguments.engine == "jax":
        step, parameters = jax_step(shape, dtype)
    else:
        from torch_gpt import make_step

        step, parameters = make_step(shape, dtype == "bfloat16", arguments.engine == "torch-compile")
    tokens_BxL1 = np.random.default_rng(0).integers(0, shape["vocabulary"], (shape["batch"], shape["length"] + 1))
    for _ in range(3):
        step(tokens_BxL1)

    def answer(**content: float | str) -> None:
        print(json.dumps(content), file=answers, flush=True)

    answer(parameters=parameters, version=version(arguments.engine.split("-")[0]))
    for line in sys.stdin:
        command, *rest = line.split()
        if command == "peak":
            answer(peak=jax_peak(dtype) if arguments.engine == "jax" else torch_peak(dtype))
            continue
        steps, faults, begun = 0, resource.getrusage(resource.RUSAGE_SELF).ru_minflt, time.perf_counter()
        while time.perf_counter() - begun < float(rest[0]) or steps < 2:
            step(tokens_BxL1)
            steps += 1
        elapsed = time.perf_counter() - begun
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
        answer(tokens=steps * shape["batch"] * shape["length"], seconds=elapsed, faults=faults / steps)


if __name__ == "__main__":
    main()

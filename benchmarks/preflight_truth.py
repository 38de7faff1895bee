"""What preflight predicts for this machine's CPU against what a real run here does: memory, and the time of a step.

    python benchmarks/preflight_truth.py      a table in Markdown; about two minutes, and a quiet machine for the times

Memory: the compiler's peak of a step against the most that this process ever held in its steps, by the kernel's own count,
beyond what it held before the state was made. Time: the roofline of `scaling.preflight`, with the peaks measured here first (a
matrix product of 1024 x 1024, and a copy of 256 MiB), against the median step. Each shape is a process of its own, since memory
that was freed is not always given back.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "s256": {"width": 256, "layers": 6, "heads": 8, "length": 256, "batch": 16, "vocabulary": 4096},
    "s512": {"width": 512, "layers": 8, "heads": 8, "length": 256, "batch": 16, "vocabulary": 8192},
    "s768": {"width": 768, "layers": 8, "heads": 12, "length": 512, "batch": 8, "vocabulary": 8192},
}


def memory_held(field: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM`, the most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measured_peaks() -> dict[str, float]:
    """FLOP/s of a float32 matrix product and bytes/s of a copy, both ways counted, on all cores."""
    import jax
    import jax.numpy as jnp

    def fastest(function: Any, *arguments: Any) -> float:
        seconds = []
        for _ in range(15):
            begun = time.perf_counter()
            function(*arguments).block_until_ready()
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    a = jax.random.normal(jax.random.key(0), (1024, 1024))
    copied = jnp.zeros(2**26, jnp.float32)
    return {
        "peak_flops": 2 * 1024**3 / fastest(jax.jit(jnp.dot), a, a),
        "memory_bandwidth": 2 * copied.nbytes / fastest(jax.jit(lambda x: x + 1), copied),
    }


def measure(shape: dict[str, int], steps: int) -> dict[str, float]:
    """Prediction and measurement of one shape in this process."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from scaling.config import ModelConfig, ProgramConfig, build
    from scaling.preflight.compilers import compile_job, step_arguments
    from scaling.preflight.hardware import Device, Target
    from scaling.preflight.jobs import Job
    from scaling.preflight.programs import Shape
    from scaling.preflight.roofline import step_times
    from scaling.training.optimizer import no_hyperparameters
    from scaling.training.program import make_program

    peaks = measured_peaks()
    device = Device(
        **peaks, memory_bytes=1e12, link_bandwidth=1.0, network_bandwidth=None, price=None, priced="", utilization=1.0
    )
    here = {"name": "here", "kind": "cpu", "platform": "cpu", "topology": "", "slices": 1, "devices": 1, "arguments": {}}
    target = Target(**here, memory=1e12, tile=1, device=device)
    model = build(ModelConfig, {"family": "gpt2", **{name: shape[name] for name in ("width", "layers", "heads")}})
    program = Shape(
        model=model,
        vocabulary=shape["vocabulary"],
        sequence_length=shape["length"],
        batch_size=shape["batch"],
        program=ProgramConfig(),
    )
    answer = compile_job(Job(shape=program, target=target, effort="full", directory=None))
    assert answer.memory is not None, answer.failure
    made = make_program(model, program.vocabulary, program.sequence_length, program.program)
    compiled = made.step.lower(*step_arguments(made, program)).compile()  # type: ignore[attr-defined]
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (program.batch_size, program.sequence_length + 1))
    hyper = no_hyperparameters(program.optimizer)
    jax.block_until_ready(hyper)
    before = memory_held("VmRSS")
    state = jax.tree.map(lambda leaf: jnp.asarray(np.full(leaf.shape, 0.01, leaf.dtype)), made.abstract_state)
    state = jax.block_until_ready(jax.device_put(state))
    placed = jax.device_put(tokens.astype(np.int32), made.batch_sharding)
    forget_peak()
    seconds = []
    for _ in range(steps):
        begun = time.perf_counter()
        state, metrics = compiled(state, placed, hyper)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - begun)
    return {
        **peaks,
        "predicted_bytes": answer.memory.peak or 0.0,
        "measured_bytes": memory_held("VmHWM") - before,
        "predicted_seconds": step_times(answer, target, 0.0).least,
        "measured_seconds": statistics.median(seconds[1:] or seconds),
    }


def in_a_process(shape: dict[str, int], steps: int) -> dict[str, float]:
    """`measure` in a new process, without the settings that tests make."""
    command = [sys.executable, __file__, "--shape", json.dumps(shape), "--steps", str(steps)]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", type=json.loads)
    parser.add_argument("--steps", type=int, default=6)
    arguments = parser.parse_args()
    if arguments.shape is not None:
        print(json.dumps(measure(arguments.shape, arguments.steps)))
        return
    print("| shape | memory predicted | measured | error | step predicted, at least | measured | share | GFLOP/s | GB/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        found = in_a_process(shape, arguments.steps)
        memory = found["predicted_bytes"] / found["measured_bytes"] - 1
        share = found["predicted_seconds"] / found["measured_seconds"]
        print(
            f"| {name} | {found['predicted_bytes'] / 2**20:.0f} MiB | {found['measured_bytes'] / 2**20:.0f} MiB "
            f"| {memory:+.1%} "
            f"| {1e3 * found['predicted_seconds']:.0f} ms | {1e3 * found['measured_seconds']:.0f} ms | {share:.2f} "
            f"| {found['peak_flops'] / 1e9:.0f} | {found['memory_bandwidth'] / 1e9:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""What preflight predicts for this machine's CPU against what a real run here does: memory, and the time of a step.

    python benchmarks/preflight_truth.py      a table in Markdown; about two minutes, and a quiet machine for the times

Memory: the compiler's peak of a step against the most that this process ever held in its steps, by the kernel's own count,
beyond what it held before the state was made and after a first step of another: libraries, threads and their stacks are the
process's and not the step's. Time: the bound of `scaling.preflight.roofline`, with the peaks measured here first
(the best of matrix products of several shapes; an array of 256 MiB increased in place), against the median step. Each shape is
a process of its own, since memory that was freed is not always given back.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaling.preflight.hardware import Target
    from scaling.preflight.jobs import Compilation
    from scaling.preflight.programs import Shape

SHAPES: dict[str, dict[str, int]] = {
    "s256": {"width": 256, "layers": 6, "heads": 8, "length": 256, "batch": 16, "vocabulary": 4096},
    "s512": {"width": 512, "layers": 8, "heads": 8, "length": 256, "batch": 16, "vocabulary": 8192},
    "s768": {"width": 768, "layers": 8, "heads": 12, "length": 512, "batch": 8, "vocabulary": 8192},
}

PRODUCTS = ((512, 512, 512), (1024, 1024, 1024), (2048, 256, 1024), (2048, 512, 2048), (2048, 1024, 256))
"""Rows, contracted and columns of the matrix products whose best is the machine's peak; a step's are of such shapes."""


def memory_held(field: str) -> int:
    """Bytes of this process: `VmRSS` now, or `VmHWM`, the most since `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def forget_peak() -> None:
    """What was freed goes back to the kernel, and the most that was held is what is held now."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def settle() -> None:
    """Return when nothing more is given back: a step's results are ready a moment before its temporaries are freed."""
    held, calm = 0, 0
    while calm < 5:
        time.sleep(0.2)
        forget_peak()
        before, held = held, memory_held("VmRSS")
        calm = calm + 1 if held >= before - 2**20 else 0


def last_level_cache() -> float:
    """Bytes, of all cores together where they share it."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((float(size.read_text().strip().removesuffix("K")) * 1024 for size in sizes), default=0.0)


def measured_peaks() -> dict[str, float]:
    """FLOP/s of a float32 matrix product and bytes/s to and from memory, on all cores.

    The array is written in place: a new one would be new pages, which the kernel clears and maps at a tenth of the speed.
    """
    import jax
    import jax.numpy as jnp

    def fastest(call: Callable[[], Any]) -> float:
        seconds = []
        for _ in range(15):
            begun = time.perf_counter()
            jax.block_until_ready(call())
            seconds.append(time.perf_counter() - begun)
        return min(seconds)

    def product(rows: int, contracted: int, columns: int) -> float:
        a, b = (jax.random.normal(jax.random.key(0), shape) for shape in ((rows, contracted), (contracted, columns)))
        multiply = jax.jit(jnp.dot)
        return 2 * rows * contracted * columns / fastest(lambda: multiply(a, b))

    increase = jax.jit(lambda x: x + 1, donate_argnums=0)
    array = jnp.zeros(2**26, jnp.float32)

    def increased() -> Any:
        nonlocal array
        array = increase(array)
        return array

    return {
        "peak_flops": max(product(*shape) for shape in PRODUCTS),
        "memory_bandwidth": 2 * array.nbytes / fastest(increased),
    }


def program_of(shape: dict[str, int]) -> "Shape":
    """What preflight compiles for one of `SHAPES`."""
    from scaling.config import ModelConfig, build
    from scaling.preflight.programs import Shape

    return Shape(
        model=build(ModelConfig, {"family": "gpt2", **{name: shape[name] for name in ("width", "layers", "heads")}}),
        vocabulary=shape["vocabulary"],
        sequence_length=shape["length"],
        batch_size=shape["batch"],
    )


def predict(program: "Shape", peaks: dict[str, float]) -> "tuple[Compilation, Target]":
    """The program compiled as preflight does it, for this machine."""
    from scaling.preflight.compilers import compile_job
    from scaling.preflight.hardware import Device, Target
    from scaling.preflight.jobs import Job

    device = Device(
        **peaks, memory_bytes=1e12, link_bandwidth=1.0, network_bandwidth=None, price=None, priced="", utilization=1.0
    )
    here = {"name": "here", "kind": "cpu", "platform": "cpu", "topology": "", "slices": 1, "devices": 1, "arguments": {}}
    target = Target(**here, memory=1e12, tile=1, device=device, cache=last_level_cache())
    answer = compile_job(Job(shape=program, target=target, effort="full", directory=None))
    assert answer.memory is not None, answer.failure
    return answer, target


def run(program: "Shape", steps: int) -> tuple[float, float]:
    """The most bytes that real steps held, their state included, and the seconds of the median step."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from scaling.preflight.compilers import program_of_shape, step_arguments
    from scaling.training.optimizer import no_hyperparameters

    made = program_of_shape(program, jax.devices("cpu")[:1], "cpu")  # the one that was predicted: compiled once
    compiled = made.step.lower(*step_arguments(made, program)).compile()  # type: ignore[attr-defined]
    tokens = np.random.default_rng(0).integers(0, program.vocabulary, (program.batch_size, program.sequence_length + 1))
    hyper = jax.block_until_ready(no_hyperparameters(program.optimizer))
    placed = jax.device_put(tokens.astype(np.int32), made.batch_sharding)

    def train(steps: int) -> list[float]:
        state = jax.tree.map(lambda leaf: jnp.asarray(np.full(leaf.shape, 0.01, leaf.dtype)), made.abstract_state)
        state = jax.block_until_ready(jax.device_put(state))
        forget_peak()
        seconds = []
        for _ in range(steps):
            begun = time.perf_counter()
            state, metrics = compiled(state, placed, hyper)
            jax.block_until_ready((state, metrics))
            seconds.append(time.perf_counter() - begun)
        return seconds

    train(1)
    settle()
    before = memory_held("VmRSS")
    seconds = train(steps)
    return float(memory_held("VmHWM") - before), statistics.median(seconds)


def compare(shape: dict[str, int], steps: int, times: bool) -> dict[str, float]:
    """Prediction and measurement of one shape in this process; without `times`, of memory alone."""
    from scaling.preflight.roofline import step_times

    peaks = measured_peaks() if times else {"peak_flops": 1.0, "memory_bandwidth": 1.0}
    program = program_of(shape)
    answer, target = predict(program, peaks)
    held, seconds = run(program, steps)
    assert answer.memory is not None
    found = {"predicted_bytes": answer.memory.peak or 0.0, "measured_bytes": held}
    if times:
        bound = step_times(answer, target, 0.0, 1)
        found |= {**peaks, "compute": bound.compute, "memory": bound.memory, "measured_seconds": seconds}
    return found


def in_a_process(shape: dict[str, int], steps: int, times: bool = True) -> dict[str, float]:
    """`compare` in a new process, without the settings that tests make."""
    command = [sys.executable, __file__, "--shape", json.dumps(shape), "--steps", str(steps), *["--times"] * times]
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--shape", type=json.loads)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--times", action="store_true")
    arguments = parser.parse_args()
    if arguments.shape is not None:
        print(json.dumps(compare(arguments.shape, arguments.steps, arguments.times)))
        return
    print("| shape | memory predicted | measured | error | products take at least | memory at least | a step took |", end="")
    print(" bound / measured | GFLOP/s | GB/s |\n|---|---|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        found = in_a_process(shape, arguments.steps)
        predicted, measured = found["predicted_bytes"], found["measured_bytes"]
        bound = max(found["compute"], found["memory"])
        cells = [
            name,
            f"{predicted / 2**20:.0f} MiB",
            f"{measured / 2**20:.0f} MiB",
            f"{predicted / measured - 1:+.1%}",
            *(f"{1e3 * found[each]:.0f} ms" for each in ("compute", "memory", "measured_seconds")),
            f"{bound / found['measured_seconds']:.2f}",
            f"{found['peak_flops'] / 1e9:.0f}",
            f"{found['memory_bandwidth'] / 1e9:.1f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

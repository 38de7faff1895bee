"""Training speed on this machine's CPU, against PyTorch and against plain JAX, all in one interleaved run; start-up times.

    make speed          (or python benchmarks/speed.py; about 25 minutes on 2 quiet cores, --quick for a look at the program)

Every engine has its own processes, pinned to one core each, with the settings that the launcher gives its workers
(`scaling/sweeps/launchers/local.py`; PyTorch has the same allocator). They stay alive and take turns; what is printed are
medians over the turns. "as started" is JAX without any setting, on all cores. A share of the peak is model FLOPs
(`scaling/counting.py`) over the fastest matrix product of the same process and type. Prints Markdown.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling.config import ModelConfig, build
from scaling.counting import count_flops
from scaling.sweeps.launchers.local import ALLOCATOR, BFLOAT16_FLAGS

FIXED = {"vocabulary": 512, "length": 256, "batch": 8}
SHAPES = {
    "s64": {"width": 64, "layers": 4, "heads": 2, **FIXED},
    "s128": {"width": 128, "layers": 4, "heads": 4, **FIXED},
    "s256": {"width": 256, "layers": 6, "heads": 4, **FIXED},
    "s384": {"width": 384, "layers": 6, "heads": 6, **FIXED},
}
QUICK = {"tiny": {"width": 16, "layers": 1, "heads": 1, "vocabulary": 32, "length": 16, "batch": 2}}
SETTINGS = {"GLIBC_TUNABLES": ALLOCATOR}


@dataclass
class Engine:
    """A way to train, its processes, and what they measured."""

    kind: str
    dtype: str
    pinned: bool = True
    python: str = sys.executable
    speeds: dict[int, list[float]] = field(default_factory=lambda: {1: [], 2: []})
    """Tokens per second of all processes together, by how many ran at once."""
    peaks: list[float] = field(default_factory=list)
    faults: list[float] = field(default_factory=list)
    parameters: float = 0
    version: str = ""

    @property
    def name(self) -> str:
        return f"{self.kind}{self.version} {self.dtype}{'' if self.pinned else ' as started'}"

    def start(self, shape: dict[str, int], cores: list[int]) -> None:
        environment = {**os.environ}
        for name in ("GLIBC_TUNABLES", "XLA_FLAGS"):
            environment.pop(name, None)
        if self.pinned:
            environment |= SETTINGS
            if self.kind == "jax" and self.dtype == "bfloat16":
                environment["XLA_FLAGS"] = BFLOAT16_FLAGS
        command = [self.python, str(Path(__file__).with_name("speed_worker.py")), self.kind, self.dtype, json.dumps(shape)]
        self.processes = [
            subprocess.Popen(
                [*command, *pin],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for pin in ([["--core", str(core)] for core in cores] if self.pinned else [[]])
        ]
        for process in self.processes:
            answer = self._answer(process)
            self.parameters, self.version = answer["parameters"], f" {answer['version']}"

    def run(self, count: int, seconds: float) -> None:
        """A turn of the first `count` processes, at once."""
        for process in self.processes[:count]:
            self._say(process, f"run {seconds}")
        turns = [self._answer(process) for process in self.processes[:count]]
        self.speeds[count].append(sum(turn["tokens"] / turn["seconds"] for turn in turns))
        if count == 1:
            self.faults.append(turns[0]["faults"])
            self._say(self.processes[0], "peak")
            self.peaks.append(self._answer(self.processes[0])["peak"])

    def end(self) -> None:
        for process in self.processes:
            process.communicate()

    def _say(self, process: subprocess.Popen[str], line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"error: the process of {self.name} ended: {' '.join(process.args)}")  # type: ignore[arg-type]
        return json.loads(line)


def measure(shape: dict[str, int], torch: bool, compiled: bool, beside: str | None, turns: int, seconds: float) -> list[Engine]:
    kinds = ["jax", *(["torch"] if torch else []), *(["torch-compile"] if torch and compiled else [])]
    engines = [Engine(kind, dtype) for dtype in ("float32", "bfloat16") for kind in kinds]
    if beside is not None:
        engines += [Engine("jax", dtype, python=beside) for dtype in ("float32", "bfloat16")]
    engines.append(Engine("jax", "float32", pinned=False))
    cores = sorted(os.sched_getaffinity(0))[:2]
    for engine in engines:
        engine.start(shape, cores)
    for _ in range(turns):
        for engine in engines:
            for count in range(1, len(engine.processes) + 1):
                engine.run(count, seconds)
    for engine in engines:
        engine.end()
    assert len({engine.parameters for engine in engines}) == 1, "the engines do not train the same model"
    return engines


def table(name: str, shape: dict[str, int], engines: list[Engine]) -> str:
    """Markdown: a line an engine; the last column compares with the fastest PyTorch of the type, two processes at once."""
    model = build(ModelConfig, {"family": "gpt2", **{key: shape[key] for key in ("width", "layers", "heads")}})
    flops = count_flops(model, shape["vocabulary"], shape["length"]).model
    title = f"{name}: width {shape['width']}, {shape['layers']} layers, {engines[0].parameters:,.0f} parameters"
    head = "| | tokens/s, 1 process | tokens/s, 2 at once | peak, GFLOP/s | share of the peak | page faults a step | of torch |"
    lines = [f"\n**{title}**, sequences of {shape['length']}, batch {shape['batch']}\n", head, "|---|" + "---:|" * 6]
    for engine in engines:
        one, peak = statistics.median(engine.speeds[1]), statistics.median(engine.peaks)
        two = statistics.median(engine.speeds[2]) if engine.speeds[2] else None
        peers = [
            statistics.median(each.speeds[2])
            for each in engines
            if each.kind.startswith("torch") and each.dtype == engine.dtype and each.speeds[2]
        ]
        cells = [
            engine.name,
            f"{one:,.0f}",
            "" if two is None else f"{two:,.0f}",
            f"{peak / 1e9:,.0f}",
            f"{one * flops / peak:.1%}",
            f"{statistics.median(engine.faults):,.0f}",
            f"{(two or one) / max(peers):.2f}" if peers else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


START_UP = """\
model: {width: 32, layers: 2, heads: 1}
data: {sequence_length: 128, validation_tokens: 32k}
training: {tokens: 150k, batch_tokens: 512}
optimizer: {learning_rate: 3.5e-3}
execution: {log_every: 1, cache_directory: cache}
"""
"""The smallest model of configs/quickstart.yaml."""

FURTHER = """
import sys, time
from pathlib import Path
from scaling.config import RunConfig, build, override, read_yaml
from scaling.data.prepare import prepare
from scaling.specification import specify
from scaling.stopping import StopSignal
from scaling.training.attempt import attempt

class FirstStep(StopSignal):
    def __call__(self):
        self.seen = time.perf_counter()
        return True

stop = FirstStep()
for seed in range(5):
    begun = time.perf_counter()
    run = build(RunConfig, override(read_yaml("run.yaml"), [f"seed={seed}"]))
    dataset = prepare(run.data, run.execution.data_directory)
    attempt(Path(f"further/{seed}"), specify(run, dataset), dataset, stop)
    print(stop.seen - begun)
"""


def start_up(repeats: int) -> str:
    """Markdown: from the command to the first row of the curve, and from one run to the first step of the next."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "run.yaml").write_text(START_UP)
        _first_row(home, "first")  # prepares the data
        cold = _first_row(home, "cold", fresh=True)
        warm = min(_first_row(home, f"warm-{number}") for number in range(repeats))
        script = subprocess.run(
            [sys.executable, "-c", FURTHER], cwd=home, env=_here(), capture_output=True, text=True, check=True
        )
        further = statistics.median([float(line) for line in script.stdout.split()[1:]])
    return "\n".join(
        [
            "\n**Start-up**, the smallest model of the quickstart\n",
            "| from | to | seconds | CPU seconds |",
            "|---|---|---:|---:|",
            f"| `scaling train`, nothing compiled | its first row | {cold[0]:.1f} | {cold[1]:.1f} |",
            f"| `scaling train`, compile cache | its first row | {warm[0]:.1f} | {warm[1]:.1f} |",
            f"| the next run of a known shape in a living worker | its first step | {further:.2f} | |",
        ]
    )


def _first_row(home: Path, runs: str, fresh: bool = False) -> tuple[float, float]:
    """Wall and CPU seconds from the command to the first row of its curve; the run is then killed."""
    if fresh:
        shutil.rmtree(home / "cache" / "jax")
    before, begun = os.times(), time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "scaling", "train", "run.yaml", "--runs", runs], cwd=home, env=_here(), stdout=subprocess.DEVNULL
    )
    while not any(path.stat().st_size for path in home.glob(f"{runs}/*/*/curve.jsonl")):
        if process.poll() is not None:
            raise SystemExit("error: `scaling train` ended before its first row")
        time.sleep(0.01)
    elapsed = time.perf_counter() - begun
    process.kill()
    process.wait()
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return elapsed, used


def _here() -> dict[str, str]:
    """The environment with this checkout's package, also where it is not the installed one."""
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--beside", metavar="PYTHON", help="another environment's interpreter, whose JAX is measured as well")
    parser.add_argument("--quick", action="store_true", help="a tiny shape for a moment: no measurement, a look at the program")
    arguments = parser.parse_args()
    os.environ |= _here()
    torch = importlib.util.find_spec("torch") is not None
    if not torch:
        print("without PyTorch (`make speed` has an environment with it): no comparison")
    shapes = QUICK if arguments.quick else {name: SHAPES[name] for name in arguments.shapes}
    turns, seconds = (1, 0.05) if arguments.quick else (arguments.turns, arguments.seconds)
    for name, shape in shapes.items():
        print(table(name, shape, measure(shape, torch, not arguments.quick, arguments.beside, turns, seconds)), flush=True)
    print(start_up(repeats=1 if arguments.quick else 3))


if __name__ == "__main__":
    main()

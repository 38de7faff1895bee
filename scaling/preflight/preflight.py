"""A plan on a target: every program compiled, and for each what fits.        (no jax)"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scaling.preflight.choice import Choice, best_mesh
from scaling.preflight.hardware import Target
from scaling.preflight.jobs import Compilation, Effort, Job
from scaling.preflight.packing import Packing, most_side_by_side, spread
from scaling.preflight.pool import Compilers
from scaling.preflight.programs import PlannedProgram, Shape
from scaling.preflight.report import Finding
from scaling.preflight.search import Fitting, lightest, nearest_mesh


class Preflight:
    """Compiles for one target and keeps what it learns below `directory`.

    Args:
        compilers: the processes that compile for the target.
        effort: of what is reported; a search compiles quickly, which is safe: what fits at level 0 fits.
        directory: where results are kept.
        done: called after each compilation.
    """

    def __init__(self, compilers: Compilers, effort: Effort, directory: Path, done: Callable[[], None] = lambda: None):
        self.compilers, self.effort, self.directory, self.done = compilers, effort, directory, done
        self.target: Target = compilers.target
        self._known: dict[tuple[Shape, Effort], Compilation] = {}

    def findings(self, programs: Sequence[PlannedProgram], finished: Callable[[], None] = lambda: None) -> list[Finding]:
        """One for each program, in their order; `finished` is called after each."""

        def one(program: PlannedProgram) -> Finding:
            finding = self._finding(program)
            finished()
            return finding

        with ThreadPoolExecutor(max(1, len(programs))) as threads:
            return list(threads.map(one, programs))

    def choices(self, programs: Sequence[PlannedProgram], finished: Callable[[], None] = lambda: None) -> dict[str, Choice]:
        """The fastest way to execute each program on the target that fits, by its first run; none for what fits nowhere."""
        found: dict[str, Choice] = {}
        for each in programs:
            choice = best_mesh(each.shape, self.target, self._quickly, self.compilers.workers)
            if choice is not None:
                found[each.run] = choice
            finished()
        return found

    def _finding(self, program: PlannedProgram) -> Finding:
        compilation = self._compile(program.shape, self.effort)
        if self.effort == "lower" or (compilation.failure is not None and compilation.failure.kind == "compiler"):
            return Finding(program, self.target, compilation)
        best = None
        if compilation.failure is None or compilation.failure.kind == "memory":
            best = lightest(program.shape, self._quickly)
        if compilation.failure is None:
            return Finding(program, self.target, compilation, best, packing=self._packing(program))
        instead: Fitting | None = best or nearest_mesh(program.shape, self.target.devices, self.target.slices, self._quickly)
        return Finding(program, self.target, compilation, best, instead)

    def _packing(self, program: PlannedProgram) -> Packing | None:
        """For the runs that are whole on a device, if there are several: how many of them each device holds."""
        runs = program.together
        if runs == 1:
            return None
        most = max(-(-runs // self.target.devices), spread(runs, program.cohort, self.target.devices).members)
        return most_side_by_side(program.shape, most, self.target.memory, self._quickly)

    def _quickly(self, shape: Shape) -> Compilation:
        return self._compile(shape, "quick")

    def _compile(self, shape: Shape, effort: Effort) -> Compilation:
        if (shape, effort) not in self._known:
            job = Job(shape=shape, target=self.target, effort=effort, directory=str(self.directory))
            self._known[shape, effort] = self.compilers.compile(job)
            self.done()
        return self._known[shape, effort]

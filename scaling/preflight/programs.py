"""The distinct programs of a plan: runs of one shape, batch and mesh share one.        (no jax)"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from scaling.config import ModelConfig, ProgramConfig, RunConfig
from scaling.optimization import SpikeConfig, Structure
from scaling.section import Section
from scaling.sweeps.cohorts import cohort_key
from scaling.sweeps.plan import Cell


class Shape(Section):
    """All that a training step is compiled from."""

    model: ModelConfig
    vocabulary: int
    sequence_length: int
    batch_size: int
    """Sequences of a step, over all devices."""
    program: ProgramConfig = ProgramConfig()
    optimizer: Structure = Structure()
    skip_spikes: SpikeConfig | None = None
    objective: str = "causal"
    separate_documents: bool = False
    members: int | None = None
    """Runs of a cohort that are side by side on each device; None for the step of one run."""

    @property
    def micro_batch(self) -> int:
        """Sequences in memory at once, over all devices."""
        return min(self.program.micro_batch or self.batch_size, self.batch_size)

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.batch_size * self.sequence_length

    def changed(self, **fields: Any) -> "Shape":
        """The same with other fields of its program."""
        return self.model_copy(update={"program": self.program.model_copy(update=fields)})


class PlannedProgram(NamedTuple):
    """A program, and the runs that share it."""

    shape: Shape
    cells: tuple[Cell, ...]

    @property
    def together(self) -> int:
        """The most of them that can be a cohort; 1 for those that a mesh splits."""
        if self.shape.program.mesh.devices > 1:
            return 1
        if len(self.cells) == 1:
            return 1
        configs = [cell.specification.config.model_dump(mode="json") for cell in self.cells]
        for each in configs:
            each["execution"]["cohort"] = len(self.cells)  # whatever is planned
        return max(Counter(cohort_key({"config": each}) for each in configs).values())

    @property
    def cohort(self) -> int:
        """How many of them are trained together, as planned."""
        return min(self.cells[0].specification.config.execution.cohort, self.together)

    @property
    def run(self) -> str:
        """The id of its first run."""
        return self.cells[0].specification.run_id


def shape_of(config: RunConfig, vocabulary: int) -> Shape:
    """The program of a run. What is traced in it, such as the weight of the z-loss, is set to 0."""
    return Shape(
        model=config.model.compiled,
        vocabulary=vocabulary,
        sequence_length=config.data.sequence_length,
        batch_size=config.batch_size,
        program=config.execution.program,
        optimizer=config.optimizer.structure,
        skip_spikes=config.training.skip_spikes,
        objective=config.objective,
        separate_documents=config.data.documents == "separate",
    )


def distinct(cells: Sequence[Cell]) -> list[PlannedProgram]:
    """The programs of a plan's cells, in their order; n-grams are counted without one."""
    sharing: dict[str, tuple[Shape, list[Cell]]] = {}
    for cell in cells:
        config = cell.specification.config
        if not isinstance(config, RunConfig):
            continue
        shape = shape_of(config, cell.specification.facts["vocabulary"])
        sharing.setdefault(shape.model_dump_json(), (shape, []))[1].append(cell)
    return [PlannedProgram(shape, tuple(cells)) for shape, cells in sharing.values()]

"""Where runs are trained: one in a program of its own, or several of one program together, as a cohort.

Both make the same updates of a run, which keeps its own record of them (`loop.py`). What becomes of one run of a cohort is
nothing to the others: the seat of one that has ended (done, diverged, cancelled, taken over) goes on without being read.

Shape suffixes: R runs of a cohort, B batch, L sequence.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import jax
import numpy as np

from scaling.training import processes
from scaling.training.program import Metrics, State

if TYPE_CHECKING:
    from scaling.training.loop import Training

Reading = Callable[[], Metrics]
"""Waits for the numbers of an update that was dispatched."""

Result = TypeVar("Result")


def drive(runs: "Sequence[Generator[Training, Reading, Result]]", turn: Callable[[int], None]) -> list[Result]:
    """Train runs of one program to their ends, and return what each returned.

    Args:
        runs: each yields itself for every update it wants, and is sent the reading of it; what goes wrong with an update is
            raised in all that wanted it.
        turn: called with the number of a run before that does anything.
    """
    results: dict[int, Result] = {}
    going: dict[int, Training] = {}

    def resume(number: int, go: "Callable[[], Training]") -> None:
        turn(number)
        try:
            going[number] = go()
        except StopIteration as ended:
            going.pop(number, None)
            results[number] = ended.value

    for number, run in enumerate(runs):
        resume(number, partial(next, run))
    place: Alone | Cohort | None = None
    while going:
        try:
            place = place or (Alone if len(going) == 1 else Cohort)(going)
            readings = place.update(going)
        except BaseException as error:
            here = error.__traceback__
            for number in list(going):
                resume(number, partial(runs[number].throw, error.with_traceback(here)))
        else:
            for number in list(going):
                resume(number, partial(runs[number].send, readings[number]))
    return [results[number] for number in range(len(runs))]


class Place(Protocol):
    """Where the state of a run is while it is trained."""

    @property
    def members(self) -> int:
        """How many runs are trained together there."""

    def state(self) -> State:
        """The run's state now."""

    def evaluate(self, tokens_BxL1: np.ndarray, weights_B: np.ndarray) -> Callable[[], np.ndarray]:
        """Dispatch `Program.evaluate` of the run's parameters now; the returned function waits for it."""


class Alone:
    """The place of a run that has a program, and its devices, to itself."""

    members = 1

    def __init__(self, going: "Mapping[int, Training]"):
        (training,) = going.values()
        self._program, self._state = training.program, training.take_state()
        training.place = self

    def update(self, going: "Mapping[int, Training]") -> Mapping[int, Reading]:
        """Dispatch the update that the run wants."""
        ((number, training),) = going.items()
        shape = (training.config.batch_size, training.config.data.sequence_length + 1)
        tokens_BxL1 = processes.place(training.rows, shape, self._program.batch_sharding)
        self._state, metrics = self._program.step(self._state, tokens_BxL1, training.hyper)
        return {number: lambda: metrics}

    def state(self) -> State:
        """The run's state now."""
        return self._state

    def evaluate(self, tokens_BxL1: np.ndarray, weights_B: np.ndarray) -> Callable[[], np.ndarray]:
        """Dispatch `Program.evaluate` of the run's parameters now; the returned function waits for it."""
        placed = (processes.place_array(each, self._program.batch_sharding) for each in (tokens_BxL1, weights_B))
        sums = self._program.evaluate(self._state.parameters, *placed)
        return lambda: np.asarray(sums)


class Cohort:
    """The place of several runs of one program, each in a seat. Where the devices are no divisor of them, seats are added that
    repeat the first run.
    """

    def __init__(self, going: "Mapping[int, Training]"):
        runs = list(going.values())
        self.members, devices = len(runs), min(len(runs), len(jax.devices()))
        seats = -(-self.members // devices) * devices
        runs += runs[:1] * (seats - self.members)
        self._seat = {number: seat for seat, number in enumerate(going)}
        self._program = runs[0].make_program(members=seats)
        self._hyper_R = jax.device_put(_stacked([run.hyper for run in runs]), self._program.batch_sharding)
        shardings = jax.tree.map(lambda leaf: leaf.sharding, self._program.abstract_state)
        states = [run.take_state() for run in going.values()]
        self._state_R = jax.device_put(_stacked(states + states[:1] * (seats - self.members)), shardings)
        unread = np.zeros((runs[0].config.batch_size, runs[0].config.data.sequence_length + 1), np.int32)
        self._rows_R = [unread] * seats
        self._evaluated: dict[bytes, jax.Array] = {}
        for number, run in going.items():
            run.place = _Seat(self, self._seat[number])

    def update(self, going: "Mapping[int, Training]") -> Mapping[int, Reading]:
        """Dispatch the updates that these of the runs want."""
        for number, run in going.items():
            self._rows_R[self._seat[number]] = run.rows(0, run.config.batch_size)
        tokens_RxBxL1 = jax.device_put(np.stack(self._rows_R), self._program.batch_sharding)
        self._state_R, metrics_R = self._program.step(self._state_R, tokens_RxBxL1, self._hyper_R)
        self._evaluated.clear()
        return {number: partial(_of_seat, metrics_R, self._seat[number]) for number in going}

    def state(self, seat: int) -> State:
        """The state of one run now, on its device."""
        on_device = len(self._rows_R) // self._program.mesh.size
        device = self._program.mesh.devices.flat[seat // on_device]

        def part(leaf_R: jax.Array) -> jax.Array:
            return next(shard.data for shard in leaf_R.addressable_shards if shard.device == device)

        return _pick(jax.tree.map(part, self._state_R), seat % on_device)

    def evaluate(self, tokens_BxL1: np.ndarray, weights_B: np.ndarray) -> jax.Array:
        """Of every run [R], dispatched once for all that ask after the same update."""
        asked = tokens_BxL1.tobytes() + weights_B.tobytes()
        if asked not in self._evaluated:
            self._evaluated[asked] = self._program.evaluate(self._state_R.parameters, tokens_BxL1, weights_B)
        return self._evaluated[asked]


class _Seat:
    """The place of one run in a cohort."""

    def __init__(self, cohort: Cohort, seat: int):
        self._cohort, self._seat, self.members = cohort, seat, cohort.members

    def state(self) -> State:
        return self._cohort.state(self._seat)

    def evaluate(self, tokens_BxL1: np.ndarray, weights_B: np.ndarray) -> Callable[[], np.ndarray]:
        sums_R = self._cohort.evaluate(tokens_BxL1, weights_B)
        return lambda: np.asarray(sums_R)[self._seat]


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *trees)


def _of_seat(tree_R: Any, seat: int) -> Any:
    return jax.tree.map(lambda leaf_R: leaf_R[seat], jax.device_get(tree_R))


@jax.jit
def _pick(tree_R: Any, seat: int) -> Any:
    return jax.tree.map(lambda leaf_R: leaf_R[seat], tree_R)

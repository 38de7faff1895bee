"""What every launcher does: hand runs to an engine, say what the engine knows of them, take them back, show what they print.

A launcher is a thin adapter: the engine queues, places, gangs and restarts. It keeps no state of its own: which runs an engine
has is asked of the engine, by names made from the sweep and the run, and how a run ended is in its run directory. The worker is
always the same: `scaling train RUN_DIRECTORY` where the engine gives each run a place of its own, `scaling work SWEEP` where
workers claim one free run after another.

A package adds a launcher by an entry point of the group `scaling.launchers` that names a subclass of `Launcher`.  (no jax)
"""

import difflib
import importlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, ClassVar, Literal

from scaling.config import build
from scaling.errors import ScalingError
from scaling.section import Section

GROUP = "scaling.launchers"
BUILT_IN = {
    "local": "scaling.sweeps.launchers.local:LocalLauncher",
    "slurm": "scaling.sweeps.launchers.slurm:SlurmLauncher",
    "kubernetes": "scaling.sweeps.launchers.kubernetes:KubernetesLauncher",
    "tpu-vm": "scaling.sweeps.launchers.tpu_vm:TpuVmLauncher",
}

Cell = dict[str, Any]
"""A cell of `plan.json`; one that continues another run names it in `trunk`."""


@dataclass(frozen=True)
class Report:
    """What an engine knows of one run."""

    phase: Literal["queued", "running", "ended"]
    reason: str = ""
    """Why it waits, or how it ended."""
    code: int | None = None
    """Of its worker once it ended: negative for a signal, 75 for a preemption; None where the engine cannot tell."""


class Launcher(ABC):
    """An engine, as one sweep sees it.

    Args:
        sweep: the sweep's directory, which holds `plan.json` and the run directories.
        config: the section `resources.NAME` of the sweep file.
    """

    name: ClassVar[str]
    Config: ClassVar[type[Section]] = Section
    poll_seconds: float = 20.0
    detached: ClassVar[bool] = True
    """Whether the runs go on when the submitting process ends."""
    takes_trunks: ClassVar[bool] = False
    """Whether the engine itself holds a run back until the job of its trunk is done."""

    def __init__(self, sweep: Path, config: Any):
        self.sweep, self.config = sweep, config

    @abstractmethod
    def render(self, cells: Sequence[Cell]) -> str:
        """What `submit` would send, as text; raises as `submit`, but for what only the engine can know."""

    @abstractmethod
    def submit(self, cells: Sequence[Cell]) -> None:
        """Hand the runs over. A run that the engine has already, and has not ended, must not be among them.

        Raises:
            ScalingError: the engine is not installed, cannot be reached, or refuses. Either nothing was submitted, or the
                message names what was.
        """

    @abstractmethod
    def poll(self) -> Mapping[str, Report]:
        """What the engine knows, by run id; a run is absent where the engine has forgotten it or never had it."""

    @abstractmethod
    def cancel(self, run_ids: Iterable[str]) -> None:
        """Have the runs save and end, and start none of them; one that the engine does not have is passed over."""

    def logs(self, run_id: str) -> str:
        """What the worker of a run printed so far."""
        path = self.sweep / run_id / "log.txt"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def open_launcher(name: str, sweep: Path, sections: Mapping[str, Any]) -> Launcher:
    """The launcher of that name with its section of `resources` in the sweep file.

    Raises:
        ScalingError: there is no such launcher, or its section is wrong.
    """
    others = {each.name: each for each in entry_points(group=GROUP)}
    names = [*BUILT_IN, *(name for name in others if name not in BUILT_IN)]
    for each in [name, *sections]:
        if each not in names:
            near = difflib.get_close_matches(each, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
            raise ScalingError(f"no launcher {each!r}; {hint}")
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        kind = getattr(importlib.import_module(module), attribute)
    else:
        kind = others[name].load()
    try:
        config = build(kind.Config, sections.get(name) or {})
    except ScalingError as error:
        raise ScalingError(f"resources.{name}: {error}") from None
    return kind(sweep, config)


def devices_of(cell: Cell) -> int:
    """How many devices a run's mesh takes."""
    size = 1
    for devices in cell["config"]["execution"]["mesh"].values():
        size *= devices
    return size

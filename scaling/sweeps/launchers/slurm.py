"""The Slurm launcher: an array job for the runs of one shape, a task for each run.        (no jax)

Slurm queues, places, starts again after a preemption, a lost node or a time limit, and holds a branch back until its trunk is
done. A worker that saved and ended with 75 has its task requeued by the job script itself, which needs no setting of the site.
"""

import getpass
import hashlib
import math
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from scaling.errors import Exit, ScalingError
from scaling.quantities import Count
from scaling.record import write_text
from scaling.section import Section
from scaling.sweeps.chains import awaited
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report, devices_of

OWN_OPTIONS = (
    *("array", "dependency", "export", "job-name", "kill-on-invalid-dep", "nodes", "ntasks", "ntasks-per-node"),
    *("open-mode", "output", "error", "requeue", "no-requeue", "signal"),
)
"""Options of `sbatch` that the launcher sets itself."""

LARGEST_ARRAY = 1000
"""Slurm's default `MaxArraySize` is 1001, and an index must be below it."""

QUEUED = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD")
SETTLE_SECONDS = 3
"""A requeued job that starts within the second in which its nodes gave it up is killed there: "Job credential revoked"."""

ALIVE = (*QUEUED, "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING")
PREEMPTED = ("PREEMPTED", "NODE_FAIL", "BOOT_FAIL", "REVOKED")
"""Ends that are no fault of the run."""

WORKER = (sys.executable, "-m", "scaling", "train")

SCRIPT = """\
#!/bin/bash
{directives}
{setup}
run={sweep}/$(sed -n "$((SLURM_ARRAY_TASK_ID + 1))p" {runs})
mkdir -p "$run" && exec >>"$run/log.txt" 2>&1
trap : TERM  # Slurm gives the notice to the processes of the run; this script must outlive them
srun --kill-on-bad-exit=0 {worker} "$run"{distributed}
code=$?
state=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T)  # one that was cancelled is COMPLETING, and must not come back
[ $code -eq {saved} ] && [ "$state" = RUNNING ] && scontrol requeue "$SLURM_JOB_ID"
exit $code
"""


class SlurmConfig(Section):
    """What the runs get of a Slurm cluster."""

    devices_per_node: Count = 1
    """A run gets as many nodes as its mesh needs; several are joined by `jax.distributed`."""
    concurrent: Count | None = None
    """How many runs of an array may run at once; null for as many as there is room for."""
    notice_seconds: Count = 120
    """How long before its time limit a run is told to save; it is then queued again."""
    poll_seconds: float = Field(20.0, gt=0)
    """How often `squeue` is asked."""
    setup: list[str] = Field(default_factory=list)
    """Lines of the job script before the worker: `module load cuda`."""
    options: dict[str, str | int] = Field(default_factory=dict)
    """Any other option of `sbatch`: `{partition: gpu, account: lab, time: "4:00:00", gpus-per-node: 8, mem: 64G}`."""

    @field_validator("options")
    @classmethod
    def _not_ours(cls, options: dict[str, Any]) -> dict[str, Any]:
        taken = sorted(set(options) & set(OWN_OPTIONS))
        if taken:
            raise ValueError(f"{', '.join(taken)} is set by the launcher")
        return options


@dataclass(frozen=True)
class Array:
    """The runs of one `sbatch`."""

    nodes: int
    trunk: str | None
    runs: tuple[str, ...]
    sweep: str

    @property
    def name(self) -> str:
        """Of the job: the sweep, and what tells its arrays apart."""
        return f"{self.sweep}-{hashlib.sha256(' '.join(self.runs).encode()).hexdigest()[:8]}"


class SlurmLauncher(Launcher):
    """Submits with `sbatch`, asks `squeue`; needs no accounting database."""

    name = "slurm"
    Config = SlurmConfig
    takes_trunks = True

    def __init__(self, sweep: Path, config: Any):
        super().__init__(sweep.absolute(), config)
        self.poll_seconds = config.poll_seconds
        self._arrays: dict[str, list[str]] = {}
        self._jobs: dict[str, str] = {}
        self._codes: dict[str, int | None] = {}
        self._hastened: dict[str, float] = {}

    def render(self, cells: Sequence[Cell]) -> str:
        """The job script of each array."""
        return "\n".join(self._script(array, f"<job of {array.trunk}>") for array in self._group(cells))

    def submit(self, cells: Sequence[Cell]) -> None:
        """Submit an array for each shape; trunks first, so that their branches can name them."""
        submitted: list[str] = []
        for array in self._group(cells):
            if array.trunk and array.trunk not in self._jobs:
                self.poll()
            script = self._script(array, self._jobs.get(array.trunk or ""))
            write_text(self._list(array.name), "\n".join(array.runs) + "\n")
            try:
                job = _slurm("sbatch", "--parsable", input=script).strip().partition(";")[0]
            except ScalingError as error:
                before = f"; submitted before it: {', '.join(submitted)}" if submitted else "; nothing was submitted"
                raise ScalingError(f"{error}{before}") from None
            self._jobs |= {run: f"{job}_{index}" for index, run in enumerate(array.runs)}
            submitted.append(f"job {job} ({len(array.runs)} runs)")

    def poll(self) -> Mapping[str, Report]:
        """One `squeue`; a task that waits because it was requeued, 2 minutes by Slurm, need not wait so long."""
        columns = ("ArrayJobID", "ArrayTaskID", "JobID", "Name", "State", "Reason")
        listing = _slurm(
            "squeue", "--user", getpass.getuser(), "--array", "--states=all", "--noheader", f"--Format={_wide(columns)}"
        )
        newest: dict[str, tuple[int, Report]] = {}
        impatient: list[str] = []
        for line in listing.splitlines():
            array_job, task, job, name, state, reason = (field.strip() for field in line.split("|", 5))
            runs = self._runs_of(name)
            if not task.isdigit() or int(task) >= len(runs):
                continue
            run = runs[int(task)]
            if int(array_job) < newest.get(run, (0,))[0]:
                continue
            self._jobs[run] = f"{array_job}_{task}"
            if state in QUEUED and reason == "BeginTime" and self._hastened.get(job, -math.inf) < time.monotonic() - 60:
                self._hastened[job] = time.monotonic()
                impatient.append(job)
            newest[run] = int(array_job), self._report(job, state, reason)
        if impatient:
            _slurm("scontrol", "update", f"JobId={','.join(impatient)}", f"StartTime=now+{SETTLE_SECONDS}seconds", check=False)
        return {run: report for run, (_, report) in newest.items()}

    def cancel(self, run_ids: Iterable[str]) -> None:
        """`scancel`, which gives running ones `KillWait` seconds (a setting of the site, 30 by default) to save."""
        alive = {run_id for run_id, report in self.poll().items() if report.phase != "ended"}
        jobs = [self._jobs[run_id] for run_id in run_ids if run_id in alive]
        if jobs:
            _slurm("scancel", *jobs)

    def _group(self, cells: Sequence[Cell]) -> list[Array]:
        shapes: dict[tuple[int, str | None], list[str]] = defaultdict(list)
        for cell in cells:
            trunk = cell["trunk"] if awaited(self.sweep, cell) is not None else None
            shapes[math.ceil(devices_of(cell) / self.config.devices_per_node), trunk].append(cell["run_id"])
        ordered = sorted(shapes.items(), key=lambda each: each[0][1] is not None)
        return [
            Array(nodes, trunk, tuple(runs[start : start + LARGEST_ARRAY]), self.sweep.name)
            for (nodes, trunk), runs in ordered
            for start in range(0, len(runs), LARGEST_ARRAY)
        ]

    def _script(self, array: Array, trunk_job: str | None) -> str:
        at_once = f"%{self.config.concurrent}" if self.config.concurrent else ""
        directives = {
            "job-name": array.name,
            "array": f"0-{len(array.runs) - 1}{at_once}",
            "nodes": array.nodes,
            "ntasks-per-node": 1,
            "requeue": None,
            "open-mode": "append",
            "output": f'"{self.sweep}/slurm/{array.name}-%a.txt"',  # what the script itself says; a run has its own log.txt
            "signal": f"TERM@{self.config.notice_seconds}",
            **({"dependency": f"afterok:{trunk_job}", "kill-on-invalid-dep": "yes"} if array.trunk and trunk_job else {}),
            **self.config.options,
        }
        return SCRIPT.format(
            directives="\n".join(
                f"#SBATCH --{key}" + ("" if value is None else f"={value}") for key, value in directives.items()
            ),
            setup="\n".join(self.config.setup),
            sweep=shlex.quote(str(self.sweep)),
            runs=shlex.quote(str(self._list(array.name))),
            worker=shlex.join(WORKER),
            distributed=" --distributed" if array.nodes > 1 else "",
            saved=int(Exit.SAVED),
        )

    def _list(self, name: str) -> Path:
        """Which run each task of an array is, a line each."""
        return self.sweep / "slurm" / f"{name}.txt"

    def _runs_of(self, name: str) -> list[str]:
        if name not in self._arrays:
            path = self._list(name)
            ours = re.fullmatch(rf"{re.escape(self.sweep.name)}-[0-9a-f]{{8}}", name) and path.exists()
            self._arrays[name] = path.read_text(encoding="utf-8").split() if ours else []
        return self._arrays[name]

    def _report(self, job: str, state: str, reason: str) -> Report:
        if state in QUEUED:
            return Report("queued", reason)
        if state in ALIVE:
            return Report("running")
        if state in PREEMPTED:
            return Report("ended", f"its job was ended: {state}", Exit.SAVED)
        if job not in self._codes:
            shown = _slurm("scontrol", "show", "job", "--oneliner", job, check=False)
            found = re.search(r" ExitCode=(\d+):(\d+)", shown)
            code, killed_by = map(int, found.groups()) if found else (0, 0)
            self._codes[job] = -killed_by if killed_by else code if found else None
        code_of = self._codes[job]
        text = f"its job {self.sweep.name} {job} ended as {state}" + ("" if code_of is None else f" with exit code {code_of}")
        return Report("ended", text, code_of if state in ("COMPLETED", "FAILED") else None)


def _wide(columns: Sequence[str]) -> str:
    return ",".join(f"{column}:|" if column != columns[-1] else f"{column}:" for column in columns)


def _slurm(command: str, *arguments: str, input: str | None = None, check: bool = True) -> str:
    """What a command of Slurm printed.

    Raises:
        ScalingError: it is not installed, cannot reach the controller, or refuses.
    """
    if shutil.which(command) is None:
        raise ScalingError(
            f"the launcher slurm needs {command}, which is not on this machine: submit from a login node of the cluster"
        )
    done = subprocess.run([command, *arguments], input=input, capture_output=True, text=True, check=False)
    if check and done.returncode:
        lines = [line for line in done.stderr.strip().splitlines() if line]
        said = re.sub(rf"^{command}: error: ", "", lines[-1]) if lines else f"exit code {done.returncode}"
        raise ScalingError(f"{command} failed: {said}")
    return done.stdout

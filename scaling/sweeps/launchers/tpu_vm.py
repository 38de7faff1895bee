"""The Cloud TPU launcher: a queued resource for each run, through `gcloud`.        (no jax)

For those who have TPU VMs and no GKE. A queued resource waits for capacity, becomes ACTIVE, and once its machines are taken
away SUSPENDED, for good: it is then deleted and asked for again. Its machines idle, and cost, after their run; so one whose
run has ended is deleted. The Cloud TPU API does not have TPU7x (docs.cloud.google.com/tpu/docs/runtimes): that is GKE's.
"""

import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from scaling.errors import Exit, ScalingError
from scaling.lease import is_held
from scaling.record import TERMINAL, RunDirectory
from scaling.section import Section
from scaling.sweeps.launchers.launcher import Cell, Launcher, Report
from scaling.sweeps.launchers.manifests import job_name
from scaling.sweeps.launchers.topologies import Slice, choose_slice, read_slice

QUEUED = ("CREATING", "ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING")
GOING = ("DELETING", "SUSPENDING")

STARTUP = """\
#!/bin/bash
# Every host of the slice runs this. A worker that saved while its machine stays is started again.
{setup}
until python3 -m scaling train {run}{distributed}; do
  [ $? -eq {saved} ] || break
  sleep 20
done
"""


class TpuVmConfig(Section):
    """What the runs get of Cloud TPU."""

    project: str
    zone: str
    slices: list[str] = Field(min_length=1)
    """The slices on offer, such as `[v6e:2x2, v6e:4x4]`; a run takes the smallest that it fits."""
    runs: str = Field(pattern=r"^(gs://|/).+")
    """The directory of runs as the machines see it: a bucket `gs://BUCKET/PATH`, or where `setup` mounts one."""
    setup: list[str] = Field(min_length=1)
    """Lines of shell that bring this package and `jax[tpu]` onto a new machine."""
    capacity: Literal["spot", "reserved", "on-demand"] = "spot"
    service_account: str | None = None
    """That may write to the bucket."""
    valid_hours: int | None = Field(None, gt=0)
    """How long a request may wait for capacity; null for as long as it takes."""


class TpuVmLauncher(Launcher):
    """Needs `gcloud` on this machine, logged in."""

    name = "tpu-vm"
    Config = TpuVmConfig

    def __init__(self, sweep: Path, config: Any):
        super().__init__(sweep, config)
        self._offered = [read_slice(each) for each in config.slices]
        missing = [each for each in self._offered if each.generation.cloud_name is None]
        if missing:
            raise ScalingError(f"resources.tpu-vm.slices: {missing[0]} is only to be had through GKE: --launcher kubernetes")

    def render(self, cells: Sequence[Cell]) -> str:
        """The commands, and the startup script of each."""
        texts = []
        for cell in cells:
            place = choose_slice(cell, self._offered, self.config.runs)
            command = ["gcloud", *self._creation(cell, place, "STARTUP_SCRIPT")]
            texts.append(f"{shlex.join(command)}\n# STARTUP_SCRIPT\n{self._startup(cell, place)}")
        return "\n".join(texts)

    def submit(self, cells: Sequence[Cell]) -> None:
        """Request the slices; a request of an earlier attempt that ended is deleted first."""
        places = [choose_slice(cell, self._offered, self.config.runs) for cell in cells]
        ended = {run_id for run_id, report in self.poll().items() if report.phase == "ended"}
        submitted: list[str] = []
        for cell, place in zip(cells, places, strict=True):
            name = job_name(self.sweep.name, cell["run_id"])
            try:
                if cell["run_id"] in ended:
                    self._delete(name, wait=True)
                with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
                    script.write(self._startup(cell, place))
                    script.flush()
                    self._gcloud(*self._creation(cell, place, script.name))
            except ScalingError as error:
                if "already exists" in str(error).lower():  # another submitter's, and as good
                    continue
                before = f"; submitted before it: {', '.join(submitted)}" if submitted else "; nothing was submitted"
                raise ScalingError(f"{error}{before}") from None
            submitted.append(name)

    def poll(self) -> Mapping[str, Report]:
        """One listing. What is idle, because its run has ended, is deleted."""
        reports = {}
        for item in json.loads(self._gcloud("list", "--format=json") or "[]"):
            labels = item.get("tpu", {}).get("nodeSpec", [{}])[0].get("node", {}).get("labels", {})
            if labels.get("sweep") == _label(self.sweep.name) and "run" in labels:
                state = item.get("state", {}).get("state", "CREATING")
                reports[labels["run"]] = self._report(item["name"].rpartition("/")[2], labels["run"], state)
        return reports

    def cancel(self, run_ids: Iterable[str]) -> None:
        """Delete the requests and their machines, which get a SIGTERM."""
        present = self.poll()
        for run_id in run_ids:
            if run_id in present:
                self._delete(job_name(self.sweep.name, run_id))

    def _report(self, name: str, run_id: str, state: str) -> Report:
        run = self.sweep / run_id
        recorded = RunDirectory(run).status["state"]
        if state in QUEUED:
            return Report("queued", state.lower().replace("_", " "))
        if state in GOING and recorded not in TERMINAL:
            return Report("queued", state.lower())
        if state == "SUSPENDED":
            return Report("ended", f"{name} was suspended: its machines were taken away", Exit.SAVED)
        if state != "ACTIVE":
            return Report("ended", f"the queued resource {name} is {state}")
        if recorded in TERMINAL:
            self._delete(name)
            return Report("ended", code=0)
        if recorded == "running" and not is_held(run):
            self._delete(name)
            return Report("ended", f"its worker on {name} died")
        return Report("running")

    def _creation(self, cell: Cell, place: Slice, script: str) -> list[str]:
        name, config, generation = job_name(self.sweep.name, cell["run_id"]), self.config, place.generation
        capacity = {"spot": ["--spot"], "reserved": ["--reserved"], "on-demand": []}[config.capacity]
        account = [f"--service-account={config.service_account}"] if config.service_account else []
        until = [f"--valid-until-duration={config.valid_hours}h"] if config.valid_hours else []
        return [
            *("compute", "tpus", "queued-resources", "create", name),
            f"--project={config.project}",
            f"--zone={config.zone}",
            f"--node-id={name}",
            f"--accelerator-type={generation.cloud_name}-{place.chips * generation.cores_per_chip}",
            f"--runtime-version={generation.runtime}",
            f"--labels=sweep={_label(self.sweep.name)},run={cell['run_id']}",
            f"--metadata-from-file=startup-script={script}",
            *capacity,
            *account,
            *until,
            "--async",
            "--quiet",
        ]

    def _startup(self, cell: Cell, place: Slice) -> str:
        return STARTUP.format(
            setup="\n".join(self.config.setup),
            run=shlex.quote(f"{self.config.runs.rstrip('/')}/{self.sweep.name}/{cell['run_id']}"),
            distributed=" --distributed" if place.hosts > 1 else "",
            saved=int(Exit.SAVED),
        )

    def _delete(self, name: str, wait: bool = False) -> None:
        self._gcloud("delete", name, "--force", "--quiet", *([] if wait else ["--async"]))

    def _gcloud(self, *arguments: str) -> str:
        if shutil.which("gcloud") is None:
            raise ScalingError("the launcher tpu-vm needs gcloud: install the Google Cloud CLI, then `gcloud auth login`")
        where = [f"--project={self.config.project}", f"--zone={self.config.zone}"]
        whole = arguments if arguments[0] == "compute" else ("compute", "tpus", "queued-resources", *arguments, *where)
        done = subprocess.run(["gcloud", *whole], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")] or done.stderr.splitlines()[-1:]
            raise ScalingError(
                f"gcloud failed: {lines[0].removeprefix('ERROR: ') if lines else f'exit code {done.returncode}'}"
            )
        return done.stdout


def _label(name: str) -> str:
    """As Google Cloud takes labels: lower case letters, digits, dashes and underscores."""
    return re.sub(r"[^a-z0-9_-]", "-", name.lower())[:63]

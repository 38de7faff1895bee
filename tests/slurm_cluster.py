"""A Slurm cluster on this machine: munged, slurmctld and two slurmd, all state in one directory, no systemd, no accounting.

Two partitions of the same two nodes: runs in `spot` are preempted, and queued again, for those in `prod`.
"""

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={directory}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd-%n.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd-%n.log
SlurmdParameters=config_overrides
ReturnToService=2
EnforcePartLimits=ALL
SlurmdTimeout=30
InactiveLimit=0
KillWait=10
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2
NodeName={host}z NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2
PartitionName=spot Nodes=ALL Default=YES MaxTime=60 PriorityTier=1 PreemptMode=REQUEUE GraceTime=30
PartitionName=prod Nodes=ALL MaxTime=60 PriorityTier=10 PreemptMode=OFF
"""
"""The node that comes first by name has that of the machine: processes of a run on several nodes look it up."""


class SlurmCluster:
    """`environment` is what the commands of Slurm need to find it."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="slurm-"))  # short, for the path of a socket
        self.directory.chmod(0o755)
        host = socket.gethostname().partition(".")[0]
        self.nodes = (host, f"{host}z")
        self.environment = {**os.environ, "SLURM_CONF": str(self.directory / "slurm.conf")}
        self._started: list[subprocess.Popen] = []

    @staticmethod
    def missing() -> str | None:
        """Why there can be none on this machine."""
        absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
        return f"no {', '.join(absent)} on this machine (Debian: slurm-wlm, munge)" if absent else None

    def start(self) -> None:
        with socket.socket() as one, socket.socket() as two, socket.socket() as three:
            for each in (one, two, three):
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in (one, two, three)]
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.directory / name).mkdir()
        text = CONFIGURATION.format(directory=self.directory, ports=ports, user=getpass.getuser(), host=self.nodes[0])
        (self.directory / "slurm.conf").write_text(text)
        (self.directory / "cgroup.conf").write_text("CgroupAutomount=no\n")
        key = self.directory / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        munge = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        self._run(
            "munged", "--foreground", "--force", *(f"--{flag}={self.directory}/munge.{end}" for flag, end in munge.items())
        )
        self._until(lambda: (self.directory / "munge.socket").exists(), "munged")
        self._run("slurmctld", "-D")
        for node in self.nodes:
            self._run("slurmd", "-D", "-N", node)
        self._until(
            lambda: set(self("sinfo", "--noheader", "--format=%T %D", check=False).splitlines()) == {"idle 2"}, "two idle nodes"
        )

    def __call__(self, *command: str, check: bool = True, **options) -> str:
        """Run a command on the cluster; what it printed."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, **options)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        self("scancel", "--user", getpass.getuser(), check=False)
        time.sleep(1)
        for process in reversed(self._started):
            process.terminate()
        for process in reversed(self._started):
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        with (self.directory / f"{program}-{len(self._started)}.out").open("wb") as log:
            path = shutil.which(program, path=_path())
            self._started.append(subprocess.Popen([path, *arguments], env=self.environment, stdout=log, stderr=log))

    def _until(self, condition, what: str, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                logs = "\n".join(f"{path.name}: {path.read_text()[-1500:]}" for path in sorted(self.directory.glob("*.[ol]*")))
                raise AssertionError(f"no {what} after {seconds:.0f} s\n{logs}")
            time.sleep(0.1)


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

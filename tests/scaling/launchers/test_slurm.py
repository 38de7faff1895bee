"""The Slurm launcher on a real controller with two nodes; the worker is a line of shell that each test writes into the run."""

import getpass
import os
import subprocess
import time

import pytest
from cells import cell

from scaling.errors import Exit, ScalingError
from scaling.record import RunDirectory
from scaling.sweeps.launchers import slurm as module
from scaling.sweeps.launchers.launcher import open_launcher
from scaling.sweeps.status import read_status
from scaling.sweeps.stored import write_plan
from scaling.sweeps.submission import Submission

WORKER = """\
#!/bin/bash
cd "$1" || exit 2
echo "start ${SLURM_RESTART_COUNT:-0} on $SLURMD_NODENAME of $SLURM_JOB_NUM_NODES"
finish() { echo '{"state": "done"}' > status.json.new && mv status.json.new status.json; exit 0; }
save() { echo saved; exit 75; }
trap save TERM
again() { [ "${SLURM_RESTART_COUNT:-0}" -ge 1 ]; }
. ./act
"""
LONG = "for i in $(seq 600); do sleep 0.1; done; finish"


@pytest.fixture
def sweep(tmp_path, slurm, monkeypatch):
    """A directory of a sweep, and `make(acts, **fields)`: its launcher and cells, whose workers do what `acts` say."""
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    (tmp_path / "worker.sh").write_text(WORKER)
    monkeypatch.setattr(module, "WORKER", ("bash", str(tmp_path / "worker.sh")))
    path = tmp_path / "my runs/sweep"

    def make(acts, trunks=None, nodes=None, **fields):
        cells = []
        for run, act in acts.items():
            (path / run).mkdir(parents=True, exist_ok=True)
            (path / run / "act").write_text(act)
            branch = {"id": "shared", "step": 2, "start": 1}
            trunk = {"trunk": trunks[run], "branch": branch} if run in (trunks or {}) else {}
            cells.append({**cell(run, data=(nodes or {}).get(run, 1)), **trunk})
        options = {"time": 5, **fields.pop("options", {})}
        return open_launcher("slurm", path, {"slurm": {"options": options, "poll_seconds": 0.3, **fields}}), cells

    yield make
    slurm("scancel", "--user", getpass.getuser(), check=False)
    _until(lambda: not slurm("squeue", "--noheader"))


def _until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def _log(launcher, run):
    return launcher.logs(run).splitlines()


def _follow(launcher, cells):
    submission = Submission(launcher, launcher.sweep, cells)
    submission.wait(lambda: None)
    return {each["run_id"]: RunDirectory(launcher.sweep / each["run_id"]).status for each in cells}


@pytest.mark.slow
def test_an_array_runs_to_its_end_and_a_saved_run_goes_on_where_it_was(sweep, slurm):
    launcher, cells = sweep({"plain": "finish", "saves": "again && finish; save", "crashes": "exit 7", "killed": "kill -9 $$"})
    statuses = _follow(launcher, cells)
    assert {run: status["state"] for run, status in statuses.items()} == {
        "plain": "done",
        "saves": "done",
        "crashes": "failed",
        "killed": "failed",
    }
    assert "with exit code 7" in statuses["crashes"]["reason"]
    assert "137" in statuses["killed"]["reason"]  # 128 + SIGKILL, as a shell has it
    assert len({line.partition(" on ")[0] for line in _log(launcher, "saves") if line.startswith("start")}) == 2
    arrays = {
        line.partition("_")[0] for line in slurm("squeue", "--array", "--states=all", "--noheader", "--format=%i").split()
    }
    assert len(arrays) == 1


@pytest.mark.slow
def test_a_preempted_run_saves_and_a_run_at_its_time_limit_too(sweep, slurm):
    """The second has a minute, of which 50 seconds are notice."""
    launcher, cells = sweep(
        {"limited": f"again && finish; {LONG}"}, notice_seconds=50, options={"time": 1, "partition": "prod", "exclusive": ""}
    )
    submission = Submission(launcher, launcher.sweep, cells)
    _until(lambda: _log(launcher, "limited"))
    other, preempted = sweep(
        {"preempted": f"again && finish; {LONG}"}, options={"partition": "spot", "nodelist": slurm.nodes[1]}
    )
    second = Submission(other, other.sweep, preempted)
    _until(lambda: _log(other, "preempted"))
    slurm("sbatch", "--partition=prod", "--exclusive", f"--nodelist={slurm.nodes[1]}", "--output=/dev/null", "--wrap=sleep 2")
    for each in (second, submission):
        each.wait(lambda: None)
    for run in ("preempted", "limited"):
        log = _log(launcher, run)
        assert "saved" in log, log
        assert [line.split()[1] for line in log if line.startswith("start")] == ["0", "1"]
        assert RunDirectory(launcher.sweep / run).status["state"] == "done"


@pytest.mark.slow
def test_branches_wait_in_the_queue_and_leave_it_with_their_trunk(sweep, slurm):
    acts = {"good": "again && finish; sleep 2; save", "bad": "sleep 2; exit 7", "b1": "finish", "b2": "finish"}
    launcher, cells = sweep(acts, trunks={"b1": "good", "b2": "bad"})
    submission = Submission(launcher, launcher.sweep, cells)
    _until(lambda: [launcher.poll()[run].reason for run in ("b1", "b2")] == ["Dependency"] * 2)
    submission.wait(lambda: None)
    write_plan(launcher.sweep, {"sweep": launcher.sweep.name, "cells": cells})
    statuses = {each.cell["run_id"]: each for each in read_status(launcher.sweep)}
    assert [statuses[run].state for run in acts] == ["done", "failed", "done", "failed"]
    assert statuses["b2"].reason.startswith("its trunk, run bad, failed: its job")
    assert _log(launcher, "b2") == []
    assert not slurm("squeue", "--noheader")


@pytest.mark.slow
def test_a_cancelled_run_saves_and_does_not_come_back(sweep, slurm):
    launcher, cells = sweep({"a": LONG, "b": LONG})
    Submission(launcher, launcher.sweep, cells)
    _until(lambda: _log(launcher, "a") and _log(launcher, "b"))
    launcher.cancel(["a", "absent"])
    _until(lambda: launcher.poll()["a"].phase == "ended")
    assert "saved" in _log(launcher, "a")
    time.sleep(3)
    assert {run: report.phase for run, report in launcher.poll().items()} == {"a": "ended", "b": "running"}
    assert [line.split()[1] for line in _log(launcher, "a") if line.startswith("start")] == ["0"]


@pytest.mark.slow
def test_a_run_on_two_nodes_is_one_job_and_a_notice_reaches_both(sweep, slurm):
    act = "again && { [ $SLURM_PROCID = 0 ] && finish; exit 0; }; " + LONG
    launcher, cells = sweep({"wide": act}, nodes={"wide": 2})
    submission = Submission(launcher, launcher.sweep, cells)
    _until(lambda: len(_log(launcher, "wide")) >= 2)
    assert sorted(_log(launcher, "wide")) == sorted(f"start 0 on {node} of 2" for node in slurm.nodes)
    slurm("scancel", "--signal=TERM", slurm("squeue", "--noheader", "--format=%A").strip())
    submission.wait(lambda: None)
    assert _log(launcher, "wide").count("saved") == 2
    assert RunDirectory(launcher.sweep / "wide").status["state"] == "done"


@pytest.mark.slow
def test_two_submitters_and_a_third_later_queue_each_run_once(sweep, slurm):
    launcher, cells = sweep({"a": LONG, "b": LONG, "c": LONG})
    other, _ = sweep({})
    Submission(launcher, launcher.sweep, cells[:2])
    Submission(other, other.sweep, cells)
    assert len(slurm("squeue", "--array", "--noheader").splitlines()) == 3


@pytest.mark.slow
def test_a_refusal_names_what_was_submitted_before_it(sweep, slurm):
    launcher, cells = sweep({"a": LONG}, options={"partition": "absent"})
    with pytest.raises(ScalingError, match=r"sbatch failed: .*Invalid partition.*; nothing was submitted"):
        launcher.submit(cells)
    launcher, cells = sweep({"a": LONG, "b": LONG}, nodes={"b": 3})
    with pytest.raises(ScalingError, match=r"sbatch failed: .*; submitted before it: job \d+ \(1 runs\)"):
        launcher.submit(cells)
    assert {run: report.phase for run, report in launcher.poll().items()}.keys() == {"a"}


def test_a_dry_run_is_a_job_script_that_bash_can_read(tmp_path):
    launcher = open_launcher("slurm", tmp_path / "s", {"slurm": {"options": {"partition": "gpu"}, "concurrent": 2}})
    cells = [
        cell("a"),
        cell("b"),
        cell("c", data=2),
        {**cell("d"), "trunk": "a", "branch": {"id": "shared", "step": 2, "start": 1}},
    ]
    text = launcher.render(cells)
    assert subprocess.run(["bash", "-n"], input=text, text=True, check=False).returncode == 0
    assert text.count("#!/bin/bash") == 3
    for line in (
        "--array=0-1%2",
        "--nodes=2",
        "--dependency=afterok:<job of a>",
        "--kill-on-invalid-dep=yes",
        "--partition=gpu",
    ):
        assert f"#SBATCH {line}\n" in text
    assert text.count("--distributed") == 1
    assert f"-eq {Exit.SAVED:d} ]" in text


def test_without_slurm_the_launcher_says_where_to_submit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ScalingError, match=r"slurm needs squeue, .* login node"):
        open_launcher("slurm", tmp_path / "s", {}).poll()


def test_a_controller_that_does_not_answer_is_said_in_its_words(tmp_path, monkeypatch):
    stand_in = tmp_path / "squeue"
    stand_in.write_text(
        "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2\nexit 1\n"
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(ScalingError, match=r"squeue failed: .*Unable to contact slurm controller"):
        open_launcher("slurm", tmp_path / "s", {}).poll()

"""The submission on engines that are made up: every run done once, whatever is preempted and whoever dies."""

import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from scaling.errors import ScalingError
from scaling.lease import claim
from scaling.policy import Ending
from scaling.record import RunDirectory
from scaling.section import Section
from scaling.sweeps.launchers.launcher import Launcher, Report, open_launcher
from scaling.sweeps.requests import give_up
from scaling.sweeps.submission import Submission

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("submission_benchmark", ROOT / "benchmarks/submission.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("seed", [0, 1])
def test_every_run_is_done_once_under_preemption_and_the_death_of_submitters(simulation, tmp_path, seed):
    """The engine itself refuses a run that it has already; 120 runs of an hour on 8 places take about 15 hours."""
    figures = simulation.simulate(tmp_path / "simulated", runs=120, places=8, seed=seed)
    assert len(figures["done"]) == 120
    assert set(figures["done"].values()) == {1}
    assert figures["preemptions"] > 20
    assert figures["submitters"] >= 2


class Scripted(Launcher):
    """An engine that says what a test tells it to say."""

    name = "scripted"

    def __init__(self, sweep: Path, takes_trunks: bool = False):
        super().__init__(sweep, Section())
        self.takes_trunks = takes_trunks
        self.reports: dict[str, Report] = {}
        self.submitted: list[list[str]] = []

    def render(self, cells):
        return ""

    def submit(self, cells):
        self.submitted.append([cell["run_id"] for cell in cells])
        self.reports |= dict.fromkeys(self.submitted[-1], Report("queued"))

    def poll(self):
        return dict(self.reports)

    def cancel(self, run_ids: Iterable[str]):
        for run_id in run_ids:
            del self.reports[run_id]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def _cell(run_id, **fields):
    branch = {"id": "shared", "step": 2, "start": 1} if "trunk" in fields else None
    return {"run_id": run_id, "role": "fit", "trunk": None, "branch": branch, **fields}


def _states(sweep, *runs):
    return [RunDirectory(sweep / run).status["state"] for run in runs]


def _set(sweep, run, state):
    RunDirectory(sweep / run).update_status(state=state)


def test_only_what_is_missing_is_handed_over(tmp_path):
    for run, state in (("done", "done"), ("diverged", "diverged"), ("saved", "saved")):
        _set(tmp_path, run, state)
    give_up(tmp_path / "failed", Ending.MISTAKEN, "no")
    engine = Scripted(tmp_path)
    engine.reports["queued"] = Report("queued", "Priority")
    cells = [_cell(run) for run in ("done", "diverged", "failed", "saved", "queued", "new")]
    Submission(engine, tmp_path, cells)
    assert engine.submitted == [["failed", "saved", "new"]]
    Submission(engine, tmp_path, cells)  # another process with the same command
    assert engine.submitted == [["failed", "saved", "new"]]


@pytest.mark.parametrize(
    ("report", "reason"),
    [
        (Report("ended", code=1), "its worker ended with exit code 1"),
        (Report("ended", code=-9), "its worker was killed by signal 9"),
        (Report("ended", "its job 7 ended as OUT_OF_MEMORY"), "its job 7 ended as OUT_OF_MEMORY"),
        (None, "scripted no longer has it"),
    ],
)
def test_a_run_that_its_engine_gave_up_is_failed_with_the_reason(tmp_path, report, reason):
    engine = Scripted(tmp_path)
    submission = Submission(engine, tmp_path, [_cell("a"), _cell("b")])
    engine.reports["b"] = Report("running")
    del engine.reports["a"]
    if report:
        engine.reports["a"] = report
    submission.poll()
    assert RunDirectory(tmp_path / "a").status["reason"] == reason
    assert _states(tmp_path, "a", "b") == ["failed", "planned"]
    assert not submission.finished
    assert engine.submitted == [["a", "b"]]


def test_a_run_that_a_living_worker_has_is_not_buried(tmp_path):
    """Slurm was seen to lose a node whose worker still lived."""
    engine = Scripted(tmp_path)
    submission = Submission(engine, tmp_path, [_cell("a")])
    engine.reports["a"] = Report("ended", code=1)
    lease = claim(tmp_path / "a")
    submission.poll()
    assert _states(tmp_path, "a") == ["planned"]
    assert not submission.finished
    _set(tmp_path, "a", "done")
    lease.release(Ending.DONE)
    submission.poll()
    assert submission.finished


@pytest.mark.parametrize(("ending", "handed_over"), [(Ending.CRASHED, 2), (Ending.OUT_OF_MEMORY, 2), (Ending.MISTAKEN, 1)])
def test_what_a_worker_said_of_its_end_decides_with_the_policy(tmp_path, ending, handed_over):
    engine = Scripted(tmp_path)
    submission = Submission(engine, tmp_path, [_cell("a")])
    while not submission.finished:
        _set(tmp_path, "a", "failed")
        claim(tmp_path / "a").release(ending, "so it ended")
        engine.reports["a"] = Report("ended", code=1)
        submission.poll()
    assert len(engine.submitted) == handed_over


def test_saved_runs_start_again_at_once_and_an_end_may_show_late(tmp_path):
    engine, clock = Scripted(tmp_path), Clock()
    submission = Submission(engine, tmp_path, [_cell("saved"), _cell("late")], clock=clock)
    engine.reports |= {"saved": Report("ended", code=75), "late": Report("ended", code=0)}
    submission.poll()
    assert engine.submitted[1:] == [["saved"]]
    clock.now = 30.0
    _set(tmp_path, "late", "done")
    submission.poll()
    clock.now = 300.0
    submission.poll()
    assert engine.submitted[1:] == [["saved"]]
    assert _states(tmp_path, "late") == ["done"]


def test_an_end_that_never_shows_is_tried_once_more_and_then_failed(tmp_path):
    engine, clock = Scripted(tmp_path), Clock()
    submission = Submission(engine, tmp_path, [_cell("a")], clock=clock)
    for now in (0.0, 30.0, 61.0, 100.0):
        engine.reports["a"] = Report("ended", code=0)
        clock.now = now
        submission.poll()
    assert engine.submitted == [["a"], ["a"]]
    assert submission.finished
    assert _states(tmp_path, "a") == ["failed"]


def test_branches_wait_for_their_trunk_and_fail_with_it(tmp_path):
    engine = Scripted(tmp_path)
    cells = [_cell("t1"), _cell("b1", trunk="t1"), _cell("t2"), _cell("b2", trunk="t2")]
    submission = Submission(engine, tmp_path, cells)
    assert engine.submitted == [["t1", "t2"]]
    _set(tmp_path, "t1", "done")
    give_up(tmp_path / "t2", Ending.MISTAKEN, "no")
    submission.poll()
    assert engine.submitted[1:] == [["b1"]]
    _set(tmp_path, "b1", "done")
    engine.reports |= dict.fromkeys(("t1", "t2", "b1"), Report("ended", code=0))
    submission.poll()
    assert submission.finished


def test_an_engine_that_takes_dependencies_gets_branches_with_their_trunk(tmp_path):
    """A branch that the engine dropped with its trunk's job is handed over again, when the trunk is."""
    engine = Scripted(tmp_path, takes_trunks=True)
    submission = Submission(engine, tmp_path, [_cell("t"), _cell("b", trunk="t")])
    assert engine.submitted == [["t", "b"]]
    engine.reports |= {"t": Report("ended", code=75), "b": Report("ended", "cancelled")}
    submission.poll()
    assert engine.submitted[1:] == [["t", "b"]]
    assert _states(tmp_path, "b") == ["planned"]


def test_two_submitters_take_turns(tmp_path, monkeypatch):
    monkeypatch.setattr("scaling.sweeps.submission.SUBMIT_PATIENCE_SECONDS", 0.3)
    lease = claim(tmp_path / ".submission")
    engine = Scripted(tmp_path)
    with pytest.raises(ScalingError, match="another process has been submitting"):
        Submission(engine, tmp_path, [_cell("a")])
    assert engine.submitted == []
    lease.release(Ending.DONE)
    Submission(engine, tmp_path, [_cell("a")])
    assert engine.submitted == [["a"]]


def test_a_launcher_that_does_not_exist_names_the_nearest_one(tmp_path):
    with pytest.raises(ScalingError, match="no launcher 'slrum'; did you mean slurm"):
        open_launcher("slrum", tmp_path, {})
    with pytest.raises(ScalingError, match="no launcher 'kubernets'; did you mean kubernetes"):
        open_launcher("local", tmp_path, {"kubernets": {}})
    with pytest.raises(ScalingError, match=r"resources.slurm: concurent: unknown field .*did you mean concurrent"):
        open_launcher("slurm", tmp_path, {"slurm": {"concurent": 3}})
    with pytest.raises(ScalingError, match=r"resources.slurm: options: array, signal is set by the launcher"):
        open_launcher("slurm", tmp_path, {"slurm": {"options": {"signal": "USR1", "array": 3}}})


def test_a_package_adds_a_launcher_by_an_entry_point(tmp_path, monkeypatch):
    class Plugin(Scripted):
        Config = Section

        def __init__(self, sweep, config):
            super().__init__(sweep)

    class EntryPoint:
        name = "mine"

        def load(self):
            return Plugin

    monkeypatch.setattr("scaling.sweeps.launchers.launcher.entry_points", lambda group: [EntryPoint()])
    assert isinstance(open_launcher("mine", tmp_path, {"mine": {}}), Plugin)

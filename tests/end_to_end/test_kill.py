"""Kill a run at random instants, run the same command again, and compare the curve with that of a run nobody killed."""

import json
import random
import re
import signal
import subprocess
import time
from collections import Counter

import pytest

from scaling.errors import Exit


def _attempts(lab, runs):
    """How many attempts at the run have come as far as its status."""
    return lab.status(runs).get("attempt", 0) if list((lab.path / runs).glob("*/*/status.json")) else 0


def _phase(lab, runs, before):
    """What a process is doing, as far as the disk tells; `before` are the attempts before it."""
    if _attempts(lab, runs) == before:
        return "starting"
    if lab.status(runs)["state"] == "done":
        return "ending"
    return "saving" if list((lab.path / runs).glob("*/*/checkpoints/*tmp*")) else "training"


@pytest.mark.slow
def test_fifty_kills_at_random_instants_leave_the_curve_of_an_undisturbed_run(lab, record_property):
    """Half of them anywhere in the life of a process, half once it trains; what SIGTERM saves is sometimes killed half-way."""
    config = lab.run_file(
        training={"tokens": 1024 * 1500}, execution={"checkpoint_every_seconds": 0.1, "log_every": 7, "evaluations": 30}
    )
    lab("train", config, "--runs", "undisturbed")
    expected = lab.rows("undisturbed")
    assert [row["step"] for row in expected] == sorted({*range(7, 1501, 7), *range(50, 1501, 50)})
    chooser, kills, survived = random.Random(0), Counter(), 0
    while kills.total() < 50 or not survived:
        runs = f"killed-{survived}"
        process = None
        while process is None or process.returncode != Exit.DONE:
            before = _attempts(lab, runs)
            process = lab.start("train", config, "--runs", runs)
            if kills.total() < 54:
                if chooser.random() < 0.5:
                    while process.poll() is None and _phase(lab, runs, before) == "starting":
                        time.sleep(0.02)
                    time.sleep(chooser.uniform(0, 1))
                else:
                    time.sleep(chooser.uniform(0, 4))
                signals = chooser.choice([(signal.SIGKILL,), (signal.SIGTERM,), (signal.SIGTERM, signal.SIGKILL)])
                phase = _phase(lab, runs, before)
                if process.poll() is None:
                    kills[" then ".join(each.name for each in signals), phase] += 1
                    process.send_signal(signals[0])
                    if len(signals) == 2:
                        time.sleep(chooser.uniform(0, 0.3))
                        process.send_signal(signals[1])
            ends = (Exit.DONE, Exit.SAVED, -signal.SIGKILL, -signal.SIGTERM)
            assert process.wait(timeout=300) in ends, lab.output.read_text()
            if process.returncode == -signal.SIGTERM:  # only an interpreter that has not yet read the command dies of it
                assert phase == "starting"
        assert lab.rows(runs) == expected
        survived += 1
    table = {" while ".join(kind): number for kind, number in sorted(kills.items())}
    record_property("kills", table)
    print(f"{kills.total()} kills of {survived} runs: {table}")
    phases = {phase for _, phase in kills}
    assert {"starting", "training"} <= phases


def _until(process, condition):
    while not condition():
        assert process.poll() is None
        time.sleep(0.005)


@pytest.mark.parametrize("begun", ["environment.json", "status.json"])
def test_sigterm_while_compiling_saves_the_first_step(lab, begun):
    """Of the initialisation (its environment is written just before), and of the step (the status just before)."""
    lab.environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"
    process = lab.start("train", lab.run_file(model={"layers": 6}))
    _until(process, lambda: list(lab.path.glob(f"runs/*/*/{begun}")))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == Exit.SAVED, lab.output.read_text()
    status = lab.status()
    assert (status["state"], status["step"], status["checkpoint"]) == ("saved", 1, 1)
    assert status["reason"] == "stopped by a signal at step 1"


def test_sigterm_during_an_evaluation_saves_after_it(lab):
    config = lab.run_file(
        data={"validation_tokens": "400k"}, training={"tokens": 1024 * 8}, execution={"log_every": 1, "evaluations": 2}
    )
    process = lab.start("train", config)
    _until(process, lambda: list(lab.path.glob("runs/*/*/status.json")) and lab.status()["step"] >= 3)
    time.sleep(0.1)  # row 3 was written while step 4 ran; what follows it are 391 batches of the held-out loss
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == Exit.SAVED, lab.output.read_text()
    assert lab.status()["step"] == 5
    assert [row["loss"] is not None for row in lab.rows()] == [False, False, False, True, False]


def test_sigterm_during_a_save_saves_again_and_leaves_whole_checkpoints(lab):
    config = lab.run_file(
        model={"width": 256, "heads": 4}, training={"tokens": 1024 * 100}, execution={"checkpoint_every_seconds": 0}
    )
    process = lab.start("train", config)
    _until(process, lambda: list(lab.path.glob("runs/*/*/checkpoints/*tmp*")))
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == Exit.SAVED, lab.output.read_text()
    step = lab.status()["step"]
    (directory,) = lab.path.glob("runs/*/*/checkpoints")
    saved = sorted(int(path.name) for path in directory.iterdir())
    assert saved == [step - 1, step]
    for each in saved:
        subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=directory / str(each), check=True)


def test_a_flipped_bit_in_the_newest_checkpoint_is_survived_with_a_warning(lab):
    config = lab.run_file(training={"tokens": 1024 * 300}, execution={"checkpoint_every_seconds": 0.2})
    lab("train", config, "--runs", "undisturbed")
    process = lab.start("train", config)
    _until(process, lambda: len(list(lab.path.glob("runs/*/*/checkpoints/*/SHA256SUMS"))) == 2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=300) == Exit.SAVED
    step = lab.status()["step"]
    files = [path for path in lab.path.glob(f"runs/*/*/checkpoints/{step}/default/**/d/*") if path.stat().st_size > 100_000]
    content = bytearray(files[0].read_bytes())
    content[len(content) // 2] ^= 4
    files[0].write_bytes(content)
    again = lab("train", config)
    assert f"warning: the checkpoint of step {step} is damaged: default/" in again.stderr
    assert f"the checkpoint of step {step} is damaged" in lab.status()["warning"]
    assert lab.rows() == lab.rows("undisturbed")


def test_a_run_that_is_done_is_not_trained_again(lab):
    config = lab.run_file()
    lab("train", config)
    before = lab.status()
    again = lab("train", config)
    assert again.returncode == Exit.DONE
    assert "done at step 40 of 40" in again.stdout
    after = lab.status()
    assert {**after, "attempt": 0} == {**before, "attempt": 0}


def test_two_commands_on_one_run_train_it_once(lab):
    config = lab.run_file(training={"tokens": 1024 * 2000})
    first = lab.start("train", config)
    while not list(lab.path.glob("runs/*/*/curve.jsonl")):
        assert first.poll() is None
        time.sleep(0.1)
    second = lab("train", config, check=False)
    assert second.returncode == Exit.SAVED
    assert "another worker is training" in second.stderr
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=300) == Exit.SAVED
    assert lab.status()["state"] == "saved"


def test_a_diverged_run_is_a_result_with_its_step(lab):
    config = lab.run_file(optimizer={"learning_rate": 1e18, "gradient_clip": 1e18}, schedule={"warmup_tokens": 0})
    done = lab("train", config, check=False)
    assert done.returncode == Exit.DIVERGED, done.stdout + done.stderr
    reason = lab.status()["reason"]
    assert re.fullmatch(r"the (loss|gradient) was not finite at step \d+; there is no checkpoint", reason)
    assert lab("train", config, check=False).returncode == Exit.DIVERGED


def test_a_run_directory_can_be_gone_on_with(lab):
    config = lab.run_file()
    lab("train", config)
    (directory,) = lab.path.glob("runs/run/*")
    assert "done at step 40" in lab("train", str(directory)).stdout
    record = json.loads((directory / "run.json").read_text())
    assert subprocess.run(["ls", str(directory / "checkpoints")], capture_output=True, check=True).stdout.split() == [b"40"]
    assert record["facts"]["tokens"] == 40_960


def test_a_run_that_does_not_fit_in_memory_says_so_and_ends_with_its_code(lab):
    config = lab.run_file(model={"mlp_width": 10**11})
    done = lab("train", config, check=False)
    assert done.returncode == Exit.OUT_OF_MEMORY, done.stdout + done.stderr
    assert lab.status()["state"] == "failed"
    assert lab.status()["reason"].startswith("out of memory: ")


def test_a_run_in_the_background_outlives_the_shell_that_started_it(lab):
    config = lab.run_file(training={"tokens": 1024 * 1500})
    command = " ".join(lab.command("train", config))
    shell = subprocess.Popen(["sh", "-c", f"nohup {command} >>output.txt 2>&1 & wait"], cwd=lab.path, env=lab.environment)
    while not list(lab.path.glob("runs/*/*/curve.jsonl")):
        assert shell.poll() is None
        time.sleep(0.05)
    shell.kill()
    shell.wait()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if list(lab.path.glob("runs/*/*/status.json")) and lab.status()["state"] not in ("running", "planned"):
            break
        time.sleep(0.2)
    assert lab.status()["state"] == "done", lab.output.read_text()

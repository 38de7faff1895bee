"""Runs on mixtures, on few unique tokens and on documents kept apart: what they leave behind, and what a resumed one leaves."""

import json
import signal
import time

import pytest

from analysis import curves
from scaling.errors import Exit

MIXTURE = {"code": {"corpus": "stdlib", "weight": 3}, "notes": {"corpus": "files:notes", "weight": 1}}


@pytest.fixture
def notes(lab):
    (lab.path / "notes").mkdir()
    for number in range(40):
        text = "".join(f"{number} times {other} makes {number * other}.\n" for other in range(number, number + 80))
        (lab.path / "notes" / f"{number}.txt").write_text(text)
    return lab.path / "notes"


@pytest.mark.slow
@pytest.mark.usefixtures("notes")
def test_a_run_on_everything_at_once_goes_on_where_it_was_stopped(lab):
    data = {"mixture": MIXTURE, "documents": "separate", "sequence_length": 64, "validation_tokens": 2048}
    training = {"tokens": 1024 * 120, "unique_tokens": 1024 * 30}
    config = lab.run_file(data=data, training=training, execution={"checkpoint_every_seconds": 0.3, "log_every": 10})
    lab("train", config, "--runs", "undisturbed")
    process = lab.start("train", config)
    while not list(lab.path.glob("runs/*/*/checkpoints/*/SHA256SUMS")):
        assert process.poll() is None, lab.output.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == Exit.SAVED
    lab("train", config)
    rows = lab.rows()
    assert rows == lab.rows("undisturbed")

    last = rows[-1]
    assert last["loss"] == pytest.approx(0.75 * last["loss_code"] + 0.25 * last["loss_notes"])
    assert last["loss_notes"] < 0.8 * rows[0]["train_loss"]
    (record,) = lab.path.glob("runs/*/*/run.json")
    facts = json.loads(record.read_text())["facts"]
    assert (facts["tokens"], facts["unique_tokens"], facts["epochs"]) == (1024 * 120, 1024 * 30, 4.0)
    assert 0 <= facts["dropped_bytes"] < 0.01
    assert 0 < facts["contamination"] < 1
    table = curves.read(record.parent.parent)
    assert set(table["unique_tokens"]) == {1024 * 30}
    assert table["tokens"].iloc[-1] / table["unique_tokens"].iloc[-1] == 4
    assert table["loss_notes"].iloc[-1] == last["loss_notes"]

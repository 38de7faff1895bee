"""How an attempt ends where its record cannot be written."""

import errno
import os

import pytest
from trainer import Trainer

from scaling import record
from scaling.errors import Exit, RecordError
from scaling.stopping import StopSignal
from scaling.stores import files
from scaling.training import attempt as attempts


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC])
def test_a_disk_lost_in_the_middle_ends_the_attempt_and_the_next_one_goes_on(trainer, tmp_path, monkeypatch, capsys, number):
    undisturbed, run = trainer("undisturbed"), trainer("run")
    undisturbed()
    assert run(stop_after=10) is Exit.SAVED
    monkeypatch.setattr(attempts, "keep_compiled_programs", lambda cache: None)
    append = record.RunDirectory.append

    def refuse(*_):
        raise OSError(number, os.strerror(number))

    def lost(*_):
        raise RecordError(f"cannot write: {os.strerror(number)}") from OSError(number, os.strerror(number))

    def append_until_lost(self, row):
        if row["step"] > 20:
            monkeypatch.setattr(files, "_install", refuse)
            monkeypatch.setattr(record, "_overwrite", lost)
            lost()
        append(self, row)

    class Never(StopSignal):
        def __init__(self):
            self._deferred = False

        def __call__(self):
            return False

    with monkeypatch.context() as patch:
        patch.setattr(record.RunDirectory, "append", append_until_lost)
        code = attempts.attempt(run.directory.path, run.specify(), run.dataset, Never())
    assert code is Exit.FAILED
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: cannot write: {os.strerror(number)}; cannot write")
    assert said.endswith(os.strerror(number))
    assert run.directory.status["state"] == "running"
    monkeypatch.undo()

    again = Trainer(run.directory.path, run.dataset)
    assert again() is Exit.DONE
    assert again.seen[0][1] == 10
    assert again.rows == undisturbed.rows

"""A damaged checkpoint is never used: each way to damage each file of one, and what a run does then."""

import shutil

import jax
import numpy as np
import pytest
from trainer import FIELDS, LENGTH, Trainer

from scaling.config import RunConfig, build
from scaling.errors import Exit, ScalingError
from scaling.training import checkpoints
from scaling.training.checkpoints import SEAL, Checkpoints, SaveError, restore
from scaling.training.program import make_program


@pytest.fixture(scope="module")
def saved(tmp_path_factory, dataset):
    """A run stopped after 14 steps and after 21: its two checkpoints, and the shapes to restore them into."""
    trainer = Trainer(tmp_path_factory.mktemp("saved"), dataset)
    for _ in range(2):
        assert trainer(stop_after=7) is Exit.SAVED
    assert trainer.checkpoints == [7, 14]
    return trainer


def _flip(path):
    """One bit, in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def _empty(path):
    path.write_bytes(b"")


def _delete(path):
    path.unlink()


@pytest.mark.parametrize("damage", [_flip, _truncate, _empty, _delete])
def test_damage_to_any_file_is_found_and_the_checkpoint_before_it_is_used(saved, tmp_path, damage):
    files = [path.relative_to(saved.checkpoint(14)) for path in saved.checkpoint(14).rglob("*") if path.is_file()]
    assert len(files) > 8
    assert sum((saved.checkpoint(14) / name).stat().st_size > 1000 for name in files) > 3
    for name in files:
        if damage is not _delete and (saved.checkpoint(14) / name).stat().st_size == 0:
            continue
        shutil.rmtree(tmp_path)
        shutil.copytree(saved.directory.path / "checkpoints", tmp_path)
        damage(tmp_path / "14" / name)
        assert checkpoints._damage(tmp_path / "7") is None
        what = checkpoints._damage(tmp_path / "14")
        assert what is not None, name
        assert name.name == SEAL or str(name) in what


@pytest.mark.parametrize("damaged", [(14,), (7, 14), (7,)])
def test_a_run_goes_on_from_the_newest_whole_checkpoint_and_says_so(saved, trainer, capsys, damaged):
    undisturbed, run = trainer("undisturbed"), trainer("run")
    undisturbed()
    shutil.copytree(saved.directory.path, run.directory.path)
    for step in damaged:
        _flip(max(run.checkpoint(step).glob("default/ocdbt.process_0/d/*"), key=lambda path: path.stat().st_size))
    (run.checkpoint(14).parent / "21.orbax-checkpoint-tmp").mkdir()
    assert run() is Exit.DONE
    begun = {(7,): 14, (14,): 7, (7, 14): 0}[damaged]
    assert run.seen[0][1] == begun
    assert run.rows == undisturbed.rows
    assert run.checkpoints[-1] == 40
    assert all(checkpoints._damage(run.checkpoint(step)) is None for step in run.checkpoints if step not in damaged)
    warning = run.directory.status.get("warning")
    if 14 in damaged:
        assert "the checkpoint of step 14 is damaged: default/ocdbt.process_0/d/" in warning
        assert warning.endswith("went on from step 7" if begun else "began anew")
        assert f"warning: {warning}\n" in capsys.readouterr().err
    else:
        assert warning is None


def test_a_reader_uses_the_whole_one_and_removes_nothing(saved, tmp_path):
    shutil.copytree(saved.directory.path / "checkpoints", tmp_path, dirs_exist_ok=True)
    _flip(tmp_path / "14" / "default" / "manifest.ocdbt")
    (tmp_path / "21.orbax-checkpoint-tmp").mkdir()
    found, damaged = restore(tmp_path, _abstract(saved))
    assert (found.step, list(damaged)) == (7, [14])
    assert int(found.state.step) == 7
    assert {path.name for path in tmp_path.iterdir()} == {"7", "14", "21.orbax-checkpoint-tmp"}
    assert restore(tmp_path / "nothing", _abstract(saved)) == (None, {})


@pytest.mark.parametrize("wanted", [{"averages": jax.ShapeDtypeStruct((3,), np.float32)}, {"optimizer": {}}])
def test_a_state_of_other_arrays_is_one_line(saved, tmp_path, wanted):
    """As another version may have saved it: fewer arrays than a run has now, or more."""

    class Fields(dict):
        def _asdict(self):
            return dict(self)

    shutil.copytree(saved.directory.path / "checkpoints", tmp_path, dirs_exist_ok=True)
    with pytest.raises(ScalingError, match=r"14 is whole, and holds other arrays than this run has: .* move .* away"):
        restore(tmp_path, Fields(_abstract(saved)._asdict() | wanted))


def _abstract(saved):
    config = build(RunConfig, FIELDS)
    return make_program(config.model, saved.dataset.tokenizer.vocabulary, LENGTH, config.execution.program).abstract_state


def test_a_save_that_fails_names_its_step_and_leaves_the_one_before(saved, tmp_path, monkeypatch):
    shutil.copytree(saved.directory.path / "checkpoints", tmp_path, dirs_exist_ok=True)
    store = Checkpoints(tmp_path)
    restored, _ = store.restore(_abstract(saved))

    def full(path, text):
        raise OSError("No space left on device")

    monkeypatch.setattr(checkpoints, "write_text", full)
    store.save(21, restored.state)
    with pytest.raises(SaveError, match="the state after step 21 could not be saved: No space left on device"):
        store.wait()
    store.close()
    assert store.newest == 14
    assert restore(tmp_path, _abstract(saved))[0].step == 14

"""Plans: the same from the same file, what they say a sweep takes, their chains of trunks, and the file they are kept in."""

import json

import jax
import numpy as np
import pytest

from scaling.config import build
from scaling.errors import ScalingError
from scaling.record import RunDirectory
from scaling.sweeps.estimates import Hardware, memory, read_hardware
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.plan import make_plan
from scaling.sweeps.stored import check_forecast, create_runs, has_begun, read_plan, write_plan
from scaling.tables import plan_summary, plan_table

DEVICE = Hardware(peak_flops=2e14, memory_bytes=2**34, price=3.6, priced="here", utilization=0.5)
WIDTHS = [16, 24, 32, 40, 48, 64]


@pytest.fixture
def plan(base):
    on_trunks = {**base, "schedule": {"kind": "wsd", "warmup_tokens": "4k"}}

    def make(hardware=None, **fields):
        fields = {"name": "s", "base": on_trunks, "axes": {"training.tokens": ["64k", "128k"]}, **fields}
        return make_plan(build(SweepConfig, fields), hardware)

    return make


def test_a_plan_is_the_same_each_time_and_its_file_too(plan, tmp_path):
    first, again = (json.dumps(plan(DEVICE).record()) for _ in range(2))
    assert first == again
    write_plan(tmp_path / "a", plan().record())
    made = read_plan(tmp_path / "a")
    before = (tmp_path / "a" / "plan.json").stat().st_mtime_ns
    write_plan(tmp_path / "a", plan().record())
    write_plan(tmp_path / "a", made)
    assert (tmp_path / "a" / "plan.json").stat().st_mtime_ns == before
    write_plan(tmp_path / "b", plan().record())
    assert read_plan(tmp_path / "b")["sha256"] == made["sha256"]
    assert made["cells"] == json.loads(json.dumps(plan().record()["cells"]))


@pytest.mark.parametrize(
    "edit",
    [
        lambda text: text.replace('"learning_rate": 0.004', '"learning_rate": 0.04'),
        lambda text: text.replace(' "sweep": "s"', ' "sweep":  "s"'),
        lambda text: json.dumps(json.loads(text)),
        lambda text: text[:-200],
        lambda text: "",
    ],
    ids=["a rate", "a space", "formatted", "cut off", "empty"],
)
def test_a_plan_that_was_edited_is_refused_and_made_again(plan, tmp_path, edit):
    path = write_plan(tmp_path / "s", plan().record())
    edited = edit(path.read_text())
    assert edited != path.read_text()
    path.write_text(edited)
    with pytest.raises(ScalingError) as raised:
        read_plan(tmp_path / "s")
    assert "is not the plan that was made" in str(raised.value)
    assert "\n" not in str(raised.value)
    write_plan(tmp_path / "s", plan().record())
    assert len(read_plan(tmp_path / "s")["cells"]) == 2


def test_a_grid_of_six_models_and_four_lengths_saves_at_least_two_fifths(plan, tmp_path):
    """Independent runs take 1 + 2 + 3 + 4 = 10 parts of each model. The trunk takes 0.8 x 4 and the decays 0.2 x 10, so that
    1 - 5.2 / 10 = 48 % are saved, but for the one update of 500 that each trunk ends early."""
    made = plan(
        axes={
            "model": [{"width": width, "layers": 2, "heads": 1} for width in WIDTHS],
            "training.tokens": [f"{tokens}k" for tokens in (64, 128, 192, 256)],
        },
    )
    fit = made.cells
    assert len(fit) == 24
    flops, to_train = (sum(numbers) for numbers in zip(*[_flops(cell) for cell in fit], strict=True))
    assert 1 - to_train / flops == pytest.approx(0.48, abs=0.01)
    for width in WIDTHS:
        chain = [cell for cell in fit if cell.specification.config.model.width == width]
        assert [cell.labels["training.tokens"] for cell in chain] == ["64k", "128k", "192k", "256k"]  # the order of training
        names = [None, *(cell.specification.run_id for cell in chain)]
        assert [cell.link.after for cell in chain] == names[:-1]
        assert [cell.link.start for cell in chain] == [0, *(cell.link.step for cell in chain[:-1])]
    assert "48% saved" in plan_summary(made.record(), tmp_path)


def _flops(cell):
    return cell.specification.facts["flops"], cell.flops_to_train


def test_no_run_waits_for_one_that_is_held_out(plan):
    lengths = {"64k": "fit", "128k": "holdout", "192k": "fit", "256k": "holdout"}
    of = {
        role: [{"training.tokens": tokens} for tokens, each in lengths.items() if each == role] for role in ("fit", "holdout")
    }
    made = plan(axes={}, cells=of["fit"], holdouts=of["holdout"])
    names = {cell.specification.run_id: cell.labels["training.tokens"] for cell in made.cells}
    after = {cell.labels["training.tokens"]: names.get(cell.link.after) for cell in made.cells}
    assert after == {"64k": None, "192k": "64k", "128k": "64k", "256k": "192k"}


def test_times_and_costs_are_flops_over_what_the_device_is_assumed_to_do(plan, tmp_path):
    """10^14 FLOP/s are used of a device at 3.60 $ an hour: 10^-14 seconds and 10^-17 $ for each FLOP."""
    record = plan(DEVICE).record()
    for cell in record["cells"]:
        assert cell["device_seconds"] == pytest.approx(cell["flops_to_train"] * 1e-14)
        assert cell["cost"] == pytest.approx(cell["flops_to_train"] * 1e-17)
    assert all("cost" not in cell for cell in plan().record()["cells"])
    unpriced = plan(DEVICE.model_copy(update={"price": None})).record()
    assert unpriced["cells"][0]["cost"] is None
    for each in (record, unpriced):
        each["hardware"]["name"] = "mine"
        assert "assuming 50% of 200 TFLOP/s" in plan_summary(each, tmp_path)
        assert plan_table(each, tmp_path).row_count == 2


def test_the_state_of_training_is_counted_exactly_and_all_of_it_about_as_xla_does(plan):
    from scaling.training.optimizer import hyperparameters
    from scaling.training.program import make_program

    for dtype, width in (("float32", 64), ("float32", 128), ("bfloat16", 128)):
        made = plan(axes={"model": [{"width": width, "layers": 4, "heads": width // 32, "dtype": dtype}]})
        config, facts = made.cells[0].specification.config, made.cells[0].specification.facts
        config = config.model_copy(update={"execution": config.execution.model_copy(update={"attention": "xla"})})
        program = make_program(config.model, 256, 64, config.execution.program)
        state = program.abstract_state
        size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves((state.parameters, state.optimizer)))
        tokens = jax.ShapeDtypeStruct((8, 65), np.int32)
        analysis = program.step.lower(state, tokens, hyperparameters(config)).compile().memory_analysis()
        estimate = memory(config, 256)
        assert size == pytest.approx(12 * facts["parameters"], abs=16)
        assert estimate > 16 * facts["parameters"]
        measured = analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
        assert measured / 2 < estimate < measured * 2


def test_devices_are_read_from_beside_the_sweep_file_first(tmp_path):
    assert read_hardware("v5e", tmp_path).peak_flops == 197e12
    (tmp_path / "hardware.yaml").write_text(
        "mine: {peak_flops: 1.0e+12, memory_bytes: 8589934592, price: null, priced: nowhere, utilization: 0.1}"
    )
    assert read_hardware("mine", tmp_path).cost(1e12) is None
    assert read_hardware("mine", tmp_path).seconds(1e12) == pytest.approx(10.0)
    with pytest.raises(ScalingError, match=r"no 'mien' in .*hardware\.yaml; did you mean mine\?"):
        read_hardware("mien", tmp_path)


def test_every_device_of_the_lab_is_whole():
    from pathlib import Path

    import yaml

    path = Path(__file__).parents[2] / "configs" / "hardware.yaml"
    names = list(yaml.safe_load(path.read_text()))
    assert names == ["v4", "v5e", "v5p", "v6e", "v7x", "a100-40", "a100-80", "h100", "h200", "b200"]
    for name in names:
        device = read_hardware(name, path.parent)
        assert 1e14 < device.peak_flops < 1e16
        assert 2**33 < device.memory_bytes < 2**38


def test_a_plan_has_begun_when_a_run_of_it_has(plan, tmp_path):
    record = plan().record()
    assert not has_begun(tmp_path)
    write_plan(tmp_path, record)
    assert not has_begun(tmp_path)
    RunDirectory(tmp_path / record["cells"][1]["run_id"]).update_status(state="running")
    assert has_begun(tmp_path)


def test_a_held_out_run_needs_a_forecast_before_it_begins(plan, tmp_path):
    record = plan(holdouts=[{"training.tokens": "192k"}]).record()
    sweep = tmp_path / "s"
    write_plan(sweep, record)
    create_runs(sweep, record)
    assert not has_begun(sweep)
    *fitted, held_out = record["cells"]
    check_forecast(sweep, fitted)
    with pytest.raises(ScalingError, match=f"{held_out['run_id']} is held out and has no forecast yet"):
        check_forecast(sweep, [held_out])
    (sweep / "forecast.json").write_text(json.dumps({"predictions": [{"run": "another"}]}))
    with pytest.raises(ScalingError, match="has no forecast yet"):
        check_forecast(sweep, [held_out])
    (sweep / "forecast.json").write_text(json.dumps({"predictions": [{"run": held_out["run_id"]}]}))
    check_forecast(sweep, [held_out])

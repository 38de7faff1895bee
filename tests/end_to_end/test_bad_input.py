"""What a user gets wrong is one clear line on stderr, exit code 2, and no traceback."""

import pytest

from scaling.errors import Exit

SWEEP = {
    "name": "s",
    "base": {
        "model": {"width": 32, "layers": 2, "heads": 2},
        "data": {"sequence_length": 64, "validation_tokens": "4k"},
        "training": {"tokens": "40k", "batch_tokens": 1024},
        "optimizer": {"learning_rate": "5e-3"},
    },
    "axes": {"seed": [0, 1]},
}


def _refused(lab, *arguments, parts):
    done = lab(*arguments, check=False)
    assert done.returncode == Exit.USAGE, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0], lines[0]


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("data.corpus=files:nothing/*.txt", ["nothing/*.txt"]),
        ("data.corpus=files:empty", ["empty"]),
        ("data.validation_tokens=90M", ["validation", "data.validation_tokens"]),
        ("training.tokens=900M", ["training.tokens", "data.max_epochs"]),
        ("model.heads=5", ["width 32", "heads 5"]),
        ("execution.mesh.data=4", ["4 devices", "there are 1"]),
        ("model.widht=3", ["model.widht", "model.width"]),
        ("training.tokens", ["section.field=value"]),
    ],
)
def test_train_refuses(lab, override, parts):
    (lab.path / "empty").mkdir()
    config = lab.run_file()
    _refused(lab, "train", config, override, parts=parts)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"axes": {}}, ["yields no cells"]),
        ({"axes": {"seed": []}}, ["yields no cells"]),
        ({"axes": {"seed": [1, 1]}}, ["the same run"]),
        ({"axes": {"model.widht": [64]}}, ["model.widht", "model.width"]),
        ({"axes": {"model": ["gpt2-124"]}}, ["gpt2-124", "gpt2-124m"]),
        ({"axes": {"budget": [1e3]}}, ["1k FLOPs", "less than one batch"]),
        ({"axes": {"tokens_per_parameter": [20], "budget": [1e12]}}, ["budget and tokens_per_parameter", "both"]),
        ({"zips": [{"model.width": [32, 64], "model.heads": [1]}]}, ["model.width 2", "model.heads 1"]),
        ({"exclude": [{"seed": 7}]}, ["exclude", "seed 7"]),
        ({"hardware": "v5"}, ["no 'v5'", "hardware.yaml", "v5p"]),
        ({"tune": {"rungs": [{"seed": 1}], "rates": [1, 2, 3]}}, ["tune.rungs", "two rungs or more"]),
        ({"holdout": []}, ["holdout", "holdouts"]),
    ],
)
def test_sweep_refuses(lab, changes, parts):
    base = {**SWEEP["base"], "execution": {"cache_directory": str(lab.cache)}}
    config = lab.write("sweep.yaml", {**SWEEP, "base": base, **changes})
    _refused(lab, "sweep", config, "--dry-run", parts=parts)


def test_what_an_engine_cannot_take_is_refused_before_anything_is_kept(lab):
    base = {**SWEEP["base"], "execution": {"cache_directory": str(lab.cache)}}
    kubernetes = {"image": "i", "slices": ["v5e:3x3"], "runs": "/runs"}
    config = lab.write("s.yaml", {**SWEEP, "base": base, "launcher": "kubernetes", "resources": {"kubernetes": kubernetes}})
    _refused(lab, "sweep", config, parts=["no TPU slice 'v5e:3x3'", "the nearest of v5e is v5e:"])
    assert not (lab.path / "runs").exists()


def test_a_plan_that_was_edited_is_refused_by_every_verb_that_reads_it(lab):
    base = {**SWEEP["base"], "execution": {"cache_directory": str(lab.cache)}}
    lab("sweep", lab.write("s.yaml", {**SWEEP, "base": base}), "--dry-run")
    plan = lab.path / "runs/s/plan.json"
    plan.write_text(plan.read_text().replace('"learning_rate": 0.005', '"learning_rate": 0.5'))
    for verb in ("sweep", "status"):
        _refused(lab, verb, "runs/s", parts=["runs/s/plan.json is not the plan that was made", "scaling sweep CONFIG"])


def test_a_runs_directory_that_cannot_be_written_is_named(lab):
    (lab.path / "file").write_text("")
    config = lab.run_file()
    _refused(lab, "train", config, "--runs", "file", parts=["cannot write", "file"])


def test_fewer_points_than_parameters_is_said_with_both_numbers(lab):
    (lab.path / "few.csv").write_text("parameters,tokens,loss\n1e6,1e8,4.0\n2e6,1e8,3.9\n2e6,2e8,3.7\n")
    _refused(lab, "fit", "few.csv", parts=["3 points", "5 parameters"])


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("train", "missing.yaml"), ["no such file: missing.yaml"]),
        (("train", "broken.yaml"), ["not valid YAML"]),
        (("status", "nowhere"), ["nowhere", "plan.json"]),
        (("work", "nowhere"), ["nowhere", "plan.json"]),
        (("count", "gpt2-124"), ["gpt2-124", "gpt2-124m"]),
        (("fit", "nowhere"), ["nowhere"]),
        (("report", "nowhere"), ["nowhere"]),
    ],
)
def test_what_is_not_there_is_named(lab, arguments, parts):
    (lab.path / "broken.yaml").write_text("model: [")
    _refused(lab, *arguments, parts=parts)

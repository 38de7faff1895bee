import pytest

from scaling.config import RunConfig, build, identity, override, run_id, set_path
from scaling.errors import ScalingError

FIELDS = {
    "model": {"width": 64, "layers": 2, "heads": 2},
    "training": {"tokens": "1M", "batch_tokens": 2048},
    "optimizer": {"learning_rate": "3e-3"},
}


def _id(*assignments: str) -> str:
    return run_id(identity(build(RunConfig, override(FIELDS, assignments)), "corpus", "tokenizer"))


@pytest.mark.parametrize(("text", "value"), [("12M", 12_000_000), ("3e6", 3_000_000), ("1_000k", 1_000_000), (5e6, 5_000_000)])
def test_quantities_are_read_as_people_write_them(text, value):
    assert build(RunConfig, set_path(FIELDS, "training.tokens", text)).training.tokens == value


@pytest.mark.parametrize(
    ("assignment", "parts"),
    [
        ("model.widht=3", ["model.widht", "3", "model.width"]),
        ("modle.width=3", ["modle", "model"]),
        ("model.heads=5", ["width 64", "heads 5"]),
        ("model.heads=64", ["even head width"]),
        ("model.family=lama", ["lama", "llama"]),
        ("model.preset=gpt2-124", ["gpt2-124", "gpt2-124m"]),
        ("training.tokens=lots", ["training.tokens", "lots", "12M"]),
        ("training.tokens=-5", ["training.tokens", "-5", "greater than 0"]),
        ("training.tokens=100", ["training.tokens 100", "2048"]),
        ("training.batch_tokens=1000", ["1000", "256"]),
        ("execution.mesh.data=3", ["8 sequences", "3"]),
        ("execution.mesh.dta=2", ["execution.mesh.dta", "execution.mesh.data"]),
        ("execution.micro_batch=3", ["8 sequences", "execution.micro_batch 3"]),
        ("execution={micro_batch: 2, mesh: {data: 2, expert: 2}}", ["execution.micro_batch", "2 sequences", "4 devices"]),
        ("execution.loss_chunk=100", ["data.sequence_length 256", "execution.loss_chunk 100"]),
        ("execution.remat=all", ["execution.remat", "'none', 'dots', 'dots_without_batch' or 'full'"]),
        ("execution.attention=flash", ["execution.attention", "'splash'"]),
        ("training.unique_tokens=100", ["training.unique_tokens 100", "data.sequence_length 256"]),
        ("data.documents=alone", ["data.documents", "'joined', 'separate' or 'pairs'"]),
        ("schedule.warmup_tokens=2M", ["warmup_tokens", "training.tokens"]),
        ("optimizer.learning_rate=.nan", ["optimizer.learning_rate"]),
    ],
)
def test_a_bad_value_is_one_line_that_names_field_value_and_remedy(assignment, parts):
    with pytest.raises(ScalingError) as raised:
        build(RunConfig, override(FIELDS, [assignment]))
    text = str(raised.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_missing_field_is_named():
    with pytest.raises(ScalingError, match=r"training\.tokens: this field is required"):
        build(RunConfig, {**FIELDS, "training": {"batch_tokens": 2048}})


def test_execution_is_not_part_of_the_identity():
    assert _id() == _id("execution.mesh.data=8", "execution.log_every=1", "execution.evaluations=9", "data.max_epochs=4")
    assert _id() == _id("execution={micro_batch: 4, remat: full, scan_layers: true, loss_chunk: 64, attention: splash}")


@pytest.mark.parametrize(
    "assignment",
    [
        "model.width=128",
        "seed=1",
        "training.tokens=2M",
        "optimizer.beta2=0.99",
        "schedule.kind=wsd",
        "data.validation_tokens=1k",
        "training.unique_tokens=100k",
        "data.documents=separate",
    ],
)
def test_whatever_changes_the_losses_changes_the_run_id(assignment):
    assert _id() != _id(assignment)


def test_spelling_does_not_change_the_run_id():
    assert _id("training.tokens=1e6", "model.family=llama") == _id("training.tokens=1000000", "model.mlp_width=176")


def test_tokens_that_make_no_whole_batch_are_not_in_the_identity():
    assert _id("training.tokens=1000000") == _id(f"training.tokens={1000000 // 2048 * 2048}")


def test_a_limit_that_a_run_does_not_reach_is_not_in_the_identity():
    assert _id("training.unique_tokens=1M") == _id() == _id("training.unique_tokens=2M")
    assert _id("training.unique_tokens=100_000") == _id(f"training.unique_tokens={100_000 // 256 * 256}")
    assert _id("training.unique_tokens=100k") != _id("training.unique_tokens=200k")


def test_fields_that_came_later_leave_older_ids_as_they_were():
    """The id that this configuration had before there were token budgets, document boundaries and mixtures."""
    assert _id() == "d94d3cdcfc88"


def test_corpus_and_tokenizer_are_named_by_content():
    config = build(RunConfig, FIELDS)
    assert run_id(identity(config, "a", "t")) != run_id(identity(config, "b", "t"))
    moved = build(RunConfig, override(FIELDS, ["data.corpus=files:elsewhere"]))
    assert run_id(identity(config, "a", "t")) == run_id(identity(moved, "a", "t"))

"""Rules of batch size and learning rate: each formula by hand, and what a sweep file makes of them."""

import numpy as np
import pytest

from scaling.config import RunConfig, build
from scaling.errors import ScalingError
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.plan import make_plan
from scaling.sweeps.rules import Size, choose, size_of
from scaling.tables import plan_table

BASE = {
    "data": {"sequence_length": 64, "validation_tokens": "1k"},
    "model": {"width": 32, "layers": 2, "heads": 2},
    "training": {"tokens": "64k", "batch_tokens": 512},
    "optimizer": {"learning_rate": 4e-3},
}


def _rule(**fields):
    return build(SweepConfig, {"name": "rules", "base": {}, "axes": {}, "rule": fields}).rule


@pytest.fixture
def plan(base):
    def make(rule, axes=None, **fields):
        axes = axes or {"training.tokens": ["16k", "64k", "256k"]}
        return make_plan(build(SweepConfig, {"name": "rules", "base": base, "axes": axes, "rule": rule, **fields}))

    return make


def test_step_law_and_deepseek_are_the_papers_formulas():
    """At N = 1 B and D = 100 B (C = 6 N D here), worked out with logarithms."""
    size = Size(1e9, 1e11, 6e20)
    step, deepseek = _rule(name="step_law").choose(size), _rule(name="deepseek").choose(size)
    assert np.log(step.batch_tokens) == pytest.approx(np.log(0.58) + 0.571 * np.log(1e11))
    assert np.log(step.learning_rate) == pytest.approx(np.log(1.79) - 0.713 * np.log(1e9) + 0.307 * np.log(1e11))
    assert np.log(deepseek.batch_tokens) == pytest.approx(np.log(0.2920) + 0.3271 * np.log(6e20))
    assert np.log(deepseek.learning_rate) == pytest.approx(np.log(0.3118) - 0.1250 * np.log(6e20))


def test_deepseek_chooses_about_what_its_authors_trained_with():
    """Their 7B model: 2.0 T tokens, 2304 sequences of 4096 tokens, rate 4.2e-4; the paper says it follows from the formula."""
    model = {"family": "llama", "width": 4096, "layers": 30, "heads": 32}
    config = build(
        RunConfig,
        {**BASE, "model": model, "data": {"sequence_length": 4096}, "training": {"tokens": "2T", "batch_tokens": 4096}},
    )
    choice = _rule(name="deepseek").choose(size_of(config, 2e12))
    assert choice.batch_tokens == pytest.approx(2304 * 4096, rel=0.1)
    assert choice.learning_rate == pytest.approx(4.2e-4, rel=0.1)


def test_a_size_counts_compute_as_equation_2_of_deepseek():
    """72 layers width^2 + 12 layers width context, FLOPs per token, for a block of 12 width^2 parameters."""
    model = {"family": "gpt2", "width": 64, "layers": 3, "heads": 2, "biases": False}
    config = build(RunConfig, {**BASE, "model": model})
    norms = 6 * (3 * 2 + 1) * 64 * 2
    assert size_of(config, 10.0).flops == pytest.approx(10 * (72 * 3 * 64**2 + 12 * 3 * 64 * 64 + norms))


@pytest.mark.parametrize("name", ["power_lines", "step_law", "deepseek"])
def test_a_reference_is_what_the_rule_chooses_for_itself(name):
    reference = build(RunConfig, BASE)
    rule = _rule(name=name, reference={"training.tokens": "64k"})
    choice = choose(rule, size_of(reference, reference.training.tokens), reference, 64)
    assert (choice.batch_tokens, choice.learning_rate) == (512, 4e-3)


def test_power_lines_in_a_sweep_file(plan):
    """Four times the tokens of the reference: 512 x 4^0.383 = 870.6 tokens, 14 sequences of 64; the rate by 4^(0.383 / 2)."""
    made = plan({"name": "power_lines", "reference": {"training.tokens": "64k"}})
    chosen = {cell.labels["training.tokens"]: cell.specification.config for cell in made.cells}
    assert {tokens: config.training.batch_tokens for tokens, config in chosen.items()} == {"16k": 320, "64k": 512, "256k": 896}
    for tokens, factor in (("16k", 1 / 4), ("64k", 1), ("256k", 4)):
        assert chosen[tokens].optimizer.learning_rate == pytest.approx(4e-3 * factor ** (0.383 / 2), rel=5e-3)
    record = made.cells[0].record()["config"]
    assert record["training"]["batch_tokens"] == 896  # what is trained is in plan.json
    columns = {
        column.header: list(column.cells)
        for column in plan_table(made.record(), made.cells[0].specification.config.execution.data_directory).columns
    }
    assert columns["batch"] == ["896", "512", "320"]
    assert columns["rate"][1] == "4.00e-03"


def test_a_budget_is_spent_in_the_rules_batches(plan):
    made = plan({"name": "step_law"}, axes={"model": [{"width": 32}], "budget": ["2e10", "1e11"]})
    for cell in made.cells:
        config, flops = cell.specification.config, cell.specification.facts["flops"]
        assert config.training.tokens % config.training.batch_tokens == 0
        assert float(cell.labels["budget"]) * 0.98 < flops <= float(cell.labels["budget"])


@pytest.mark.parametrize(
    ("rule", "axes", "message"),
    [
        ({"name": "steplaw"}, None, "rule.name: unknown 'steplaw'; known: 'power_lines', 'step_law', 'deepseek'"),
        ({"name": "power_lines"}, None, "rule.reference: this field is required"),
        ({"name": "step_law", "refrence": {}}, None, "did you mean rule.reference?"),
        (
            {"name": "step_law"},
            {"optimizer.learning_rate": [1e-3]},
            "optimizer.learning_rate of a cell is chosen by the rule step_law; leave it or the rule out",
        ),
        (
            {"name": "step_law"},
            {"rung": [{"training": {"batch_tokens": 512}}]},
            "training.batch_tokens of a cell is chosen by the rule step_law; leave it or the rule out",
        ),
    ],
    ids=str,
)
def test_a_bad_rule_is_one_clear_line(plan, rule, axes, message):
    with pytest.raises(ScalingError) as raised:
        plan(rule, axes)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)

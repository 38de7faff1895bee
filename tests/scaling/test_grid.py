"""The cells that a sweep file means, and the runs that their labels stand for."""

import pytest

from scaling.config import build
from scaling.counting import count_parameters
from scaling.errors import ScalingError
from scaling.sweeps.cells import configure
from scaling.sweeps.grid import SweepConfig, fitted_labels

BASE = {
    "data": {"sequence_length": 64},
    "model": {"width": 32, "layers": 2, "heads": 2},
    "training": {"tokens": "64k", "batch_tokens": 512},
    "optimizer": {"learning_rate": 4e-3},
    "schedule": {"warmup_tokens": "4k"},
}
AXES = {"model": ["1M", "4M"], "training.tokens": ["10M", "20M", "40M"]}


def _labels(**fields):
    return fitted_labels(build(SweepConfig, {"name": "s", "base": BASE, **fields}))


def test_axes_are_a_product_in_their_order_and_cells_come_after_it():
    assert _labels(axes={"seed": [0, 1], "model": ["1M", "4M"]}, cells=[{"model": "9M"}]) == [
        {"seed": 0, "model": "1M"},
        {"seed": 0, "model": "4M"},
        {"seed": 1, "model": "1M"},
        {"seed": 1, "model": "4M"},
        {"model": "9M"},
    ]


def test_a_zip_is_one_axis_of_paths_that_vary_together():
    zipped = {"optimizer.learning_rate": [1e-3, 2e-3], "optimizer.weight_decay": [0.1, 0.2]}
    assert _labels(axes={"seed": [0, 1]}, zips=[zipped]) == [
        {"seed": seed, "optimizer.learning_rate": rate, "optimizer.weight_decay": decay}
        for seed in (0, 1)
        for rate, decay in ((1e-3, 0.1), (2e-3, 0.2))
    ]
    assert len(_labels(zips=[zipped])) == 2


def test_an_exclusion_leaves_out_the_cells_that_have_all_its_values():
    found = _labels(axes=AXES, exclude=[{"model": "4M", "training.tokens": [20_000_000, "40M"]}])
    assert [(each["model"], each["training.tokens"]) for each in found] == [
        ("1M", "10M"),
        ("1M", "20M"),
        ("1M", "40M"),
        ("4M", "10M"),
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"exclude": [{"model": "2M"}]}, "exclude: no cell of the grid of s has model 2M"),
        ({"exclude": [{"seed": 1}]}, "exclude: seed is not varied; known: model, training.tokens"),
        ({"zips": [{"seed": [0, 1], "optimizer.beta2": [0.9]}]}, "zip 1 has seed 2, optimizer.beta2 1"),
        ({"zips": [{"model": ["9M"]}]}, "model is varied in two places of axes and zips"),
    ],
)
def test_a_bad_grid_is_one_clear_line(fields, message):
    with pytest.raises(ScalingError) as raised:
        _labels(axes=AXES, **fields)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("model", [{}, {"experts": 4, "experts_per_token": 2, "biases": False}, {"tied_head": True}])
def test_tokens_per_parameter_counts_all_parameters_that_a_token_uses(model):
    """To whole batches of 512: within half a batch of 20 N."""
    base = {**BASE, "model": {**BASE["model"], **model}}
    config = configure(base, {"tokens_per_parameter": 20})
    parameters = count_parameters(config.model, 256, 64).active
    assert config.training.tokens % 512 == 0
    assert abs(config.training.tokens - 20 * parameters) <= 256


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"budget": "1e12", "training.tokens": "1M"}, "budget and training.tokens of a cell both choose its tokens"),
        ({"budget": "1e12", "tokens_per_parameter": 20}, "budget and tokens_per_parameter of a cell both choose its tokens"),
    ],
)
def test_tokens_are_chosen_once(labels, message):
    with pytest.raises(ScalingError, match=message):
        configure(BASE, labels)


def test_a_budget_below_the_warmup_of_the_base_is_no_matter_of_one_batch():
    """The warmup is longer than one batch, which is what a budget is first reckoned for."""
    config = configure(BASE, {"budget": "1e11"})
    assert config.training.tokens > 4000

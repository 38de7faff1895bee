"""The coordinate check: flat where theory says so, growing where it says so."""

import numpy as np
import pytest

from scaling.cli.checks import SMALLEST
from scaling.config import RunConfig, build, override
from scaling.errors import ScalingError
from scaling.training.coordinates import Size, check, grown, slopes


def _config(*assignments):
    return build(RunConfig, override(SMALLEST, assignments))


def _changes(parametrization, axis, factors, *assignments):
    sizes = list(check(_config(*assignments), parametrization, axis, factors, steps=10))
    return {each.layer: each.exponent for each in slopes(sizes) if each.quantity == "change"}


@pytest.mark.slow
def test_updates_keep_their_size_with_the_width_under_mup_and_grow_under_the_standard_parametrization():
    """Entries of Adam's updates have size 1: through a fan-in of n they add up to n where they align with what they read, so
    that a change grows as n^(1/2) to n at a fixed rate (Yang et al. 2022), and as n^0 at a rate of 1/n.
    """
    standard = _changes("standard", "width", [1, 4, 8], "model.layers=1")
    mup = _changes("mup", "width", [1, 4, 8], "model.layers=1")
    for layer in ("attention", "MLP", "residual stream"):
        assert 0.4 < standard[layer] < 1.2, (layer, standard)
        assert abs(mup[layer]) < 0.2, (layer, mup)
    for changes in (standard, mup):
        assert abs(changes["embedding"]) < 0.1  # its fan-in is one token


@pytest.mark.slow
def test_the_stream_keeps_the_size_of_its_change_with_the_depth_under_completep_alone():
    """l branches that change coherently add up to l of their changes, and each is divided by l under CompleteP."""
    standard = _changes("standard", "layers", [1, 4])["residual stream"]
    completep = _changes("completep", "layers", [1, 4])["residual stream"]
    assert 0.5 < standard < 1.5
    assert abs(completep) < 0.3


def test_slopes_are_the_exponents_of_power_laws():
    sizes = [Size("mup", "width", at, "MLP", "change", 3 * at**exponent) for exponent in (0.7,) for at in (32, 64, 256)]
    (slope,) = slopes(sizes)
    assert slope.exponent == pytest.approx(0.7)


def test_a_wider_model_has_more_heads_of_the_same_width():
    model = grown(_config("model.kv_heads=1").model, "width", 4)
    assert (model.width, model.heads, model.kv_heads, model.head_width) == (128, 8, 4, 16)
    assert model.mlp_width == 4 * _config().model.mlp_width
    assert grown(model, "layers", 3).layers == 3 * model.layers


def test_a_loss_that_is_not_finite_is_one_clear_line():
    with np.errstate(all="ignore"), pytest.raises(ScalingError, match="the loss of a model 32 wide diverged at step"):
        list(check(_config("model.layers=1", "optimizer.learning_rate=1e30"), "standard", "width", [1], steps=4))

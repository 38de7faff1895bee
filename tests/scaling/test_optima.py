"""The best of a few values, and the law over sizes, on losses whose truth is known."""

import math

import numpy as np
import pytest

from scaling.sweeps.optima import BRINK, Optimum, Tuned, fit_power_law, search
from scaling.sweeps.rules import Size

TRUTH = 2.3e-3


def _loss(value):
    """A parabola in log value with its lowest point at the truth."""
    return 2.5 + 0.3 * math.log(value / TRUTH) ** 2


def _searched(values, loss=_loss, most=20):
    losses = {value: loss(value) for value in values}
    while not isinstance(answer := search(losses), Optimum):
        assert answer not in losses
        losses[answer] = loss(answer)
        assert len(losses) < most
    return answer, losses


@pytest.mark.parametrize("values", [(1e-3, 2e-3, 4e-3), (1e-3, 1.7e-3, 9e-3, 2e-2), (2.2e-3, 2.3e-3, 2.4e-3)])
def test_a_parabola_is_found_exactly_from_any_values_around_it(values):
    answer, losses = _searched(values)
    assert len(losses) == len(values)
    assert answer.value == pytest.approx(TRUTH)
    assert answer.loss == pytest.approx(2.5)


@pytest.mark.parametrize(("values", "tried"), [((1e-2, 2e-2, 4e-2), [5e-3, 2.5e-3, 1.25e-3]), ((1e-4, 4e-4), [1.6e-3, 6.4e-3])])
def test_an_optimum_at_the_edge_is_refused_and_the_values_are_extended(values, tried):
    answer, losses = _searched(values)
    assert list(losses)[len(values) :] == pytest.approx(tried)
    assert answer.value == pytest.approx(TRUTH)


def test_beside_values_that_diverge_it_is_looked_at_more_closely():
    answer, losses = _searched((1e-3, 2e-3, 4e-3), lambda value: math.inf if value > 3e-3 else _loss(value))
    assert list(losses)[3:] == pytest.approx([math.sqrt(8e-6)])
    assert answer.value == pytest.approx(TRUTH)


def test_the_best_may_lie_at_the_brink_of_divergence():
    answer, _ = _searched((1e-3, 2e-3, 4e-3), lambda value: math.inf if value > 3e-3 else -value)
    assert 3e-3 / BRINK < answer.value <= 3e-3


def test_where_every_value_diverges_smaller_ones_are_tried():
    assert search({1e-2: math.inf, 2e-2: math.inf, 4e-2: math.inf}) == pytest.approx(5e-3)


def test_values_that_are_all_alike_give_the_middle_one():
    assert search({1.0: 2.5, 2.0: 2.5, 4.0: 2.5}) == 0.5  # the lowest of equals is at the edge
    assert search({1.0: 2.5 + 1e-12, 2.0: 2.5, 4.0: 2.5 + 1e-12}).value == pytest.approx(2.0, rel=0.01)


SIZES = [Size(n, d, 0.0) for n in (1e6, 3e6, 9e6) for d in (2e7, 1e8)]


def test_a_law_in_both_sizes_is_recovered():
    law = fit_power_law(SIZES, [1.8 * size.parameters**-0.7 * size.tokens**0.3 for size in SIZES])
    assert (law.scale, law.parameters, law.tokens) == pytest.approx((1.8, -0.7, 0.3))
    assert law.residual == pytest.approx(0, abs=1e-12)


def test_where_tokens_go_with_parameters_one_exponent_has_both():
    """At D = 20 N the law N^-0.7 D^0.3 is 20^0.3 N^-0.4, also at a larger size of that ratio."""
    sizes = [Size(n, 20 * n, 0.0) for n in (1e6, 3e6, 9e6)]
    law = fit_power_law(sizes, [size.parameters**-0.7 * size.tokens**0.3 for size in sizes])
    assert (law.parameters, law.tokens) == pytest.approx((-0.4, 0.0))
    assert law.at(Size(1e9, 2e10, 0.0)) == pytest.approx(1e9**-0.7 * 2e10**0.3)


def test_sizes_of_one_width_give_the_exponent_of_tokens_and_one_size_a_constant():
    law = fit_power_law(SIZES[:2], [size.tokens**0.4 for size in SIZES[:2]])
    assert (law.parameters, law.tokens) == pytest.approx((0.0, 0.4))
    constant = fit_power_law(SIZES[:1], [4e-3])
    assert [constant.at(size) for size in SIZES] == pytest.approx([4e-3] * len(SIZES))


def test_scatter_about_the_law_is_its_residual():
    random = np.random.default_rng(0)
    sizes = [Size(n, d, 0.0) for n in np.geomspace(1e6, 1e9, 30) for d in np.geomspace(1e8, 1e10, 30)]
    noise = np.exp(0.1 * random.standard_normal(len(sizes)))
    law = fit_power_law(sizes, [each * size.parameters**-0.3 for each, size in zip(noise, sizes, strict=True)])
    assert law.residual == pytest.approx(0.1, rel=0.1)
    assert law.parameters == pytest.approx(-0.3, abs=0.01)


def test_what_is_tuned_chooses_rates_alone_or_with_batches():
    rate = fit_power_law(SIZES[:1], [4.0e-3])
    assert Tuned(rate, None).choose(SIZES[3]).rounded(64) == (None, 4e-3)
    assert Tuned(rate, fit_power_law(SIZES[:1], [1000.0])).choose(SIZES[3]).rounded(64) == (1024, 4e-3)

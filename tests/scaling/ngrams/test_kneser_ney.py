"""The vectorised model against the formula written out with dictionaries, one n-gram at a time."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from scaling.ngrams.kneser_ney import FALLBACK, discounts, fit

VOCABULARY = 200


def windows(count: int, length: int, seed: int = 0) -> np.ndarray:
    """Sequences of a language with some memory and a long tail, so that every count from 1 to 4 occurs at every order."""
    random = np.random.default_rng(seed)
    token = (random.zipf(1.6, size=(count, length)) - 1) % (VOCABULARY - 1)  # the last token never occurs
    repeated = random.random((count, length)) < 0.4
    repeated[:, :2] = False
    for place in range(2, length):
        token[:, place] = np.where(repeated[:, place], token[:, place - 2], token[:, place])
    return token


class ByDefinition:
    """Chen & Goodman 1999, equations of interpolated modified Kneser-Ney, as they stand."""

    def __init__(self, windows: list[list[int]], order: int):
        self.order = order
        raw = [Counter() for _ in range(order + 2)]
        for window in windows:
            for end in range(1, len(window)):
                for length in range(1, order + 1):
                    if end + 1 >= length:
                        raw[length][tuple(window[end + 1 - length : end + 1])] += 1
        self.count = {order: raw[order]}
        for length in range(1, order):
            preceded = defaultdict(set)
            for gram in raw[length + 1]:
                preceded[gram[1:]].add(gram[0])
            self.count[length] = Counter({gram: len(before) for gram, before in preceded.items()})
        self.discount = {length: self._discounts(counts) for length, counts in self.count.items()}

    @staticmethod
    def _discounts(counts: Counter) -> list[float]:
        n1, n2, n3, n4 = (sum(count == i for count in counts.values()) for i in (1, 2, 3, 4))
        y = n1 / (n1 + 2 * n2)
        return [0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]

    def probability(self, context: tuple[int, ...], token: int) -> float:
        length = len(context) + 1
        lower = self.probability(context[1:], token) if context else 1 / VOCABULARY
        following = {gram[-1]: count for gram, count in self.count[length].items() if gram[:-1] == context}
        total = sum(following.values())
        if not total:
            return lower
        d = self.discount[length]
        kept = following.get(token, 0) - d[min(following.get(token, 0), 3)]
        return kept / total + sum(d[min(count, 3)] for count in following.values()) / total * lower


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_probabilities_are_those_of_the_definition(order: int) -> None:
    train, test = windows(60, 14), windows(3, 9, seed=1)
    test[0, 3] = VOCABULARY - 1  # never seen, and so is every context with it
    expected = ByDefinition(train.tolist(), order)
    found = fit(train, order, VOCABULARY).probabilities(test)
    for window, row in zip(test.tolist(), found, strict=True):
        for place, token in enumerate(window):
            context = tuple(window[max(0, place - order + 1) : place])
            assert row[place] == pytest.approx(expected.probability(context, token), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_the_next_token_is_some_token(order: int) -> None:
    """After contexts that were seen, that were not, that are shorter than the order, and after nothing."""
    model = fit(windows(40, 14), order, VOCABULARY)
    for context in ([], [0], [1, 0, 1, 0, 1], [199, 199, 199], [70, 9, 150, 9, 3, 2]):
        p = model.next_token(np.array(context, int))
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert (p > 0).all()
        asked = np.array([[*context, 4]])
        assert p[4] == model.probabilities(asked)[0, -1]


def test_a_longer_memory_predicts_what_a_shorter_one_cannot() -> None:
    """Each token repeats the one two before it: from order 3 on that is nearly certain, at order 2 it is not."""
    random = np.random.default_rng(0)
    window = np.tile(random.integers(4, size=(300, 2)), (1, 6))
    losses = {order: -np.log(fit(window[:200], order, 4).probabilities(window[200:])[:, 2:]).mean() for order in (1, 2, 3)}
    assert losses[3] < 0.1 < 0.9 * math.log(4) < losses[2]
    assert losses[1] == pytest.approx(math.log(4), rel=0.02)


def test_discounts_that_cannot_be_estimated_are_those_of_kenlm() -> None:
    assert (discounts(np.array([5, 6, 9])) == FALLBACK).all()  # nothing occurs once
    assert (discounts(np.repeat([1, 2, 3, 4], [1, 1, 1, 50])) == FALLBACK).all()  # D3 would be far below 0
    n = np.array([40, 20, 10, 5])
    y = 40 / 80
    expected = [0, 1 - 2 * y * 20 / 40, 2 - 3 * y * 10 / 20, 3 - 4 * y * 5 / 10]
    np.testing.assert_allclose(discounts(np.repeat([1, 2, 3, 4], n)), expected)


def test_large_vocabularies_and_high_orders_do_not_overflow() -> None:
    token = np.random.default_rng(0).integers(200_000, size=(50, 20))
    p = fit(token, 8, 200_000).probabilities(token)
    assert np.isfinite(p).all()
    assert (p > 0).all()
    assert (p < 1).all()

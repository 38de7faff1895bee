"""Judging by models whose knowledge of brackets is known: the perfect one, one that forgets kinds, one that knows nothing."""

import itertools

import numpy as np
import pytest

from scaling.data.worlds.dyck import BalancedWords, BracketProcess, open_brackets
from scaling.parentheses import judge

WORLD = BalancedWords(pairs=6, kinds=2)


def perfect(token_CxT: np.ndarray) -> np.ndarray:
    """Equal probabilities for all tokens that may follow (after the last place, for all)."""
    legal = np.ones((*token_CxT.shape, WORLD.vocabulary))
    legal[:, :-1] = WORLD.allowed(token_CxT)[:, 1:]
    legal[legal.sum(-1) == 0] = 1  # after an illegal token
    return legal / legal.sum(-1, keepdims=True)


def forgetful(token_CxT: np.ndarray) -> np.ndarray:
    """Knows how deep it is and not which kinds are open."""
    p = perfect(token_CxT)
    return np.concatenate([p[..., :2], p[..., 2:].mean(-1, keepdims=True).repeat(2, -1)], axis=-1)


def test_what_may_follow_is_what_some_word_goes_on_with() -> None:
    """All words of three pairs of two kinds, enumerated: after each beginning exactly the tokens that some word has there."""
    world = BalancedWords(pairs=3, kinds=2)

    def balanced(word: tuple[int, ...]) -> bool:
        stack: list[int] = []
        return all(stack.append(t) is None if t < 2 else bool(stack) and stack.pop() == t - 2 for t in word) and not stack

    words = [word for word in itertools.product(range(4), repeat=6) if balanced(word)]
    assert len(words) == 5 * 8
    following: dict[tuple[int, ...], set[int]] = {}
    for word in words:
        for place in range(6):
            following.setdefault(word[:place], set()).add(word[place])
    for word, allowed in zip(words, world.allowed(np.array(words)), strict=True):
        for place in range(6):
            assert set(np.flatnonzero(allowed[place])) == following[word[:place]]


def test_a_process_stops_after_a_word_alone() -> None:
    world = BracketProcess(tokens=8, kinds=2)
    allowed = world.allowed(np.array([[0, 1, 3, 2, 4, 1, 3, 1]]))[0]
    assert [set(np.flatnonzero(row)) for row in allowed] == [
        {0, 1},  # a document begins with a word
        {0, 1, 2},
        {0, 1, 3},
        {0, 1, 2},
        {0, 1, 4},  # balanced: stop or open again
        {0, 1},  # a word never is empty
        {0, 1, 3},
        {0, 1, 4},
    ]
    documents = world.documents(np.random.default_rng(0), 200)
    assert np.take_along_axis(world.allowed(documents), documents[..., None], axis=2).all()


def test_the_perfect_model_is_right_everywhere() -> None:
    found = judge(WORLD, perfect, documents=300)
    assert found.accuracy == 1
    assert found.illegal == 0
    assert found.longest(0.0) == found.longest(0.8) == 6
    assert all(each.right == 1 for each in found.completions)
    assert [each.depth for each in found.depths] == [1, 2, 3, 4, 5, 6]


def test_a_model_that_forgets_kinds_closes_half_of_them_rightly() -> None:
    """It says the first kind where both are equal: right in half of the closings. Half of its closing mass is illegal."""
    found = judge(WORLD, forgetful, documents=2000)
    closings = sum(each.closings for each in found.depths)
    assert found.accuracy == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(closings))
    documents = WORLD.documents(np.random.default_rng([0, 5]), 2000)
    closing = perfect(documents)[:, :-1, 2:].sum(-1)
    assert found.illegal == pytest.approx(closing.mean() / 2)
    assert found.longest(0.0) <= 1
    # at temperature 0 a prompt of six openings is right where all six are of the first kind: 1 of 64
    assert next(each.right for each in found.completions if each.openings == 6) < 0.2


def test_probabilities_by_depth_are_means_over_its_places() -> None:
    found = judge(WORLD, forgetful, documents=400)
    documents = WORLD.documents(np.random.default_rng([0, 5]), 400)
    depth = open_brackets(documents, 2)[0][:, 1:]
    closing = perfect(documents)[:, :-1, 2:].sum(-1)
    for each in found.depths:
        assert each.illegal == pytest.approx(closing[depth == each.depth].mean() / 2)


def test_temperature_is_what_completions_are_drawn_at() -> None:
    """A model with 10 % of its mass on illegal tokens: greedy completions are right, drawn ones rarely."""

    def hesitant(token_CxT: np.ndarray) -> np.ndarray:
        return 0.6 * perfect(token_CxT) + 0.4 / 4

    found = judge(WORLD, hesitant, documents=50)
    assert found.longest(0.0) == 6
    assert found.longest(0.8) < 6
    assert max(each.right for each in found.completions if each.temperature == 0.8 and each.openings < 4) < 0.9

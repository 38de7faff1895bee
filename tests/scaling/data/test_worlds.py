"""Each world's stated entropy, and its own loss on a sample, against second computations that share nothing with the first."""

import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from scaling.config import DataConfig, build
from scaling.data.batches import Batches
from scaling.data.prepare import prepare
from scaling.data.worlds import named_world, parse
from scaling.data.worlds.dyck import BalancedWords, BracketProcess
from scaling.data.worlds.hierarchy import RandomHierarchy
from scaling.data.worlds.zipf import ZipfFacts, ZipfMarkov
from scaling.errors import ScalingError


def binary(p: np.ndarray) -> np.ndarray:
    return -sum(np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0) for q in (p, 1 - p))


def is_balanced(word: np.ndarray, kinds: int) -> bool:
    stack = []
    for token in word:
        if token < kinds:
            stack.append(token)
        elif not stack or stack.pop() != token - kinds:
            return False
    return not stack


@pytest.mark.parametrize(("pairs", "kinds"), [(1, 1), (5, 2), (64, 4)])
def test_a_word_of_brackets_has_the_entropy_of_its_steps(pairs: int, kinds: int) -> None:
    """The chain rule over positions, with the probabilities that words are drawn by, against the count of words."""
    world, total = BalancedWords(pairs, kinds), pairs * math.log(kinds)
    probability = np.eye(1, 2 * pairs + 2)[0]
    for position in range(2 * pairs):
        left, depth = 2 * pairs - position, np.arange(2 * pairs + 2)
        opens = np.where(depth <= left, world.opening_probability(depth, left), 0.0)
        total += (probability * binary(opens)).sum()
        probability = np.roll(probability * opens, 1) + np.roll(probability * (1 - opens), -1)
    assert world.entropy == pytest.approx(total / (2 * pairs), rel=1e-12)


def test_every_word_of_brackets_is_equally_likely() -> None:
    documents = BalancedWords(pairs=3, kinds=1).documents(np.random.default_rng(0), 50_000)
    assert all(is_balanced(word, 1) for word in documents[:1000])
    counts = Counter(map(tuple, documents.tolist()))
    assert len(counts) == 5  # Catalan(3)
    assert max(abs(count - 10_000) for count in counts.values()) < 4.5 * math.sqrt(50_000 * 0.2 * 0.8)


def test_brackets_of_several_kinds_close_what_was_opened() -> None:
    documents = BalancedWords(pairs=12, kinds=3).documents(np.random.default_rng(1), 300)
    assert all(is_balanced(word, 3) for word in documents)
    assert set(np.unique(documents)) == set(range(6))


def test_the_bracket_process_has_the_entropy_of_its_samples() -> None:
    """The negative log probability of samples, each token judged by a reader that keeps its own stack; its mean."""
    world = BracketProcess(tokens=24, kinds=2, opening=0.45, stopping=0.3)
    documents = world.documents(np.random.default_rng(0), 20_000)
    surprise = np.zeros(documents.shape)
    for index, word in enumerate(documents):
        stack, fresh = [], True
        for place, token in enumerate(word):
            if fresh:
                assert token < 2
                surprise[index, place] = math.log(2)
            elif not stack:
                surprise[index, place] = -math.log(0.3) if token == 4 else -math.log(0.7 / 2)
            else:
                surprise[index, place] = -math.log(0.45 / 2) if token < 2 else -math.log(0.55)
            fresh = token == 4
            if token < 2:
                stack.append(token)
            elif token < 4:
                assert stack.pop() == token - 2
    np.testing.assert_allclose(world.document_surprise(documents), surprise, rtol=1e-12)
    error = surprise.mean(axis=1).std() / math.sqrt(len(documents))
    assert world.entropy == pytest.approx(surprise.mean(), abs=4 * error)
    assert error < 0.001


def conditional(texts: list[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """-log P of the last token of each beginning given those before it, all texts equally likely: by counting."""
    begun = Counter(text[:places] for text in texts for places in range(len(text) + 1))
    return {each: math.log(begun[each[:-1]] / count) for each, count in begun.items() if each}


@pytest.mark.parametrize(("pairs", "kinds"), [(4, 1), (3, 2)])
def test_brackets_lose_what_counting_words_gives(pairs: int, kinds: int) -> None:
    texts = [word for word in itertools.product(range(2 * kinds), repeat=2 * pairs) if is_balanced(np.array(word), kinds)]
    expected, found = conditional(texts), BalancedWords(pairs, kinds).document_surprise(np.array(texts))
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, [expected[text[: place + 1]] for place in range(len(text))], atol=1e-12)


def test_a_hierarchy_has_as_many_texts_as_its_trees() -> None:
    """All derivations, enumerated: each gives another text, so that the entropy is the logarithm of their number."""
    world = RandomHierarchy(symbols=3, rules=2, branching=2, levels=2, seed=4)
    texts = Counter()
    for root in range(3):
        for top, left, right in itertools.product(range(2), repeat=3):
            first, second = world.production_VxMxS(0)[root, top]
            texts[(*world.production_VxMxS(1)[first, left], *world.production_VxMxS(1)[second, right])] += 1
    assert set(texts.values()) == {1}
    expected, found = conditional(list(texts)), world.document_surprise(np.array(list(texts)))
    for text, row in zip(texts, found, strict=True):
        np.testing.assert_allclose(row, [expected[text[: place + 1]] for place in range(4)], atol=1e-12)
    begun = world.document_surprise(np.array(list(texts))[:, :3])
    np.testing.assert_array_equal(begun, found[:, :3])  # what comes later has no say
    assert world.entropy == pytest.approx(math.log(len(texts)) / 4)
    sampled = Counter(map(tuple, world.documents(np.random.default_rng(0), 24_000).tolist()))
    assert set(sampled) == set(texts)
    assert max(abs(count - 1000) for count in sampled.values()) < 4.5 * math.sqrt(24_000 / 24)


def test_a_markov_chain_has_the_rate_of_its_transition_matrix() -> None:
    world = ZipfMarkov(words=8, exponent=1.2, seed=3)
    weight = np.arange(1, 9) ** -1.2
    transition = np.zeros((8, 8))
    np.put_along_axis(transition, world.successor_VxV, np.tile(weight / weight.sum(), (8, 1)), axis=1)
    stationary = np.linalg.matrix_power(transition, 200)[0]
    rate = -(stationary[:, None] * transition * np.log(transition)).sum()
    assert world.entropy == pytest.approx(rate, rel=1e-12)
    word = world.documents(np.random.default_rng(0), 100_000)[:, 0]
    counted = np.zeros((8, 8))
    np.add.at(counted, (word[:-1], word[1:]), 1)
    np.testing.assert_allclose(counted / counted.sum(1, keepdims=True), transition, atol=0.02)
    np.testing.assert_allclose(world.surprise(word[None])[0], -np.log(transition[word[:-1], word[1:]]), rtol=1e-12)


def test_facts_are_remembered_as_the_formula_says() -> None:
    """A table of the values seen, run on samples, against the expected loss of the memoriser."""
    world = ZipfFacts(keys=200, values=16, exponent=0.6, seed=1)
    random, losses = np.random.default_rng(0), []
    for _ in range(40):
        seen = set(world.documents(random, 300)[:, 0].tolist())
        test = world.documents(random, 2000)
        assert (test[:, 1] == world.value_K[test[:, 0] - 16]).all()
        unseen = np.array([key not in seen for key in test[:, 0]])
        losses.append(unseen.mean() * math.log(16) / 2)
    expected = world.memoriser_loss(np.array([300, 10**9]))
    assert np.mean(losses) == pytest.approx(expected[0] - world.entropy, abs=4 * np.std(losses) / math.sqrt(40))
    assert expected[1] == pytest.approx(world.entropy)
    frequency = np.bincount(world.documents(random, 200_000)[:, 0] - 16, minlength=200) / 200_000
    frequency = frequency[frequency > 0]
    assert world.entropy == pytest.approx(-(frequency * np.log(frequency)).sum() / 2, rel=0.005)


@pytest.mark.parametrize(("a", "exponent"), [(1, 1 / 2), (2, 2 / 3)])
def test_the_memoriser_has_the_exponent_of_theory_while_there_are_keys_left(a: float, exponent: float) -> None:
    """a / (1 + a), Hutter 2021; with 4,096 keys the loss falls faster than that, and faster the more of them are known."""
    pairs = np.array([1e3, 1e4, 1e5, 1e6])

    def slopes(keys: int) -> np.ndarray:
        world = ZipfFacts(keys=keys, values=64, exponent=a)
        return -np.diff(np.log(world.memoriser_loss(pairs) - world.entropy)) / np.log(10)

    np.testing.assert_allclose(slopes(10**6), exponent, atol=0.005)
    if a == 1:
        few = slopes(4096)
        assert (few > exponent).all()
        assert (np.diff(few) > 0).all()


@pytest.mark.parametrize(
    ("corpus", "length"),
    [
        ("dyck:pairs=3,kinds=2", 12),
        ("brackets:tokens=8,kinds=2", 16),
        ("hierarchy:symbols=4,rules=2,levels=2", 8),
        ("zipf-markov:words=8", 16),
        ("zipf-facts:keys=50,values=8", 8),
    ],
)
def test_a_world_loses_its_entropy_in_the_mean_over_samples(corpus: str, length: int) -> None:
    """At the places where a model is judged: in windows of whole documents and the next one's first token, from the second
    token on. The mean over 300 samples lies within four standard errors, which are small.
    """
    world = named_world(corpus)
    assert world is not None
    random, count = np.random.default_rng(0), 200
    losses = []
    for _ in range(300):
        stream = world.documents(random, count * length // world.length + 1).ravel()
        losses.append(world.loss(np.lib.stride_tricks.sliding_window_view(stream, length + 1)[::length][:count]))
    error = np.std(losses) / math.sqrt(len(losses))
    assert np.mean(losses) == pytest.approx(world.entropy, abs=4 * error + 1e-12)
    assert error < 0.003


def test_a_model_that_is_the_source_has_its_loss_on_the_held_out_tokens(tmp_path: Path) -> None:
    """The transition matrix read as a bigram model; the sample's loss is not the entropy, and the record says both."""
    data = DataConfig(corpus="zipf-markov:words=16", sequence_length=8, validation_tokens=4000, world_tokens=20_000)
    dataset, world = prepare(data, tmp_path), ZipfMarkov(words=16)
    weight = np.arange(1, 17) ** -1.2
    transition = np.zeros((16, 16))
    np.put_along_axis(transition, world.successor_VxV, np.tile(weight / weight.sum(), (16, 1)), axis=1)
    window = dataset.held_out.window_WxL1
    assert dataset.source_loss == pytest.approx(-np.log(transition[window[:, :-1], window[:, 1:]]).mean(), rel=1e-12)
    error = world.surprise(window).std() / math.sqrt(4000)
    assert 1e-4 < abs(dataset.source_loss - world.entropy) < 4 * error
    assert f"entropy {world.entropy:.6f} nats per token, {dataset.source_loss:.6f} on the held-out tokens" in dataset.report


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("dyck", "pair=3", "did you mean pairs"),
        ("dyck", "pairs=many", "is a number, not 'many'"),
        ("dyck", "pairs=0", "at least 1"),
        ("hierarchy", "symbols=2,rules=3", "at most 2 rules"),
        ("brackets", "opening=1.5", "are probabilities"),
    ],
)
def test_bad_arguments_are_named(kind: str, arguments: str, message: str) -> None:
    with pytest.raises(ScalingError, match=message):
        parse(kind, arguments)


def test_arguments_are_read() -> None:
    assert parse("dyck", "pairs=3, kinds=2") == BalancedWords(3, 2)
    assert parse("zipf-facts", "") == ZipfFacts()


def test_a_world_is_a_corpus(tmp_path: Path) -> None:
    data = DataConfig(corpus="dyck:pairs=4,kinds=2", sequence_length=16, validation_tokens=800, world_tokens=200_000)
    assert data.tokenizer.vocabulary == 4
    dataset = prepare(data, tmp_path)
    assert dataset.corpus.entropy == BalancedWords(4, 2).entropy
    assert dataset.train.tokens >= 200_001
    assert dataset.held_out.tokens == 800
    for word in Batches(dataset.train, 16, 8, seed=0).at(3)[:, :16].reshape(-1, 8):
        assert is_balanced(word, 2)
    written = dataset.tokenizer.decode(dataset.train.token_N[:8])
    assert is_balanced(dataset.tokenizer.encode(written), 2)
    assert set(written) <= set("([)]")
    assert prepare(data, tmp_path).corpus.hash == dataset.corpus.hash
    other = prepare(data.model_copy(update={"corpus": "dyck:pairs=4"}), tmp_path)
    assert other.corpus.hash != dataset.corpus.hash


def test_the_splits_of_a_world_are_different_draws(tmp_path: Path) -> None:
    dataset = prepare(DataConfig(corpus="zipf-markov", sequence_length=32, world_tokens=70_000), tmp_path)
    assert not np.array_equal(dataset.train.token_N[:65_000], dataset.validation.token_N[:65_000])
    assert dataset.held_out.bits_per_byte(1.0) is None


def test_a_sequence_begins_with_a_document(tmp_path: Path) -> None:
    data = DataConfig(corpus="dyck:pairs=5", sequence_length=64)
    with pytest.raises(ScalingError, match="multiple of that, such as 60"):
        prepare(data, tmp_path)


def test_a_world_brings_its_own_tokens() -> None:
    with pytest.raises(ScalingError, match="brings its own tokens"):
        build(DataConfig, {"corpus": "dyck", "tokenizer": {"kind": "bpe", "vocabulary": 300}})

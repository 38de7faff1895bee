"""Hidden tokens and attention to both sides, against definitions in NumPy."""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scaling.config import ModelConfig, RunConfig, build, override
from scaling.counting import count_flops
from scaling.data.prepare import prepare
from scaling.models.execution import ONE_DEVICE
from scaling.models.kernels import attend_within, splash
from scaling.models.transformer import Transformer
from scaling.specification import specify
from scaling.training.objectives import hidden_tokens
from scaling.training.optimizer import hyperparameters
from scaling.training.program import Program, make_program

LENGTH, VOCABULARY = 20, 33  # the last token is the mask
FIELDS = {
    "model": {"width": 32, "layers": 2, "heads": 2},
    "data": {"sequence_length": LENGTH},
    "training": {"tokens": 300 * 16 * LENGTH, "batch_tokens": 16 * LENGTH, "objective": "masked"},
    "optimizer": {"learning_rate": 1e-2},
}


def sequences(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, VOCABULARY - 1, (count, LENGTH + 1)).astype(np.int32)


def made(*changes: str) -> tuple[Program, RunConfig]:
    config = build(RunConfig, override(FIELDS, changes))
    program = make_program(
        config.model, VOCABULARY, LENGTH, config.execution.program, config.optimizer.structure, None, "masked"
    )
    return program, config


def model_of(parameters: object, config: RunConfig) -> Transformer:
    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(config.model, VOCABULARY, LENGTH, causal=False, rngs=nnx.Rngs(0))))
    return nnx.merge(graph, nnx.State(parameters))


def test_hidden_tokens_are_those_of_bert() -> None:
    tokens = sequences(4000)
    found = jax.tree.map(np.asarray, hidden_tokens(jnp.asarray(tokens), jax.random.key(3), VOCABULARY))
    assert found.place_BxM.shape == (4000, 3)  # 15 % of 20
    assert all(len(set(row)) == 3 for row in found.place_BxM)
    truth = tokens[:, 1:]
    np.testing.assert_array_equal(found.target_BxM, np.take_along_axis(truth, found.place_BxM, axis=1))
    untouched = np.ones(truth.shape, bool)
    np.put_along_axis(untouched, found.place_BxM, False, axis=1)
    np.testing.assert_array_equal(found.input_BxL[untouched], truth[untouched])
    shown = np.take_along_axis(found.input_BxL, found.place_BxM, axis=1)
    draws = shown.size
    # a random token is the true one once in 32
    for happened, p in ((shown == VOCABULARY - 1, 0.8), (shown == found.target_BxM, 0.1 + 0.1 / 32)):
        assert happened.mean() == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / draws))
    replaced = shown[(shown != VOCABULARY - 1) & (shown != found.target_BxM)]
    assert set(replaced) == set(range(VOCABULARY - 1))
    places = np.bincount(found.place_BxM.ravel(), minlength=LENGTH) / 4000
    assert np.abs(places - 0.15).max() < 4.5 * np.sqrt(0.15 * 0.85 / 4000)


def test_attention_to_both_sides_is_a_softmax_over_all_keys() -> None:
    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=(2, 128, 2, 16)).astype(np.float32) for _ in range(3))
    scores = 0.3 * np.einsum("blhk,bmhk->bhlm", q, k).astype(float)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    expected = np.einsum("bhlm,bmhk->blhk", weights / weights.sum(-1, keepdims=True), v)
    found = attend_within(*map(jnp.asarray, (q, k, v)), causal=False, scale=0.3, cap=None, execution=ONE_DEVICE)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    tiled = splash(*map(jnp.asarray, (q, k, v)), causal=False, scale=0.3, cap=None, interpret=True)
    np.testing.assert_allclose(tiled, expected, atol=1e-5)


@pytest.mark.parametrize("positions", ["rotary", "learned"])
def test_only_attention_to_both_sides_sees_the_future(positions: str) -> None:
    config = build(ModelConfig, {**FIELDS["model"], "positions": positions})
    tokens = jnp.asarray(sequences(1)[:, 1:])
    changed = tokens.at[0, 12].add(1)
    for causal in (True, False):
        model = Transformer(config, VOCABULARY, LENGTH, causal=causal, rngs=nnx.Rngs(0))
        moved = np.abs(np.asarray(model(tokens) - model(changed)))[0].max(axis=-1)
        assert (moved[12:] > 1e-4).all()
        assert (moved[:12] > 1e-6).all() if not causal else (moved[:12] == 0).all()


def test_the_loss_is_the_mean_over_hidden_tokens() -> None:
    program, config = made()
    hyper = hyperparameters(config)
    state, tokens = program.initialise(hyper, jnp.uint32(7)), jnp.asarray(sequences(16))
    key = jax.random.fold_in(jax.random.wrap_key_data(state.hiding), 0)
    examples = hidden_tokens(tokens, key, VOCABULARY)
    log_p = np.asarray(jax.nn.log_softmax(model_of(state.parameters, config)(examples.input_BxL)))
    losses = [
        -log_p[row, place, target]
        for row in range(16)
        for place, target in zip(examples.place_BxM[row], examples.target_BxM[row], strict=True)
    ]
    after, metrics = program.step(state, tokens, hyper)
    assert float(metrics.loss) == pytest.approx(np.mean(losses), rel=1e-5)
    again = program.step(after, tokens, hyper)[1]
    assert float(again.loss) != pytest.approx(np.mean(losses), rel=1e-3)  # other tokens are hidden in the next step


def test_the_held_out_loss_hides_each_token_alone() -> None:
    program, config = made()
    state, tokens = program.initialise(hyperparameters(config), jnp.uint32(0)), sequences(4)
    model, weights = model_of(state.parameters, config), np.array([1, 1, 0, 1], np.float32)
    total = 0.0
    for place in range(LENGTH):
        hidden = tokens[:, 1:].copy()
        hidden[:, place] = VOCABULARY - 1
        log_p = np.asarray(jax.nn.log_softmax(model(jnp.asarray(hidden))))[:, place]
        total -= (log_p[np.arange(4), tokens[:, 1 + place]] * weights).sum()
    assert float(program.evaluate(state.parameters, tokens, weights)) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("execution", ["mesh={data: 4}", "micro_batch=4", "scan_layers=true", "loss_chunk=5"])
def test_what_is_hidden_depends_on_seed_and_step_alone(execution: str) -> None:
    """Any layout trains on the same hidden tokens: the same losses, but for rounding."""
    tokens = jnp.asarray(sequences(16))

    def losses(*changes: str) -> list[float]:
        program, config = made(*changes)
        hyper = hyperparameters(config)
        state = program.initialise(hyper, jnp.uint32(0))
        found = []
        for _ in range(3):
            state, metrics = program.step(state, jax.device_put(tokens, program.batch_sharding), hyper)
            found.append(float(metrics.loss))
        return found

    np.testing.assert_allclose(losses(f"execution.{execution}"), losses(), rtol=2e-4)


PARTS = (7, 1, 9, 3)  # documents of a sequence; a mark begins each


def packed(tokens: np.ndarray) -> np.ndarray:
    """Windows whose last L tokens are documents of those lengths."""
    marked = tokens.copy()
    begins = 1 + np.cumsum([0, *PARTS[:-1]])
    marked[:, begins] = ~marked[:, begins]
    return marked


def separate_program() -> tuple[Program, RunConfig]:
    config = build(RunConfig, override(FIELDS, ["data.documents=separate"]))
    return make_program(
        config.model, VOCABULARY, LENGTH, config.execution.program, objective="masked", separate_documents=True
    ), config


def alone(model: Transformer, tokens: np.ndarray) -> np.ndarray:
    """Log-probabilities [B, L, V] of sequences whose documents are each read alone."""
    graph, state = nnx.split(model)
    read = jax.jit(lambda state, part: jax.nn.log_softmax(nnx.merge(graph, state)(part)))
    bounds = itertools.pairwise(np.cumsum([0, *PARTS]))
    return np.concatenate([read(state, tokens[:, start:stop]) for start, stop in bounds], axis=1)


def test_with_separate_documents_a_hidden_token_is_found_by_its_own_alone() -> None:
    """Loss of a step and held-out loss, against each document by itself."""
    program, config = separate_program()
    hyper = hyperparameters(config)
    state, tokens = program.initialise(hyper, jnp.uint32(3)), sequences(16)
    model = model_of(jax.device_get(state.parameters), config)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.hiding), 0)
    examples = jax.tree.map(np.asarray, hidden_tokens(jnp.asarray(tokens), key, VOCABULARY))  # the same places and fates
    each_hidden = np.repeat(tokens[:2, None, 1:], LENGTH, axis=1)
    each_hidden[:, np.arange(LENGTH), np.arange(LENGTH)] = VOCABULARY - 1
    log_p = alone(model, np.concatenate([examples.input_BxL, each_hidden.reshape(-1, LENGTH)]))
    loss = -np.take_along_axis(log_p[np.arange(16)[:, None], examples.place_BxM], examples.target_BxM[..., None], axis=2).mean()
    held_out = -log_p[16 + np.arange(2 * LENGTH), np.tile(np.arange(LENGTH), 2), tokens[:2, 1:].ravel()].sum()
    marked = packed(tokens)
    assert float(program.evaluate(state.parameters, marked[:2], np.ones(2, np.float32))) == pytest.approx(held_out, rel=1e-5)
    _, metrics = program.step(state, marked, hyper)
    assert float(metrics.loss) == pytest.approx(loss, rel=1e-5)


def test_attention_to_both_sides_within_segments_in_every_kernel() -> None:
    random = np.random.default_rng(1)
    q, k, v = (random.normal(size=(2, 128, 2, 16)).astype(np.float32) for _ in range(3))
    segment = np.cumsum(random.random((2, 128)) < 0.05, axis=1)
    scores = np.where((segment[:, :, None] == segment[:, None])[:, None], 0.3 * np.einsum("blhk,bmhk->bhlm", q, k), -np.inf)
    weights = np.exp(scores.astype(float) - scores.max(-1, keepdims=True))
    expected = np.einsum("bhlm,bmhk->blhk", weights / weights.sum(-1, keepdims=True), v)
    inputs = [*map(jnp.asarray, (q, k, v)), jnp.asarray(segment, jnp.int32)]
    np.testing.assert_allclose(
        attend_within(*inputs, causal=False, scale=0.3, cap=None, execution=ONE_DEVICE), expected, atol=1e-5
    )
    np.testing.assert_allclose(splash(*inputs, causal=False, scale=0.3, cap=None, interpret=True), expected, atol=1e-5)


def test_flops_of_hidden_tokens() -> None:
    """The head reads 3 of 20 tokens; attention computes all scores instead of half of them."""
    model = build(ModelConfig, FIELDS["model"])
    causal, masked = (count_flops(model, VOCABULARY, LENGTH, objective) for objective in ("causal", "masked"))
    head, scores = 6 * VOCABULARY * 32, 3 * 2 * 4 * LENGTH * 32
    assert masked.model == pytest.approx(causal.model - head * (1 - 3 / 20) + scores / 2)
    assert masked.six_n_total == causal.six_n_total


def test_the_objective_is_part_of_what_a_run_is(tmp_path: Path) -> None:
    """Another run, of a vocabulary with the mask; the entropy of a world bounds the loss of next tokens alone."""
    ids, facts = set(), {}
    for objective in ("causal", "masked"):
        world = ["data.corpus=zipf-markov:words=8", "data.world_tokens=100k"]
        config = build(RunConfig, override(FIELDS, [*world, f"training.objective={objective}"]))
        found = specify(config, prepare(config.data, tmp_path))
        ids.add(found.run_id)
        facts[objective] = found.facts
    assert len(ids) == 2
    assert facts["masked"]["vocabulary"] == facts["causal"]["vocabulary"] + 1 == 9
    assert facts["masked"]["entropy"] is None
    assert facts["causal"]["entropy"] > 0

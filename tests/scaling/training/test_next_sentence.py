"""Next-sentence prediction beside hidden tokens: what is minimised and recorded, against the model itself."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from trainer import FIELDS as OF_TRAINER
from trainer import Trainer

from scaling.config import ModelConfig, RunConfig, build, override
from scaling.counting import count_flops, count_parameters
from scaling.data.configuration import DataConfig
from scaling.data.prepare import prepare
from scaling.models.transformer import Transformer
from scaling.training.checkpoints import restore
from scaling.training.cross_entropy import token_losses
from scaling.training.objectives import hidden_tokens, text_places
from scaling.training.optimizer import hyperparameters
from scaling.training.program import Program, make_program

LENGTH, VOCABULARY = 20, 33  # the last three tokens are [CLS], [SEP] and the mask
SECOND = 11  # where the second segment begins: [CLS], 9 tokens, [SEP], 8 tokens, [SEP]
FIELDS = {
    "model": {"width": 32, "layers": 2, "heads": 2},
    "data": {"sequence_length": LENGTH, "documents": "pairs"},
    "training": {"tokens": 300 * 16 * LENGTH, "batch_tokens": 16 * LENGTH, "objective": "masked"},
    "optimizer": {"learning_rate": 1e-2},
}


def pairs(count: int, seed: int = 0) -> np.ndarray:
    tokens = np.random.default_rng(seed).integers(0, VOCABULARY - 3, (count, LENGTH + 1)).astype(np.int32)
    tokens[:, 0] = np.arange(count) % 2
    tokens[:, 1], tokens[:, SECOND], tokens[:, LENGTH] = VOCABULARY - 3, VOCABULARY - 2, VOCABULARY - 2
    return tokens


def made(*changes: str) -> tuple[Program, RunConfig]:
    config = build(RunConfig, override(FIELDS, changes))
    return make_program(config.model, VOCABULARY, LENGTH, config.execution.program, objective=config.objective), config


def transformer(config: ModelConfig) -> Transformer:
    return Transformer(config, VOCABULARY, LENGTH, causal=False, next_sentence=True, rngs=nnx.Rngs(0))


def model_of(parameters: object, config: RunConfig) -> Transformer:
    return nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: transformer(config.model))), nnx.State(parameters))


def test_no_special_token_is_hidden_and_none_is_shown_in_place_of_one() -> None:
    tokens = pairs(3000)
    found = jax.tree.map(np.asarray, hidden_tokens(jnp.asarray(tokens), jax.random.key(3), VOCABULARY, pairs=True))
    assert set(found.place_BxM.ravel()) == set(text_places(LENGTH, True)) == set(range(LENGTH)) - {0, SECOND - 1, LENGTH - 1}
    shown = np.take_along_axis(found.input_BxL, found.place_BxM, axis=1)
    assert set(shown.ravel()) == {*range(VOCABULARY - 3), VOCABULARY - 1}
    assert np.array_equal(found.follows_B, tokens[:, 0])


def test_segments_are_told_apart_by_their_embeddings_alone() -> None:
    """Without positions the same token has the same logits wherever it is, but for its segment."""
    config = build(ModelConfig, {**FIELDS["model"], "positions": "none"})
    model = transformer(config)
    x = np.asarray(model.hidden(jnp.full((1, LENGTH), 5))[0])[0]
    for part in (x[:SECOND], x[SECOND:]):
        np.testing.assert_allclose(part, np.broadcast_to(part[0], part.shape), atol=1e-5)
    assert np.abs(x[0] - x[-1]).max() > 1e-3


@pytest.mark.slow
def test_both_losses_are_minimised_and_recorded_apart() -> None:
    program, config = made()
    hyper, tokens = hyperparameters(config), pairs(16)
    state = program.initialise(hyper, jnp.uint32(7))
    parameters = jax.device_get(state.parameters)
    graph = nnx.graphdef(model_of(parameters, config))
    examples = hidden_tokens(
        jnp.asarray(tokens), jax.random.fold_in(jax.random.wrap_key_data(state.hiding), 0), VOCABULARY, pairs=True
    )

    @jax.jit
    def both(parameters):
        model = nnx.merge(graph, nnx.State(parameters))
        x_BxLxD = model.hidden(examples.input_BxL)[0]
        hidden = token_losses(model.logits, examples.at_places(x_BxLxD), examples.target_BxM, 3).cross_entropy.mean()
        log_p = jax.nn.log_softmax(model.next_sentence(x_BxLxD))
        return hidden, -log_p[jnp.arange(16), tokens[:, 0]].mean()

    hidden, _ = both(parameters)
    gradient = jax.grad(lambda parameters: sum(both(parameters)))(parameters)
    norm = np.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(gradient)))
    _, summed, right = np.asarray(program.evaluate(state.parameters, tokens, np.ones(16, np.float32)))
    model = model_of(parameters, config)
    log_p = np.asarray(jax.nn.log_softmax(model.next_sentence(model.hidden(jnp.asarray(tokens[:, 1:]))[0])))
    assert summed == pytest.approx(-log_p[np.arange(16), tokens[:, 0]].sum(), rel=1e-5)
    assert right == (log_p.argmax(axis=1) == tokens[:, 0]).sum()
    state, metrics = program.step(state, tokens, hyper)
    assert float(metrics.loss) == pytest.approx(float(hidden), rel=1e-5)
    assert float(metrics.gradient_norm) == pytest.approx(norm, rel=1e-4)
    for _ in range(150):
        state, _ = program.step(state, tokens, hyper)
    _, learnt, right = np.asarray(program.evaluate(state.parameters, tokens, np.ones(16, np.float32)))
    assert learnt < summed / 10
    assert right == 16


@pytest.mark.slow
def test_a_mesh_trains_on_the_same_pairs() -> None:
    def trained(*changes: str) -> tuple[list[float], np.ndarray]:
        program, config = made(*changes)
        hyper, tokens = hyperparameters(config), jax.device_put(pairs(16), program.batch_sharding)
        state, losses = program.initialise(hyper, jnp.uint32(0)), []
        for _ in range(2):
            state, metrics = program.step(state, tokens, hyper)
            losses.append(float(metrics.loss))
        return losses, np.asarray(program.evaluate(state.parameters, tokens, jnp.ones(16)))

    for one, other in zip(trained("execution.mesh={data: 2, fsdp: 2}"), trained(), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_it_adds_is_counted(family: str) -> None:
    """Two segments, a square matrix and two columns, used once in a sequence."""
    model = build(ModelConfig, {**FIELDS["model"], "family": family})
    held = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(nnx.eval_shape(lambda: transformer(model)), nnx.Param)))
    with_pairs, without = (count_parameters(model, VOCABULARY, LENGTH, each) for each in ("next_sentence", "masked"))
    assert with_pairs.total == held == without.total + 2 * 32 + 32 * 32 + 2 * 32
    assert with_pairs.non_embedding == without.non_embedding
    flops = [count_flops(model, VOCABULARY, LENGTH, each).model for each in ("next_sentence", "masked")]
    assert flops[0] - flops[1] == pytest.approx(6 * 32 * 34 / LENGTH)


def test_a_run_records_loss_and_accuracy(tmp_path: Path) -> None:
    """Those of its last state, over all held-out pairs."""
    texts = "".join(
        json.dumps({"text": " ".join(map(str, range(97 * number, 97 * number + 40)))}) + "\n" for number in range(200)
    )
    (tmp_path / "texts.jsonl").write_text(texts)
    changes = (f"data.corpus=files:{tmp_path}/texts.jsonl", "data.documents=pairs", "training.objective=masked")
    dataset = prepare(
        build(DataConfig, {"corpus": f"files:{tmp_path}/texts.jsonl", "documents": "pairs", **OF_TRAINER["data"]}), tmp_path
    )
    train = Trainer(tmp_path / "run", dataset)
    train(*changes)
    rows = train.directory.rows()
    assert all((row["next_sentence_loss"] is None) == (row["loss"] is None) for row in rows)
    specification = train.specify(*changes)
    assert specification.identity["data"]["documents"] == "pairs"
    assert specification.facts["vocabulary"] == 256 + 3
    config, windows = specification.config, dataset.held_out.window_WxL1
    program = make_program(config.model, 259, 16, config.execution.program, objective="next_sentence")
    restored, _ = restore(tmp_path / "run" / "checkpoints", program.abstract_state)
    loss, next_sentence, right = np.asarray(program.evaluate(restored.state.parameters, windows, np.ones(len(windows))))
    assert rows[-1]["loss"] == pytest.approx(loss / dataset.held_out.tokens, rel=1e-5)
    assert rows[-1]["next_sentence_loss"] == pytest.approx(next_sentence / len(windows), rel=1e-5)
    assert rows[-1]["next_sentence_accuracy"] == right / len(windows)

"""Optimizers against optax's own and against the papers' algorithms in NumPy; multipliers; schedules."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from scaling.config import RunConfig, build, override
from scaling.errors import ScalingError
from scaling.models.parametrization import KINDS, MuP, Standard
from scaling.training.mesh import match_rules
from scaling.training.optimizer import DECAYED, hyperparameters, learning_rate, make_optimizer

FIELDS = {
    "model": {"width": 32, "layers": 1, "heads": 2},
    "training": {"tokens": 100 * 256, "batch_tokens": 256},
    "optimizer": {"learning_rate": 1e-2, "weight_decay": 0.0, "gradient_clip": 1e6},
    "schedule": {"kind": "constant"},
}
STEPS = 4


def _config(*assignments):
    return build(RunConfig, override(FIELDS, assignments))


@pytest.fixture(scope="module")
def tree():
    """Parameters of every kind, of uneven shapes."""
    rng = np.random.default_rng(0)
    shapes = {
        "embedding": {"embedding": (24, 6)},
        "head": {"kernel": (6, 24)},
        "norm": {"scale": (6,)},
        "blocks": [
            {
                "attention": {"query": {"kernel": (6, 8), "bias": (8,)}},
                "mlp": {"router": {"kernel": (6, 3)}, "experts": {"up": {"kernel": (3, 6, 10)}}},
            }
        ],
    }
    return jax.tree.map(lambda shape: rng.normal(size=shape).astype(np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple))


def _gradients(tree, step):
    rng = np.random.default_rng(step + 1)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), tree)


def _ours(config, tree, rules=None):
    """The parameters after each step."""
    hyper, structure = hyperparameters(config), config.optimizer.structure
    rules = rules or Standard().rules(32, 1, 16)
    return _run(lambda step: make_optimizer(structure, rules, hyper, step), tree)


def _optax(optimizer, tree):
    return _run(lambda step: optimizer, tree)


def _run(make, tree):
    @jax.jit
    def update(step, gradients, state, parameters):
        updates, state = make(step).update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    state, parameters, after = make(jnp.int32(0)).init(tree), tree, []
    for step in range(STEPS):
        parameters, state = update(jnp.int32(step), _gradients(tree, step), state, parameters)
        after.append(parameters)
    return after


def _mask(kinds):
    return lambda tree: jax.tree.map(lambda kind: kind in kinds, match_rules(KINDS, tree))


def _assert_same(ours, theirs, **tolerance):
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, **(tolerance or {"rtol": 1e-5, "atol": 1e-6}))


def test_adamw_is_optax_adamw_with_decay_of_the_matrices(tree):
    config = _config("optimizer.weight_decay=0.3", "optimizer.epsilon=1e-3", "optimizer.beta2=0.9")
    theirs = optax.adamw(1e-2, 0.9, 0.9, 1e-3, weight_decay=0.3, mask=_mask(DECAYED))
    _assert_same(_ours(config, tree), _optax(theirs, tree))


def test_lion_is_optax_lion(tree):
    config = _config("optimizer.name=lion", "optimizer.weight_decay=0.3")
    _assert_same(_ours(config, tree), _optax(optax.lion(1e-2, 0.9, 0.99, weight_decay=0.3, mask=_mask(DECAYED)), tree))


def test_adafactor_is_optax_adafactor_without_relative_steps(tree):
    theirs = optax.adafactor(1e-2, min_dim_size_to_factor=1, multiply_by_parameter_scale=False)
    _assert_same(_ours(_config("optimizer.name=adafactor"), tree), _optax(theirs, tree))


def test_muon_is_optax_muon_on_matrices_and_adamw_on_the_rest(tree):
    """optax's muon has Nesterov's Adam for the rest, which is not AdamW: that part is held against optax's adamw."""
    config = _config("optimizer.name=muon", "optimizer.weight_decay=0.3", "optimizer.momentum=0.9")

    def dimensions(tree):
        spec = optax.contrib.MuonDimensionNumbers(-2, -1)
        return jax.tree.map(lambda kind: spec if kind == "hidden" else None, match_rules(KINDS, tree))

    muon = optax.contrib.muon(1e-2, beta=0.9, weight_decay=0.3, consistent_rms=0.2, muon_weight_dimension_numbers=dimensions)
    adamw = optax.adamw(1e-2, 0.9, 0.95, weight_decay=0.3, mask=_mask(DECAYED))
    kinds = jax.tree.leaves(match_rules(KINDS, tree))
    for ours, matrices, rest in zip(_ours(config, tree), _optax(muon, tree), _optax(adamw, tree), strict=True):
        for kind, one, matrix, other in zip(kinds, *map(jax.tree.leaves, (ours, matrices, rest)), strict=True):
            np.testing.assert_allclose(one, matrix if kind == "hidden" else other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["adamw", "lion", "adafactor", "muon"])
def test_one_matrix_follows_the_papers_algorithm(name):
    """The four algorithms once more, in NumPy in double precision, on one matrix of a block."""
    config = _config(f"optimizer.name={name}", "optimizer.weight_decay=0.3")
    rng = np.random.default_rng(5)
    tree = {"blocks": [{"mlp": {"up": {"kernel": rng.normal(size=(5, 9)).astype(np.float32)}}}]}
    w = tree["blocks"][0]["mlp"]["up"]["kernel"].astype(float)
    m, v = np.zeros_like(w), np.zeros_like(w)
    row, column = np.zeros(5), np.zeros(9)
    expected = []
    for t in range(1, STEPS + 1):
        g = _gradients(tree, t - 1)["blocks"][0]["mlp"]["up"]["kernel"].astype(float)
        if name == "adamw":
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g**2
            direction = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.95**t)) + 1e-8)
        elif name == "lion":
            direction = np.sign(0.9 * m + 0.1 * g)
            m = 0.99 * m + 0.01 * g
        elif name == "adafactor":
            beta = 1 - t**-0.8
            row = beta * row + (1 - beta) * (g**2 + 1e-30).sum(axis=1)
            column = beta * column + (1 - beta) * (g**2 + 1e-30).sum(axis=0)
            direction = g / np.sqrt(np.outer(row, column) / row.sum())
            direction /= max(1.0, np.sqrt((direction**2).mean()))
        else:
            m = 0.95 * m + 0.05 * g
            m_hat, g_hat = m / (1 - 0.95 ** (t + 1)), g / (1 - 0.95**t)  # Nesterov's look ahead, with optax's debiasing
            x = 0.95 * m_hat + 0.05 * g_hat
            x /= np.linalg.norm(x)
            for _ in range(5):
                a = x @ x.T
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            direction = 0.2 * np.sqrt(9) * x
        w = w - 1e-2 * (direction + 0.3 * w)
        expected.append(w)
    ours = [each["blocks"][0]["mlp"]["up"]["kernel"] for each in _ours(config, tree)]
    np.testing.assert_allclose(ours, expected, rtol=2e-4, atol=2e-5)


def test_multipliers_of_a_pattern_are_a_rate_and_a_decay_of_their_own(tree):
    """A parameter with its multipliers moves as if the whole run had had that rate and that decay."""
    decays = '{"norm/.*": 2, "blocks/.*/query/kernel": 0}'
    config = _config(
        "optimizer.weight_decay=0.1",
        "optimizer.learning_rate_multipliers={embedding/.*: 3}",
        f"optimizer.weight_decay_multipliers={decays}",
    )
    ours = _ours(config, tree)[-1]
    plain = _ours(_config("optimizer.weight_decay=0.1"), tree)[-1]
    no_decay = _ours(_config(), tree)[-1]
    faster = _ours(_config("optimizer.learning_rate=3e-2"), tree)[-1]
    everywhere = _ours(_config("optimizer.weight_decay=0.2", 'optimizer.weight_decay_multipliers={".*": 1}'), tree)[-1]
    _assert_same(ours["embedding"], faster["embedding"], rtol=1e-6, atol=1e-7)  # of numbers near 1
    _assert_same(ours["norm"], everywhere["norm"], rtol=1e-6, atol=1e-7)  # of numbers near 1
    _assert_same(ours["blocks"][0]["attention"], no_decay["blocks"][0]["attention"], rtol=1e-6, atol=1e-7)  # of numbers near 1
    _assert_same(ours["head"], plain["head"], rtol=1e-6, atol=1e-7)  # of numbers near 1
    assert not np.allclose(ours["head"]["kernel"], no_decay["head"]["kernel"])


@pytest.mark.parametrize(
    ("multipliers", "message"),
    [
        (
            "learning_rate_multipliers={embeding/.*: 3}",
            "learning_rate_multipliers: 'embeding/.*' matches the whole path of no parameter; near: embedding/embedding",
        ),
        (
            "weight_decay_multipliers={head/.*: 3, .*/kernel: 1}",
            "optimizer.weight_decay_multipliers: both 'head/.*' and '.*/kernel' match the parameter head/kernel",
        ),
    ],
)
def test_a_pattern_that_covers_nothing_or_twice_is_one_clear_line(tree, multipliers, message):
    with pytest.raises(ScalingError, match=re.escape(message)) as raised:
        _ours(_config(f"optimizer.{multipliers}"), tree)
    assert "\n" not in str(raised.value)


def test_a_parameter_of_no_kind_is_an_error_that_names_it():
    with pytest.raises(ScalingError, match="0 rules match the parameter memory/kernel"):
        _ours(_config(), {"memory": {"kernel": np.zeros((2, 2), np.float32)}})


def test_the_parametrization_scales_the_update_and_epsilon_and_keeps_rate_times_decay(tree):
    """Table 8 of Yang et al. with AdamW, worked out by hand for a hidden matrix at four times the base width."""
    config = _config("optimizer.weight_decay=0.3", "optimizer.epsilon=0.5")
    ours = _ours(config, tree, MuP(name="mup", base_width=8).rules(32, 1, 16))[0]
    g, w = _gradients(tree, 0)["blocks"][0]["attention"]["query"]["kernel"], tree["blocks"][0]["attention"]["query"]["kernel"]
    expected = w - 1e-2 / 4 * (g / (np.abs(g) + 0.5 / 4) + 4 * 0.3 * w)  # Adam's first direction is g / (|g| + epsilon)
    np.testing.assert_allclose(ours["blocks"][0]["attention"]["query"]["kernel"], expected, rtol=1e-5)
    g, w = _gradients(tree, 0)["head"]["kernel"], tree["head"]["kernel"]
    np.testing.assert_allclose(ours["head"]["kernel"], w - 1e-2 * (g / (np.abs(g) + 0.5 / 4) + 0.3 * w), rtol=1e-5)


@pytest.mark.parametrize("kind", ["cosine", "linear", "constant", "wsd"])
def test_schedules_are_those_of_optax(kind):
    """100 steps in 256 tokens each; warmup 20 steps, decay over the last 25."""
    config = _config(f"schedule.kind={kind}", f"schedule.warmup_tokens={20 * 256}", "schedule.decay_fraction=0.25")
    rest = {
        "cosine": optax.cosine_decay_schedule(1e-2, 80, alpha=0.1),
        "linear": optax.linear_schedule(1e-2, 1e-3, 80),
        "constant": optax.constant_schedule(1e-2),
        "wsd": optax.linear_schedule(1e-2, 1e-3, 25, transition_begin=55),
    }[kind]
    theirs = optax.join_schedules([optax.linear_schedule(0.0, 1e-2, 20), rest], [20])
    hyper = hyperparameters(config)
    rates = [float(learning_rate(hyper, jnp.int32(step))) for step in range(100)]
    np.testing.assert_allclose(rates, [float(theirs(step)) for step in range(1, 101)], rtol=1e-5)


def test_the_1_sqrt_decay_is_the_papers_formula():
    """f(n, N, N_decay) = 1 - sqrt((n - (N - N_decay)) / N_decay) (Haegele et al. 2024), here to zero."""
    config = _config("schedule={kind: wsd, decay_shape: 1-sqrt, decay_fraction: 0.4, final_fraction: 0}")
    hyper = hyperparameters(config)
    rates = [float(learning_rate(hyper, jnp.int32(step))) for step in range(100)]
    expected = [1e-2 * (1 - np.sqrt(max(0, n - 60) / 40)) for n in range(1, 101)]
    np.testing.assert_allclose(rates, expected, rtol=1e-5, atol=1e-8)


def test_schedules_go_with_tokens_and_not_with_steps():
    """Twice the batch: half the steps, and the same rate at the same number of tokens."""
    for kind in ("cosine", "linear", "wsd"):
        assignments = (f"schedule.kind={kind}", f"schedule.warmup_tokens={20 * 256}")
        small, large = (hyperparameters(_config(*assignments, f"training.batch_tokens={batch}")) for batch in (256, 512))
        for step in range(50):
            at = float(learning_rate(large, jnp.int32(step)))
            assert at == pytest.approx(float(learning_rate(small, jnp.int32(2 * step + 1))), rel=1e-5)

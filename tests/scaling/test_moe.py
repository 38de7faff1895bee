"""The mixture of experts against a loop over tokens and experts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from scaling.config import ModelConfig, build
from scaling.errors import ScalingError
from scaling.models.mlp import activation
from scaling.models.moe import MixtureOfExperts, balance, load, route


def _mixture(**fields):
    config = build(ModelConfig, {"width": 16, "layers": 1, "heads": 2, "experts": 4, **fields})
    return config, MixtureOfExperts(config, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("chosen", [1, 2, 4])
@pytest.mark.parametrize("mlp", ["swiglu", "squared_relu"])
def test_it_is_the_gated_sum_of_the_chosen_experts(mlp, chosen):
    config, mixture = _mixture(mlp=mlp, experts_per_token=chosen)
    x = np.random.default_rng(0).normal(size=(2, 9, 16)).astype(np.float32)
    kernel = {name: np.asarray(leaf["kernel"]) for name, leaf in nnx.to_pure_dict(nnx.state(mixture.experts)).items()}
    f = activation(config)
    expected = np.zeros_like(x)
    for place in np.ndindex(2, 9):
        p = np.asarray(jax.nn.softmax(x[place] @ np.asarray(mixture.router.kernel[...])))
        best = np.argsort(-p)[:chosen]
        gates = p[best] if chosen == 1 else p[best] / p[best].sum()
        for gate, expert in zip(gates, best, strict=True):
            up = x[place] @ kernel["up"][expert]
            hidden = f(x[place] @ kernel["gate"][expert]) * up if mlp == "swiglu" else f(up)
            expected[place] += gate * (np.asarray(hidden) @ kernel["down"][expert])
    np.testing.assert_allclose(mixture(jnp.asarray(x))[0], expected, atol=1e-5)


def test_the_load_balancing_term_is_one_where_the_load_is_equal_and_the_number_of_experts_where_one_has_it_all():
    equal = jnp.full((8, 4), 0.25)
    assert float(balance(load(equal, jnp.arange(8)[:, None] % 4))) == pytest.approx(1.0)
    one = jnp.zeros((8, 4)).at[:, 2].set(1.0)
    assert float(balance(load(one, route(one, 1)[1]))) == pytest.approx(4.0)


def test_the_router_learns_from_the_loss_and_from_the_balance():
    for chosen in (1, 2):
        _, mixture = _mixture(experts_per_token=chosen)
        x = jax.random.normal(jax.random.key(0), (2, 9, 16))
        for term in (0, 1):

            def squares(module, x=x, term=term):
                added, of_experts = module(x)
                return jnp.square((added, balance(of_experts))[term]).sum()

            gradient = nnx.grad(squares)(mixture)
            assert float(jnp.abs(gradient["router"]["kernel"][...]).max()) > 1e-4


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"experts_per_token": 5}, "experts_per_token 5 is more than experts 4"),
        ({"biases": True}, "experts 4 have no biases"),
        ({"experts": 1, "balance_loss": 0.01}, r"balance_loss 0\.01 needs more than one expert"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(fields, message):
    with pytest.raises(ScalingError, match=message):
        _mixture(**fields)

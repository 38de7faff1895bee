"""The MLP of a block: two matrices, or three where the first is gated.

Shape suffixes: B batch, L sequence, D model width, F MLP width.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig
from scaling.models.execution import ONE_DEVICE, Execution
from scaling.models.layers import linear
from scaling.models.shapes import GATED

Array = jax.Array


def activation(config: ModelConfig) -> Callable[[Array], Array]:
    """The nonlinearity: silu or GELU (its tanh form, Hendrycks & Gimpel 2016, arXiv 1606.08415) or relu(x)^2.

    The square of a ReLU is from So et al. 2021, arXiv 2109.08668, section 3.
    """
    table: dict[str, Callable[[Array], Array]] = {
        "swiglu": nnx.silu,
        "geglu": nnx.gelu,
        "gelu": nnx.gelu,
        "squared_relu": lambda x: jnp.square(nnx.relu(x)),
    }
    return table[config.mlp]


class MLP(nnx.Module):
    """f(x W_up) W_down, or (f(x W_gate) * x W_up) W_down (Shazeer 2020, arXiv 2002.05202, equations 5 and 6)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.activation = activation(config)
        if config.mlp in GATED:
            self.gate = linear(config, config.width, config.mlp_width, rngs)
        self.up = linear(config, config.width, config.mlp_width, rngs)
        self.down = linear(config, config.mlp_width, config.width, rngs, residual=True)

    def __call__(self, x_BxLxD: Array, execution: Execution = ONE_DEVICE) -> tuple[Array, None]:
        """What the MLP adds to the residual stream, same shape; None: there is no load to balance."""
        up_BxLxF = self.up(x_BxLxD)
        gated = hasattr(self, "gate")
        hidden_BxLxF = self.activation(self.gate(x_BxLxD)) * up_BxLxF if gated else self.activation(up_BxLxF)
        return self.down(hidden_BxLxF), None

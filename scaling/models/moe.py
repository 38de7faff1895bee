"""A mixture of experts in place of the MLP: each token is sent to the few experts that a router chooses for it.

No token is dropped: what an expert computes of a token does not depend on the other tokens, so that a model samples as it
was trained. Shape suffixes: B batch, L sequence, T tokens (B x L), S sent tokens (T x experts per token), E experts,
C chosen experts of a token, I and O inputs and outputs of a matrix, D model width.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig
from scaling.models.layers import initial_scale, normal
from scaling.models.mlp import activation
from scaling.models.shapes import GATED

Array = jax.Array


class MixtureOfExperts(nnx.Module):
    """sum_i gate_i(x) MLP_i(x) over the chosen experts (Shazeer et al. 2017, arXiv 1701.06538, equation 1)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        scale = config.rules.router_scale
        self.router = nnx.Linear(config.width, config.experts, use_bias=False, kernel_init=normal(scale), rngs=rngs)
        self.experts = Experts(config, rngs=rngs)

    def __call__(self, x_BxLxD: Array) -> tuple[Array, Array]:
        """What the experts add to the residual stream, same shape, and the load-balancing term of `balance`."""
        x_TxD = x_BxLxD.reshape(-1, x_BxLxD.shape[-1])
        p_TxE = jax.nn.softmax(self.router(x_TxD.astype(jnp.float32)), axis=-1)
        gate_TxC, chosen_TxC = route(p_TxE, self.config.experts_per_token)
        added_TxD = self.experts(x_TxD, gate_TxC.astype(x_TxD.dtype), chosen_TxC)
        return added_TxD.reshape(x_BxLxD.shape), balance(p_TxE, chosen_TxC)


class Experts(nnx.Module):
    """MLPs of one shape, each on the tokens that are sent to it."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.activation = activation(config)
        if config.mlp in GATED:
            self.gate = Stack(config, config.width, config.mlp_width, rngs=rngs)
        self.up = Stack(config, config.width, config.mlp_width, rngs=rngs)
        self.down = Stack(config, config.mlp_width, config.width, residual=True, rngs=rngs)

    def __call__(self, x_TxD: Array, gate_TxC: Array, chosen_TxC: Array) -> Array:
        """The sum over each token's chosen experts, weighted by its gates; [T, D]."""
        chosen_S = chosen_TxC.reshape(-1)
        order_S = jnp.argsort(chosen_S, stable=True)
        token_S = order_S // chosen_TxC.shape[1]
        sent_E = jnp.bincount(chosen_S, length=self.up.kernel.shape[0])
        x_SxD = x_TxD[token_S]
        up_SxF = self.up(x_SxD, sent_E)
        hidden_SxF = self.activation(self.gate(x_SxD, sent_E)) * up_SxF if hasattr(self, "gate") else self.activation(up_SxF)
        out_SxD = self.down(hidden_SxF, sent_E) * gate_TxC.reshape(-1)[order_S][:, None]
        return jnp.zeros_like(x_TxD).at[token_S].add(out_SxD)


class Stack(nnx.Module):
    """One matrix for each expert."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, *, residual: bool = False, rngs: nnx.Rngs):
        scale = initial_scale(config, inputs, residual=residual)
        self.kernel = nnx.Param(normal(scale)(rngs.params(), (config.experts, inputs, outputs), jnp.float32))
        self.dtype = jnp.dtype(config.dtype)

    def __call__(self, x_SxI: Array, sent_E: Array) -> Array:
        """The product of each row, sorted by expert, with its expert's matrix; [S, O]."""
        return jax.lax.ragged_dot(x_SxI, self.kernel[...].astype(self.dtype), sent_E)


def route(p_TxE: Array, chosen: int) -> tuple[Array, Array]:
    """Gates and indices [T, C] of the `chosen` most probable experts.

    One expert's gate is its probability (Fedus et al. 2022, arXiv 2101.03961, equation 2), which is what the router learns
    from; several gates are normalised to a sum of 1 (Lepikhin et al. 2020, arXiv 2006.16668, algorithm 1).
    """
    gate_TxC, chosen_TxC = jax.lax.top_k(p_TxE, chosen)
    return gate_TxC if chosen == 1 else gate_TxC / gate_TxC.sum(axis=-1, keepdims=True), chosen_TxC


def balance(p_TxE: Array, chosen_TxC: Array) -> Array:
    """E sum_i f_i P_i, f_i the part of the choices that fell on expert i, P_i its mean probability; 1 where all are equal.

    Fedus et al. 2022, arXiv 2101.03961, equations 4 to 6, over the whole batch.
    """
    experts = p_TxE.shape[1]
    f_E = jnp.bincount(chosen_TxC.reshape(-1), length=experts) / chosen_TxC.size
    return experts * (f_E * p_TxE.mean(axis=0)).sum()

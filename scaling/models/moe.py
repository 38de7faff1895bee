"""A mixture of experts in place of the MLP: each token is sent to the few experts that a router chooses for it.

No token is dropped: what an expert computes of a token does not depend on the other tokens, so that a model samples as it
was trained. Shape suffixes: B batch, L sequence, T tokens (B x L), S sent tokens (T x experts per token), E experts,
C chosen experts of a token, I and O inputs and outputs of a matrix, D model width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from scaling.config import ModelConfig
from scaling.models.execution import ONE_DEVICE, Execution
from scaling.models.layers import initial_scale, normal
from scaling.models.mlp import activation
from scaling.models.shapes import GATED

Array = jax.Array


class Load(NamedTuple):
    """How the tokens of a batch fell on the experts; of one layer, or of all with a leading dimension."""

    chosen_E: Array
    """The part of the choices that fell on each expert."""
    probability_E: Array
    """The mean probability of each expert, which the router learns from."""


class MixtureOfExperts(nnx.Module):
    """sum_i gate_i(x) MLP_i(x) over the chosen experts (Shazeer et al. 2017, arXiv 1701.06538, equation 1)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.config = config
        scale = config.rules.router_scale
        self.router = nnx.Linear(config.width, config.experts, use_bias=False, kernel_init=normal(scale), rngs=rngs)
        self.experts = Experts(config, rngs=rngs)

    def __call__(self, x_BxLxD: Array, execution: Execution = ONE_DEVICE) -> tuple[Array, Load]:
        """What the experts add to the residual stream, same shape, and their load."""
        x_TxD = x_BxLxD.reshape(-1, x_BxLxD.shape[-1])
        p_TxE = jax.nn.softmax(self.router(x_TxD.astype(jnp.float32)), axis=-1)
        gate_TxC, chosen_TxC = route(p_TxE, self.config.experts_per_token)
        added_TxD = self.experts(x_TxD, gate_TxC.astype(x_TxD.dtype), chosen_TxC, execution)
        return added_TxD.reshape(x_BxLxD.shape), load(p_TxE, chosen_TxC)


class Experts(nnx.Module):
    """MLPs of one shape, each on the tokens that are sent to it."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        self.activation = activation(config)
        if config.mlp in GATED:
            self.gate = Stack(config, config.width, config.mlp_width, rngs=rngs)
        self.up = Stack(config, config.width, config.mlp_width, rngs=rngs)
        self.down = Stack(config, config.mlp_width, config.width, residual=True, rngs=rngs)

    def __call__(self, x_TxD: Array, gate_TxC: Array, chosen_TxC: Array, execution: Execution = ONE_DEVICE) -> Array:
        """The sum over each token's chosen experts, weighted by its gates; [T, D].

        On a mesh, the devices that share a set of tokens along `expert` gather them all, each computes what its own experts
        (and its part of their width, along `tensor`) add to them, and the sum goes back to where the tokens are.
        """
        kernels = {name: getattr(self, name).kernel[...] for name in ("gate", "up", "down") if hasattr(self, name)}
        tokens = PartitionSpec(execution.batch_axes)
        columns, rows = PartitionSpec("expert", None, "tensor"), PartitionSpec("expert", "tensor", None)
        kernel_specs = {name: rows if name == "down" else columns for name in kernels}
        on_each = execution.each_device(
            self._of_own_experts if execution.mesh is None else self._exchanged, (tokens, tokens, tokens, kernel_specs), tokens
        )
        return on_each(x_TxD, gate_TxC, chosen_TxC, kernels)

    def _exchanged(self, x_TxD: Array, gate_TxC: Array, chosen_TxC: Array, kernels: dict[str, Array]) -> Array:
        x_TxD, gate_TxC, chosen_TxC = (jax.lax.all_gather(each, "expert", tiled=True) for each in (x_TxD, gate_TxC, chosen_TxC))
        first = jax.lax.axis_index("expert") * len(kernels["up"])
        added_TxD = jax.lax.psum(self._of_own_experts(x_TxD, gate_TxC, chosen_TxC, kernels, first), "tensor")
        return jax.lax.psum_scatter(added_TxD, "expert", tiled=True)

    def _of_own_experts(
        self, x_TxD: Array, gate_TxC: Array, chosen_TxC: Array, kernels: dict[str, Array], first: int | Array = 0
    ) -> Array:
        """What the experts from `first` on, as many as there are kernels, add to the tokens."""
        experts, dtype = len(kernels["up"]), self.up.dtype
        own_S = chosen_TxC.reshape(-1) - first
        own_S = jnp.where((own_S >= 0) & (own_S < experts), own_S, experts)  # what other experts compute comes last
        order_S = jnp.argsort(own_S, stable=True)
        token_S = order_S // chosen_TxC.shape[1]
        sent_E = jnp.bincount(own_S, length=experts + 1)[:experts]

        def product(x_SxI: Array, name: str) -> Array:
            return jax.lax.ragged_dot(x_SxI, kernels[name].astype(dtype), sent_E)

        x_SxD = x_TxD[token_S]
        up_SxF = product(x_SxD, "up")
        hidden_SxF = self.activation(product(x_SxD, "gate")) * up_SxF if "gate" in kernels else self.activation(up_SxF)
        weight_S = jnp.where(own_S < experts, gate_TxC.reshape(-1), 0)[order_S]
        out_SxD = product(hidden_SxF, "down") * weight_S[:, None]
        return jnp.zeros_like(x_TxD).at[token_S].add(out_SxD)


class Stack(nnx.Module):
    """One matrix for each expert."""

    def __init__(self, config: ModelConfig, inputs: int, outputs: int, *, residual: bool = False, rngs: nnx.Rngs):
        scale = initial_scale(config, inputs, residual=residual)
        self.kernel = nnx.Param(normal(scale)(rngs.params(), (config.experts, inputs, outputs), jnp.float32))
        self.dtype = jnp.dtype(config.dtype)


def route(p_TxE: Array, chosen: int) -> tuple[Array, Array]:
    """Gates and indices [T, C] of the `chosen` most probable experts.

    One expert's gate is its probability (Fedus et al. 2022, arXiv 2101.03961, equation 2), which is what the router learns
    from; several gates are normalised to a sum of 1 (Lepikhin et al. 2020, arXiv 2006.16668, algorithm 1).
    """
    gate_TxC, chosen_TxC = jax.lax.top_k(p_TxE, chosen)
    return gate_TxC if chosen == 1 else gate_TxC / gate_TxC.sum(axis=-1, keepdims=True), chosen_TxC


def load(p_TxE: Array, chosen_TxC: Array) -> Load:
    """The load of one layer."""
    chosen_E = jnp.bincount(chosen_TxC.reshape(-1), length=p_TxE.shape[1]) / chosen_TxC.size
    return Load(chosen_E, p_TxE.mean(axis=0))


def balance(load: Load) -> Array:
    """E sum_i f_i P_i, f_i the part of the choices that fell on expert i, P_i its mean probability; 1 where all are equal.

    Fedus et al. 2022, arXiv 2101.03961, equations 4 to 6; the mean over layers, where there are several.
    """
    return load.chosen_E.shape[-1] * (load.chosen_E * load.probability_E).sum(axis=-1).mean()

"""What every part of a block is made of: linear maps and norms, with their initial scales."""

import math
from typing import Any

import jax.numpy as jnp
from flax import nnx

from scaling.config import ModelConfig


def linear(config: ModelConfig, inputs: int, outputs: int, rngs: nnx.Rngs, *, residual: bool = False) -> nnx.Linear:
    """A linear map; `residual` where it ends a branch of a block."""
    kernel_init = normal(initial_scale(config, inputs, residual=residual))
    dtype = jnp.dtype(config.dtype)
    return nnx.Linear(inputs, outputs, use_bias=config.biases, kernel_init=kernel_init, dtype=dtype, rngs=rngs)


def initial_scale(config: ModelConfig, inputs: int, *, residual: bool) -> float:
    """Standard deviation of a hidden matrix: fan-in^-1/2, and smaller where it ends a branch, as the parametrization says."""
    return inputs**-0.5 / (math.sqrt(2 * config.rules.residual_layers) if residual else 1.0)


def norm(config: ModelConfig, width: int, rngs: nnx.Rngs) -> nnx.RMSNorm | nnx.LayerNorm:
    """RMSNorm (Zhang & Sennrich 2019, arXiv 1910.07467) or LayerNorm (Ba et al. 2016, arXiv 1607.06450)."""
    kind = nnx.RMSNorm if config.norm == "rmsnorm" else nnx.LayerNorm
    return kind(width, epsilon=config.norm_epsilon, dtype=jnp.dtype(config.dtype), rngs=rngs)


def normal(scale: float) -> Any:
    """An initializer: independent normal numbers of standard deviation `scale`."""
    return nnx.initializers.normal(scale)

"""The compiled functions of one model shape: initialise, step, evaluate. Every run of a rung shares them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config import MeshConfig, ModelConfig, SpikeConfig
from scaling.models.transformer import Transformer
from scaling.training.mesh import BATCH, check_divisible, make_mesh, parameter_shardings
from scaling.training.optimizer import Hyperparameters, learning_rate, make_optimizer
from scaling.training.spikes import no_spikes, skip_spike

Array = jax.Array


class State(NamedTuple):
    """All that training carries from one step to the next."""

    parameters: Any
    optimizer: Any
    step: Any
    """Updates done (int32 scalar); with the seed also the position in the data."""
    spikes: Any = None
    """`spikes.Spikes` where loss spikes are skipped."""


class Metrics(NamedTuple):
    """What a step reports, float32 scalars on the device."""

    loss: Array
    gradient_norm: Array
    learning_rate: Array
    skipped_updates: Array
    """So far, this step's included (int32)."""


@dataclass(frozen=True)
class Program:
    """Compiled functions and where their data lives."""

    mesh: Mesh
    initialise: Callable[[Hyperparameters, Array], State]
    """(hyperparameters, seed) -> the state before the first step."""
    step: Callable[[State, Array, Hyperparameters], tuple[State, Metrics]]
    """(state, tokens int32 [B, L + 1], hyperparameters) -> the next state; the old one is donated."""
    evaluate: Callable[[Any, Any, Any], Array]
    """(parameters, tokens int32 [B, L + 1], weights float32 [B]) -> summed cross entropy in nats over the weighted rows."""
    abstract_state: State
    """Shapes, types and shardings of the state, to restore a checkpoint into."""
    batch_sharding: NamedSharding


@functools.cache
def make_program(
    model: ModelConfig,
    vocabulary: int,
    sequence_length: int,
    mesh_config: MeshConfig,
    skip_spikes: SpikeConfig | None = None,
) -> Program:
    """The program of a model shape on a mesh; made once in a process, compiled at its first call."""
    check_divisible(mesh_config, model, vocabulary)
    mesh = make_mesh(mesh_config)
    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(model, vocabulary, sequence_length, rngs=nnx.Rngs(0))))

    def initialise(hyper: Hyperparameters, seed: Array) -> State:
        transformer = Transformer(model, vocabulary, sequence_length, rngs=nnx.Rngs(jax.random.key(seed)))
        parameters = nnx.to_pure_dict(nnx.state(transformer, nnx.Param))
        step = jnp.int32(0)
        spikes = None if skip_spikes is None else no_spikes(skip_spikes)
        return State(parameters, make_optimizer(hyper, step).init(parameters), step, spikes)

    def losses(parameters: Any, tokens_BxL1: Array) -> tuple[Array, Array]:
        """The cross entropy of each token [B, L], and what is minimised beside its mean."""
        transformer = nnx.merge(graph, nnx.State(parameters))
        x_BxLxD, balance = transformer.hidden(tokens_BxL1[:, :-1])
        logits_BxLxV = transformer.logits(x_BxLxD)
        extra = model.balance_loss * balance
        if model.z_loss:
            extra += model.z_loss * jnp.square(jax.nn.logsumexp(logits_BxLxV, axis=-1)).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits_BxLxV, tokens_BxL1[:, 1:]), extra

    def objective(parameters: Any, tokens_BxL1: Array) -> tuple[Array, Array]:
        losses_BxL, extra = losses(parameters, tokens_BxL1)
        return losses_BxL.mean() + extra, losses_BxL.mean()

    def step(state: State, tokens_BxL1: Array, hyper: Hyperparameters) -> tuple[State, Metrics]:
        (_, loss), gradients = jax.value_and_grad(objective, has_aux=True)(state.parameters, tokens_BxL1)
        optimizer = make_optimizer(hyper, state.step)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        norm, spikes = optax.tree.norm(gradients), state.spikes
        if skip_spikes is not None:
            old, new = (state.parameters, state.optimizer), (parameters, optimizer_state)
            (parameters, optimizer_state), spikes = skip_spike(skip_spikes, spikes, state.step, loss, norm, old, new)
        skipped = jnp.int32(0) if spikes is None else spikes.skipped
        metrics = Metrics(loss, norm, learning_rate(hyper, state.step), skipped)
        return State(parameters, optimizer_state, state.step + 1, spikes), metrics

    def evaluate(parameters: Any, tokens_BxL1: Array, weights_B: Array) -> Array:
        losses_BxL, _ = losses(parameters, tokens_BxL1)
        return (losses_BxL.sum(axis=1) * weights_B).sum()

    abstract = jax.eval_shape(initialise, Hyperparameters(*[jnp.float32(0)] * len(Hyperparameters._fields)), jnp.uint32(0))
    state_shardings = _state_shardings(mesh, abstract)
    replicated, batch = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, BATCH)
    return Program(
        mesh=mesh,
        initialise=jax.jit(initialise, out_shardings=state_shardings),
        step=jax.jit(
            step,
            in_shardings=(state_shardings, batch, replicated),
            out_shardings=(state_shardings, replicated),
            donate_argnums=0,
        ),
        evaluate=jax.jit(evaluate, in_shardings=(state_shardings.parameters, batch, batch), out_shardings=replicated),
        abstract_state=jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, state_shardings
        ),
        batch_sharding=batch,
    )


def _state_shardings(mesh: Mesh, state: State) -> State:
    """Parameters by the table; what the optimizer keeps of a parameter like the parameter; counters on every device."""
    parameters = parameter_shardings(mesh, state.parameters)
    of_path = dict(jax.tree_util.tree_leaves_with_path(parameters))
    replicated = NamedSharding(mesh, PartitionSpec())

    def sharding(path: tuple[Any, ...], _leaf: Any) -> NamedSharding:
        return next((of_path[path[start:]] for start in range(len(path)) if path[start:] in of_path), replicated)

    optimizer = jax.tree_util.tree_map_with_path(sharding, state.optimizer)
    return State(parameters, optimizer, replicated, jax.tree.map(lambda _: replicated, state.spikes))

"""The compiled functions of one model shape: initialise, step, evaluate. Every run of a rung shares them."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config import ModelConfig, ProgramConfig, SpikeConfig
from scaling.models.documents import read_marks
from scaling.models.execution import BATCH_AXES, Execution
from scaling.models.kernels import choose_attention
from scaling.models.moe import Load, balance
from scaling.models.transformer import Transformer
from scaling.optimization import ADAMW, Structure
from scaling.training.cross_entropy import TokenLosses, chunk_length, token_losses
from scaling.training.gradients import GROUP_AXES, Noise, SmoothedNoise, batch_gradient, micro_batches, smooth
from scaling.training.mesh import BATCH, check_divisible, make_mesh, parameter_shardings
from scaling.training.optimizer import Hyperparameters, learning_rate, make_optimizer, no_hyperparameters
from scaling.training.spikes import no_spikes, skip_spike

Array = jax.Array


class State(NamedTuple):
    """All that training carries from one step to the next; the same whatever the program's configuration is."""

    parameters: Any
    optimizer: Any
    noise: SmoothedNoise
    step: Any
    """Updates done (int32 scalar); with the seed also the position in the data."""
    spikes: Any = None
    """`spikes.Spikes` where loss spikes are skipped."""


class Metrics(NamedTuple):
    """What a step reports, float32 scalars on the device."""

    loss: Array
    gradient_norm: Array
    learning_rate: Array
    noise: Noise | None
    """Of this step's gradient; None where it is computed in one part."""
    noise_scale: Array | None
    """In tokens, from the smoothed estimates."""
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


def make_program(
    model: ModelConfig,
    vocabulary: int,
    sequence_length: int,
    config: ProgramConfig,
    optimizer: Structure = ADAMW,
    skip_spikes: SpikeConfig | None = None,
    separate_documents: bool = False,
) -> Program:
    """The program of a model shape and a kind of optimizer on a mesh; made once in a process, compiled at its first call.

    With `separate_documents` its tokens carry the marks of `models/documents.py`.
    """
    traced = {"z_loss": 0.0, "balance_loss": 0.0}  # in Hyperparameters: runs that differ in them share a program
    model = model.model_copy(update=traced)
    return _make_program(model, vocabulary, sequence_length, config, optimizer, skip_spikes, separate_documents)


@functools.cache
def _make_program(
    model: ModelConfig,
    vocabulary: int,
    sequence_length: int,
    config: ProgramConfig,
    optimizer: Structure,
    skip_spikes: SpikeConfig | None,
    separate_documents: bool,
) -> Program:
    check_divisible(config.mesh, model, vocabulary)
    mesh = make_mesh(config.mesh)
    evaluation = Execution(
        mesh=mesh,
        attention=choose_attention(config.attention, model, sequence_length, mesh.devices.flat[0].platform, separate_documents),
        remat=config.remat,
        scan_layers=config.scan_layers,
    )
    grouped = model.experts == 1  # the load of experts is balanced over the whole batch, not over a group's part of it
    groups = config.mesh.replica * config.mesh.data if grouped else 1
    training = replace(evaluation, batch_axes=BATCH_AXES[len(GROUP_AXES) :]) if groups > 1 else evaluation
    graph = nnx.graphdef(nnx.eval_shape(lambda: Transformer(model, vocabulary, sequence_length, rngs=nnx.Rngs(0))))

    def initialise(hyper: Hyperparameters, seed: Array) -> State:
        transformer = Transformer(model, vocabulary, sequence_length, rngs=nnx.Rngs(jax.random.key(seed)))
        parameters = nnx.to_pure_dict(nnx.state(transformer, nnx.Param))
        step = jnp.int32(0)
        noise = SmoothedNoise(*[jnp.float32(0.0)] * len(SmoothedNoise._fields))
        spikes = None if skip_spikes is None else no_spikes(skip_spikes)
        return State(parameters, make_optimizer(optimizer, model.rules, hyper, step).init(parameters), noise, step, spikes)

    def losses(parameters: Any, tokens_BxL1: Array, execution: Execution) -> tuple[TokenLosses, Load | None]:
        transformer = nnx.merge(graph, nnx.State(parameters))
        tokens_BxL1, documents = read_marks(tokens_BxL1) if separate_documents else (tokens_BxL1, None)
        x_BxLxD, load = transformer.hidden(tokens_BxL1[:, :-1], execution, documents)
        sequences = len(tokens_BxL1) // execution.batch_shards
        chunk = config.loss_chunk or chunk_length(sequences, sequence_length, vocabulary // config.mesh.tensor)

        def logits(x_BxCxD: Array) -> Array:
            return execution.constrain(transformer.logits(x_BxCxD), None, "tensor")

        return token_losses(logits, x_BxLxD, tokens_BxL1[:, 1:], chunk), load

    def chosen_experts(parameters: Any, tokens_BxL1: Array, accumulation: int) -> Array:
        """What part of the choices of a whole batch fell on each expert, of each layer."""

        def of_part(tokens_bxL1: Array) -> Array:
            tokens_bxL1, documents = read_marks(tokens_bxL1) if separate_documents else (tokens_bxL1, None)
            return nnx.merge(graph, nnx.State(parameters)).hidden(tokens_bxL1[:, :-1], training, documents)[1].chosen_E

        return jax.lax.map(of_part, micro_batches(tokens_BxL1, accumulation)).mean(axis=0)

    def step(state: State, tokens_BxL1: Array, hyper: Hyperparameters) -> tuple[State, Metrics]:
        accumulation = _accumulation(model, config, mesh, len(tokens_BxL1))
        chosen_NxE = None
        if model.experts > 1 and accumulation > 1:  # the balance is of the whole batch: its load has to be known before
            chosen_NxE = jax.lax.cond(
                hyper.balance_loss > 0,
                lambda: chosen_experts(state.parameters, tokens_BxL1, accumulation),
                lambda: jnp.zeros((model.layers, model.experts)),
            )

        def objective(parameters: Any, tokens_bxL1: Array) -> tuple[Array, Array]:
            token, load = losses(parameters, tokens_bxL1, training)
            cross_entropy = token.cross_entropy.mean()
            minimised = cross_entropy + hyper.z_loss * jnp.square(token.log_z).mean()
            if load is not None:
                minimised += hyper.balance_loss * balance(load if chosen_NxE is None else load._replace(chosen_E=chosen_NxE))
            return minimised, cross_entropy

        gradient = batch_gradient(
            objective,
            state.parameters,
            tokens_BxL1,
            groups=groups,
            accumulation=accumulation,
            shardings=state_shardings.parameters,
        )
        transformation = make_optimizer(optimizer, model.rules, hyper, state.step)
        updates, optimizer_state = transformation.update(gradient.mean, state.optimizer, state.parameters)
        parameters = optax.apply_updates(state.parameters, updates)
        norm, spikes, loss = optax.tree.norm(gradient.mean), state.spikes, gradient.cross_entropy
        if skip_spikes is not None:
            old, new = (state.parameters, state.optimizer), (parameters, optimizer_state)
            (parameters, optimizer_state), spikes = skip_spike(skip_spikes, spikes, state.step, loss, norm, old, new)
        noise = state.noise if gradient.noise is None else smooth(state.noise, gradient.noise)
        metrics = Metrics(
            loss=loss,
            gradient_norm=norm,
            learning_rate=learning_rate(hyper, state.step),
            noise=gradient.noise,
            noise_scale=None if gradient.noise is None else noise.covariance_trace / noise.squared_norm,
            skipped_updates=jnp.int32(0) if spikes is None else spikes.skipped,
        )
        return State(parameters, optimizer_state, noise, state.step + 1, spikes), metrics

    def evaluate(parameters: Any, tokens_BxL1: Array, weights_B: Array) -> Array:
        token, _ = losses(parameters, tokens_BxL1, evaluation)
        return (token.cross_entropy.sum(axis=1) * weights_B).sum()

    abstract = jax.eval_shape(initialise, no_hyperparameters(optimizer), jnp.uint32(0))
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


def _accumulation(model: ModelConfig, config: ProgramConfig, mesh: Mesh, batch: int) -> int:
    """Micro-batches of a batch. Where nothing is said, a CPU alone takes two halves, which is no slower and shows the noise."""
    if config.micro_batch is not None:
        return max(1, batch // config.micro_batch)
    alone = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
    return 2 if alone and model.experts == 1 and batch % 2 == 0 else 1


def _state_shardings(mesh: Mesh, state: State) -> State:
    """Parameters by the table; what the optimizer keeps of a parameter and in its shape like the parameter; all else,
    counters and sums over rows and columns (Adafactor), on every device.
    """
    parameters = parameter_shardings(mesh, state.parameters)
    shapes = {path: leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(state.parameters)}
    of_path = dict(jax.tree_util.tree_leaves_with_path(parameters))
    replicated = NamedSharding(mesh, PartitionSpec())

    def sharding(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        endings = (path[start:] for start in range(len(path)))
        return next((of_path[each] for each in endings if shapes.get(each) == leaf.shape), replicated)

    optimizer = jax.tree_util.tree_map_with_path(sharding, state.optimizer)
    noise, spikes = jax.tree.map(lambda _: replicated, (state.noise, state.spikes))
    return State(parameters, optimizer, noise, replicated, spikes)

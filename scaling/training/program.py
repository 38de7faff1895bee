"""The compiled functions of one model shape: initialise, step, evaluate. Every run of a rung shares them.

Those of a cohort are the same functions mapped over R runs: everything has a leading dimension of R, which is divided over the
devices, and no run's numbers depend on another's.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from scaling.config import ModelConfig, ProgramConfig
from scaling.errors import ScalingError
from scaling.models.execution import BATCH_AXES, Execution
from scaling.models.kernels import choose_attention
from scaling.models.moe import Load, balance
from scaling.models.transformer import Transformer
from scaling.optimization import ADAMW, SpikeConfig, Structure
from scaling.training.cross_entropy import TokenLosses, chunk_length, token_losses
from scaling.training.gradients import GROUP_AXES, Noise, SmoothedNoise, batch_gradient, micro_batches, smooth
from scaling.training.mesh import BATCH, RUN, check_divisible, make_mesh, make_run_mesh, parameter_shardings
from scaling.training.objectives import Examples, hidden_tokens, next_tokens, one_hidden_token, text_places
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
    hiding: Any = None
    """Where tokens are hidden: the key (uint32 [2]) of which, at all steps."""


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
    """(parameters, tokens int32 [B, L + 1], weights float32 [B]) -> summed cross entropy in nats over the weighted rows, of the
    last L tokens each: where tokens are hidden, of each while it alone is. Of pairs [3]: and the summed loss of next-sentence
    prediction, in nats, and how many are right, with no token hidden."""
    abstract_state: State
    """Shapes, types and shardings of the state, to restore a checkpoint into."""
    batch_sharding: NamedSharding
    members: int | None = None
    """R of a cohort: all of the above has this leading dimension, but for the tokens and weights that `evaluate` gives to
    every run; None for the program of a single run."""


def make_program(
    model: ModelConfig,
    vocabulary: int,
    sequence_length: int,
    config: ProgramConfig,
    optimizer: Structure = ADAMW,
    skip_spikes: SpikeConfig | None = None,
    objective: str = "causal",
    separate_documents: bool = False,
    devices: tuple[jax.Device, ...] | None = None,
    platform: str | None = None,
    members: int | None = None,
) -> Program:
    """The program of a model shape and a kind of optimizer on a mesh; made once in a process, compiled at its first call.

    With `separate_documents` its tokens carry the marks of `models/documents.py`. `devices` and `platform` are for programs
    that are compiled and not run: devices of a machine that is not here, and what to lower for where they are of another kind.
    With `members` it is that of a cohort of so many runs, each whole on one device.

    Raises:
        ScalingError: the mesh does not divide the model, or needs more devices than there are, or more than one in a cohort.
    """
    return _make_program(
        model.compiled,
        vocabulary,
        sequence_length,
        config,
        optimizer,
        skip_spikes,
        objective,
        separate_documents,
        devices,
        platform,
        members,
    )


@functools.cache
def _make_program(
    model: ModelConfig,
    vocabulary: int,
    sequence_length: int,
    config: ProgramConfig,
    optimizer: Structure,
    skip_spikes: SpikeConfig | None,
    objective: str,
    separate_documents: bool,
    devices: tuple[jax.Device, ...] | None,
    platform: str | None,
    members: int | None,
) -> Program:
    check_divisible(config.mesh, model, vocabulary)
    if members is not None and config.mesh.devices > 1:
        raise ScalingError(f"the runs of a cohort are on one device each, and execution.mesh {config.mesh} splits them")
    mesh = make_mesh(config.mesh, devices) if members is None else make_run_mesh(members, devices)
    side_by_side = 1 if members is None else members // mesh.size  # runs whose arrays are on a device at once
    platform = platform or mesh.devices.flat[0].platform
    evaluation = Execution(
        mesh=mesh if members is None else None,
        attention=choose_attention(config.attention, model, sequence_length, platform, separate_documents),
        remat=config.remat,
        scan_layers=config.scan_layers,
    )
    grouped = model.experts == 1  # the load of experts is balanced over the whole batch, not over a group's part of it
    groups = config.mesh.replica * config.mesh.data if grouped else 1
    training = replace(evaluation, batch_axes=BATCH_AXES[len(GROUP_AXES) :]) if groups > 1 else evaluation
    causal, pairs = objective == "causal", objective == "next_sentence"

    def make(key: Any) -> Transformer:
        return Transformer(model, vocabulary, sequence_length, causal=causal, next_sentence=pairs, rngs=nnx.Rngs(key))

    graph = nnx.graphdef(nnx.eval_shape(lambda: make(0)))

    def initialise(hyper: Hyperparameters, seed: Array) -> State:
        transformer = make(jax.random.key(seed))
        parameters = nnx.to_pure_dict(nnx.state(transformer, nnx.Param))
        step = jnp.int32(0)
        noise = SmoothedNoise(*[jnp.float32(0.0)] * len(SmoothedNoise._fields))
        spikes = None if skip_spikes is None else no_spikes(skip_spikes)
        hiding = None if causal else jax.random.key_data(jax.random.fold_in(jax.random.key(seed), 1))
        of_optimizer = make_optimizer(optimizer, model.rules, hyper, step).init(parameters)
        return State(parameters, of_optimizer, noise, step, spikes, hiding)

    def examples_of(state: State, tokens_BxL1: Array) -> Examples:
        if causal:
            return next_tokens(tokens_BxL1, separate_documents)
        key = jax.random.fold_in(jax.random.wrap_key_data(state.hiding), state.step)
        return hidden_tokens(tokens_BxL1, key, vocabulary, separate_documents, pairs)

    def losses(parameters: Any, examples: Examples, execution: Execution) -> tuple[TokenLosses, Load | None, Array | None]:
        """Of the predicted tokens; the load of experts, if any; the logits [B, 2] of next sentences, if those are asked for."""
        transformer = nnx.merge(graph, nnx.State(parameters))
        x_BxLxD, load = transformer.hidden(examples.input_BxL, execution, examples.documents)
        sequences, places = len(examples.input_BxL) // execution.batch_shards, examples.target_BxM.shape[1]
        chunk = chunk_length(sequences * side_by_side, places, vocabulary // config.mesh.tensor, config.loss_chunk)

        def logits(x_BxCxD: Array) -> Array:
            return execution.constrain(transformer.logits(x_BxCxD), None, "tensor")

        follows_Bx2 = None if examples.follows_B is None else transformer.next_sentence(x_BxLxD)
        return token_losses(logits, examples.at_places(x_BxLxD), examples.target_BxM, chunk), load, follows_Bx2

    def chosen_experts(parameters: Any, examples: Examples, accumulation: int) -> Array:
        """What part of the choices of a whole batch fell on each expert, of each layer."""

        def of_part(some: Examples) -> Array:
            return nnx.merge(graph, nnx.State(parameters)).hidden(some.input_BxL, training, some.documents)[1].chosen_E

        return jax.lax.map(of_part, micro_batches(examples, accumulation)).mean(axis=0)

    def step(state: State, tokens_BxL1: Array, hyper: Hyperparameters) -> tuple[State, Metrics]:
        accumulation = _accumulation(model, config, platform, len(tokens_BxL1))
        examples = examples_of(state, tokens_BxL1)
        chosen_NxE = None
        if model.experts > 1 and accumulation > 1:  # the balance is of the whole batch: its load has to be known before
            chosen_NxE = jax.lax.cond(
                hyper.balance_loss > 0,
                lambda: chosen_experts(state.parameters, examples, accumulation),
                lambda: jnp.zeros((model.layers, model.experts)),
            )

        def minimise(parameters: Any, some: Examples) -> tuple[Array, Array]:
            token, load, follows_Bx2 = losses(parameters, some, training)
            cross_entropy = token.cross_entropy.mean()
            minimised = cross_entropy + hyper.z_loss * jnp.square(token.log_z).mean()
            if follows_Bx2 is not None:  # the sum of both means, as in the authors' `run_pretraining.py`
                minimised += optax.softmax_cross_entropy_with_integer_labels(follows_Bx2, some.follows_B).mean()
            if load is not None:
                minimised += hyper.balance_loss * balance(load if chosen_NxE is None else load._replace(chosen_E=chosen_NxE))
            return minimised, cross_entropy

        gradient = batch_gradient(
            minimise,
            state.parameters,
            examples,
            examples.target_BxM.size,
            groups=groups,
            accumulation=accumulation,
            shardings=state_shardings.parameters if members is None else None,
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
        return State(parameters, optimizer_state, noise, state.step + 1, spikes, state.hiding), metrics

    def evaluate(parameters: Any, tokens_BxL1: Array, weights_B: Array) -> Array:
        def weighted(examples: Examples) -> Array:
            return (losses(parameters, examples, evaluation)[0].cross_entropy.sum(axis=1) * weights_B).sum()

        if causal:
            return weighted(next_tokens(tokens_BxL1, separate_documents))
        places_L = jnp.asarray(text_places(sequence_length, pairs))

        def hiding(place: Array) -> Array:
            return weighted(one_hidden_token(tokens_BxL1, place, vocabulary, separate_documents))

        summed = jax.lax.map(hiding, places_L).sum()
        if not pairs:
            return summed
        transformer, follows_B = nnx.merge(graph, nnx.State(parameters)), tokens_BxL1[:, 0]
        follows_Bx2 = transformer.next_sentence(transformer.hidden(tokens_BxL1[:, 1:], evaluation)[0])
        loss_B = optax.softmax_cross_entropy_with_integer_labels(follows_Bx2, follows_B)
        return jnp.stack([summed, loss_B @ weights_B, (follows_Bx2.argmax(axis=1) == follows_B) @ weights_B])

    hyper, seed = no_hyperparameters(optimizer), jnp.uint32(0)
    if members is None:
        abstract = jax.eval_shape(initialise, hyper, seed)
        state_shardings = _state_shardings(mesh, abstract)
        shared, batch = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, BATCH)
        evaluated = batch
    else:
        initialise, step = _over_runs(mesh, initialise, (RUN, RUN)), _over_runs(mesh, step, (RUN, RUN, RUN))
        evaluate = _over_runs(mesh, evaluate, (RUN, PartitionSpec(), PartitionSpec()))
        abstract = jax.eval_shape(initialise, *jax.tree.map(lambda leaf: jnp.stack([leaf] * members), (hyper, seed)))
        shared = batch = NamedSharding(mesh, RUN)
        evaluated = NamedSharding(mesh, PartitionSpec())
        state_shardings = jax.tree.map(lambda _: shared, abstract)
    return Program(
        mesh=mesh,
        initialise=jax.jit(initialise, out_shardings=state_shardings),
        step=jax.jit(
            step,
            in_shardings=(state_shardings, batch, shared),
            out_shardings=(state_shardings, shared),
            donate_argnums=0,
        ),
        evaluate=jax.jit(evaluate, in_shardings=(state_shardings.parameters, evaluated, evaluated), out_shardings=shared),
        abstract_state=jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), abstract, state_shardings
        ),
        batch_sharding=batch,
        members=members,
    )


def _over_runs(mesh: Mesh, function: Callable[..., Any], specs: tuple[PartitionSpec, ...]) -> Callable[..., Any]:
    """The function for each of R runs, those of a device together: its arguments are one a run, or one for all where a spec
    splits nothing. The devices have nothing to tell each other.
    """
    of_device = jax.vmap(function, in_axes=tuple(0 if spec == RUN else None for spec in specs))
    return jax.shard_map(of_device, mesh=mesh, in_specs=specs, out_specs=RUN, check_vma=False)


def _accumulation(model: ModelConfig, config: ProgramConfig, platform: str, batch: int) -> int:
    """Micro-batches of a batch. Where nothing is said, a CPU alone takes two halves, which is no slower and shows the noise."""
    if config.micro_batch is not None:
        return max(1, batch // config.micro_batch)
    alone = config.mesh.devices == 1 and platform == "cpu"
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
    noise, spikes, hiding = jax.tree.map(lambda _: replicated, (state.noise, state.spikes, state.hiding))
    return State(parameters, optimizer, noise, replicated, spikes, hiding)

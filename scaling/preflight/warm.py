"""The compile cache of a machine, filled before its runs begin: one process compiles, all others read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from scaling.preflight.compilers import program_of_shape, step_arguments
from scaling.preflight.programs import PlannedProgram
from scaling.training.attempt import keep_compiled_programs


def warm(programs: Sequence[PlannedProgram], cache: Path, done: Callable[[], None] = lambda: None) -> None:
    """Compile what runs of these programs call, for the devices of this machine.

    Args:
        programs: of a plan; their meshes are made of the devices that are here.
        cache: where compiled programs are kept, `jax` in a run's cache directory; a bucket or a shared disk where
            `JAX_COMPILATION_CACHE_DIR` names one, here and where the runs are.
        done: called after each program.

    Raises:
        ScalingError: a mesh that these devices do not make.
    """
    keep_compiled_programs(cache)
    for program, _ in programs:
        made = program_of_shape(program)
        state, tokens_BxL1, hyper = step_arguments(made, program)
        rows = (program.micro_batch, program.sequence_length + 1)
        evaluated_BxL1 = jax.ShapeDtypeStruct(rows, jnp.int32, sharding=made.batch_sharding)
        weights_B = jax.ShapeDtypeStruct(rows[:1], jnp.float32, sharding=made.batch_sharding)
        calls: tuple[tuple[Any, Any], ...] = (
            (made.initialise, (hyper, jax.ShapeDtypeStruct((), jnp.uint32))),
            (made.step, (state, tokens_BxL1, hyper)),
            (made.evaluate, (state.parameters, evaluated_BxL1, weights_B)),
        )
        for function, arguments in calls:
            function.lower(*arguments).compile()
        done()

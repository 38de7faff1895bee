"""FLOPs of a traced function, counted from its shapes, with the body of a loop as often as it runs."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def count(jaxpr: Any, branch: float = 1.0) -> float:
    """FLOPs of the matrix products, over all devices; a multiply-add is two.

    Recomputation is in it, as far as the trace has it. Of a Pallas kernel every point of its grid counts, and half of what
    stands in a branch: kernels of causal attention branch around the half of the scores that the mask hides.

    Args:
        jaxpr: of the function.
        branch: the weight of the longest branch of a condition.
    """
    if isinstance(jaxpr, ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    return sum(_of_equation(each, branch) for each in jaxpr.eqns)


def _of_equation(equation: Any, branch: float) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name.startswith("ragged_dot"):  # of experts: every row is multiplied by one of the matrices
        return 2.0 * math.prod(equation.invars[0].aval.shape) * equation.outvars[0].aval.shape[-1]
    if name == "cond":
        return branch * max(count(each, branch) for each in parameters["branches"])
    times = 1
    if name == "scan":
        times = parameters["length"]
    elif name == "shard_map":
        times = parameters["mesh"].size
    elif name == "pallas_call":
        times, branch = math.prod(parameters["grid_mapping"].grid), 0.5
    return times * sum(count(inner, branch) for inner in _inner(parameters))


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (ClosedJaxpr, Jaxpr)):
                yield each

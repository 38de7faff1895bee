"""FLOPs of a traced function, counted from its shapes, with the body of a loop as often as it runs."""

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr


def count(jaxpr: Any) -> float:
    """FLOPs of the matrix products, over all devices; a multiply-add is two.

    Recomputation is in it, as far as the trace has it. Of a kernel written in Pallas: its products for every point of its grid,
    also where a mask skips them.
    """
    if isinstance(jaxpr, ClosedJaxpr):
        jaxpr = jaxpr.jaxpr
    return sum(_of_equation(each) for each in jaxpr.eqns)


def _of_equation(equation: Any) -> float:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        left = equation.invars[0].aval.shape
        return 2.0 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if name.startswith("ragged_dot"):  # of experts: every row is multiplied by one of the matrices
        return 2.0 * math.prod(equation.invars[0].aval.shape) * equation.outvars[0].aval.shape[-1]
    if name == "cond":
        return max(count(branch) for branch in parameters["branches"])
    times = 1
    if name == "scan":
        times = parameters["length"]
    elif name == "shard_map":
        times = parameters["mesh"].size
    elif name == "pallas_call":
        times = math.prod(parameters["grid_mapping"].grid)
    return times * sum(count(inner) for inner in _inner(parameters))


def _inner(parameters: dict[str, Any]) -> Iterator[Any]:
    for value in parameters.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, (ClosedJaxpr, Jaxpr)):
                yield each

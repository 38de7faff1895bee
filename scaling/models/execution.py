"""How a forward pass is computed: where, and what is kept. None of it changes the result in exact arithmetic."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

BATCH_AXES = ("replica", "data", "fsdp", "expert")
"""The mesh axes that the sequences of a batch are spread over, outermost first."""

_POLICIES: dict[str, Any] = {
    "dots": jax.checkpoint_policies.dots_saveable,
    "dots_without_batch": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
    "full": jax.checkpoint_policies.nothing_saveable,
}


@dataclass(frozen=True)
class Execution:
    """Execution of a transformer's training pass; by default on one device, block by block, everything kept."""

    mesh: Mesh | None = None
    """None: one device."""
    batch_axes: tuple[str, ...] = BATCH_AXES
    """Those of `BATCH_AXES` that the batch given to the model is spread over; an enclosing `vmap` has the others."""
    attention: str = "xla"
    """`xla`, `cudnn` or `splash`."""
    remat: str = "none"
    """Of a block: `none`, or one of `_POLICIES`."""
    scan_layers: bool = False

    @property
    def batch_shards(self) -> int:
        """Over how many devices the batch given to the model is spread."""
        return 1 if self.mesh is None else math.prod(self.mesh.shape[axis] for axis in self.batch_axes)

    def constrain(self, x: jax.Array, *axes: str | None) -> jax.Array:
        """`x` spread over the devices: its first dimension as the batch, the others over the mesh axes named."""
        return self.place(x, self.batch_axes, *axes)

    def place(self, x: jax.Array, *axes: str | tuple[str, ...] | None) -> jax.Array:
        """`x` with each dimension spread over the mesh axes named, or whole on every device."""
        if self.mesh is None or self.mesh.size == 1:
            return x
        return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, PartitionSpec(*axes)))

    def each_device(self, function: Callable[..., jax.Array], in_specs: Any, out_specs: Any, **options: Any) -> Any:
        """`function` of the part of its arguments that each device has; as it is where there is no mesh."""
        if self.mesh is None:
            return function
        return jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=out_specs, **options)

    def rematerialised(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, with `remat` for its backward pass."""
        if self.remat == "none":
            return function
        return jax.checkpoint(function, policy=_POLICIES[self.remat], prevent_cse=not self.scan_layers)


ONE_DEVICE = Execution()

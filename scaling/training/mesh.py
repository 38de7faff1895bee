"""Which devices hold what: the mesh, and the table that places every parameter on it.

A parameter's dimensions have logical names (`LOGICAL_AXES`); `MESH_AXES` says which mesh axis each is split over.
"""

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from scaling.config import MeshConfig, ModelConfig
from scaling.errors import ScalingError
from scaling.models.execution import BATCH_AXES

AXES = (*BATCH_AXES, "tensor")
"""Of the mesh, outermost first: devices that are near each other differ in the last ones."""

BATCH = PartitionSpec(BATCH_AXES)
"""How the leading (batch) dimension of data is split."""

RUN = PartitionSpec("run")
"""How the leading dimension of what belongs to the runs of a cohort is split."""

MESH_AXES = {
    "width": "fsdp",
    "heads": "tensor",
    "mlp": "tensor",
    "vocabulary": "tensor",
    "experts": "expert",
    None: None,
}

LOGICAL_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"embedding/embedding", ("vocabulary", "width")),
    (r"positions/embedding", (None, "width")),
    (r"head/kernel", ("width", "vocabulary")),
    (r"next_sentence/segments/embedding", (None, "width")),
    (r"next_sentence/(pool|head)/kernel", ("width", None)),
    (r"blocks/\d+/attention/(query|key|value)/kernel", ("width", "heads")),
    (r"blocks/\d+/attention/(query|key|value)/bias", ("heads",)),
    (r"blocks/\d+/attention/output/kernel", ("heads", "width")),
    (r"blocks/\d+/mlp/(gate|up)/kernel", ("width", "mlp")),
    (r"blocks/\d+/mlp/(gate|up)/bias", ("mlp",)),
    (r"blocks/\d+/mlp/down/kernel", ("mlp", "width")),
    (r"blocks/\d+/(attention/output|mlp/down)/bias", (None,)),
    (r"blocks/\d+/mlp/router/kernel", ("width", None)),
    (r"blocks/\d+/mlp/experts/(gate|up)/kernel", ("experts", "width", "mlp")),
    (r"blocks/\d+/mlp/experts/down/kernel", ("experts", "mlp", "width")),
    (r"(blocks/\d+/(attention|mlp)_(post_)?)?norm/(scale|bias)", (None,)),
    (r"blocks/\d+/attention/(query|key)_norm/(scale|bias)", (None,)),
)


def make_mesh(config: MeshConfig, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over the first `config.devices` devices; over all of them where several processes share it.

    Args:
        config: its axes.
        devices: of a machine that is not here, to compile for; None for those that are.

    Raises:
        ScalingError: there are fewer devices, or processes whose devices the mesh leaves out, or slices of a TPU that
            `replica` does not divide into.
    """
    present = jax.devices() if devices is None else list(devices)
    processes, platform = len({device.process_index for device in present}), present[0].platform
    if config.devices > len(present):
        raise ScalingError(
            f"execution.mesh {config} needs {config.devices} devices, and there are {len(present)} "
            f"({platform}); choose axes whose product is at most {len(present)}"
        )
    if processes > 1 and config.devices < len(present):
        raise ScalingError(
            f"execution.mesh {config} takes {config.devices} of the {len(present)} devices of {processes} processes; "
            f"choose axes whose product is {len(present)}"
        )
    taken = present[: config.devices]
    shape = tuple(getattr(config, axis) for axis in AXES)
    slices = len({getattr(device, "slice_index", 0) for device in taken}) if platform == "tpu" else 1
    if config.replica % slices:
        raise ScalingError(f"execution.mesh.replica {config.replica} is not a multiple of the {slices} slices it lies between")
    if slices > 1:
        within = (config.replica // slices, *shape[1:])
        between = (slices, *[1] * (len(shape) - 1))
        array = mesh_utils.create_hybrid_device_mesh(within, between, taken, allow_split_physical_axes=True)
    else:
        array = mesh_utils.create_device_mesh(shape, taken, allow_split_physical_axes=True)
    return Mesh(array, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def make_run_mesh(members: int, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh of a cohort, whose one axis is `run`: as many of the devices as its members divide into equal parts for."""
    present = jax.devices() if devices is None else list(devices)
    count = max(count for count in range(1, len(present) + 1) if members % count == 0)
    return Mesh(np.array(present[:count]), ("run",), axis_types=(AxisType.Auto,))


def check_divisible(config: MeshConfig, model: ModelConfig, vocabulary: int) -> None:
    """A `ScalingError` that names the first dimension of the model that its mesh axis does not divide."""
    sizes = {
        "model.width": (model.width, "fsdp"),
        "model.heads": (model.heads, "tensor"),
        "model.kv_heads": (model.kv_heads, "tensor"),
        "model.mlp_width": (model.mlp_width, "tensor"),
        "model.experts": (model.experts, "expert"),
        "the vocabulary": (vocabulary, "tensor"),
    }
    for name, (size, axis) in sizes.items():
        devices = getattr(config, axis)
        if size % devices:
            raise ScalingError(f"{name} {size} is not divisible by execution.mesh.{axis} {devices}")


def match_rules(rules: tuple[tuple[str, Any], ...], tree: Any) -> Any:
    """For each leaf of `tree` the value of the one rule whose pattern matches its whole path.

    Raises:
        ScalingError: a leaf that no rule or more than one rule matches, by its path.
    """

    def value(path: Any, _leaf: Any) -> Any:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        found = [rule for pattern, rule in rules if re.fullmatch(pattern, name)]
        if len(found) != 1:
            raise ScalingError(f"{len(found)} rules match the parameter {name}; exactly one must")
        return found[0]

    return jax.tree_util.tree_map_with_path(value, tree)


def parameter_shardings(mesh: Mesh, parameters: Any) -> Any:
    """A `NamedSharding` for each parameter of the tree, by the tables above."""
    axes = match_rules(LOGICAL_AXES, parameters)
    return jax.tree.map(
        lambda _, names: NamedSharding(mesh, PartitionSpec(*(MESH_AXES[name] for name in names))), parameters, axes
    )

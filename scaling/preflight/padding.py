"""What a matrix unit wastes on dimensions that are no multiples of its side.        (no jax)"""

import math
from collections.abc import Mapping

from scaling.models.shapes import GATED
from scaling.preflight.programs import Shape


def padding_waste(shape: Shape, tile: int) -> tuple[float, list[str]]:
    """The share of FLOPs that is added by padding, 0 for none, and the dimensions that are padded, for people.

    Dimensions are those on one device. Positions and sequences are taken to be many and are not padded.

    Args:
        shape: the program.
        tile: side of the matrix unit; of a dimension d, ceil(d / tile) x tile is computed.
    """
    model, parts = shape.model, shape.program.mesh.tensor
    dimensions = {
        "model.width": model.width,
        "model.head_width": model.head_width,
        "heads x head_width": model.heads * model.head_width / parts,
        "kv_heads x head_width": model.kv_heads * model.head_width / parts,
        "model.mlp_width": model.mlp_width / parts,
        "the vocabulary": shape.vocabulary / parts,
    }
    padded = {name: math.ceil(size / tile) * tile for name, size in dimensions.items()}
    waste = _flops(shape, padded) / _flops(shape, dimensions) - 1
    over = {1: "", **{n: f" on each of {n} devices" for n in (parts,) if n > 1}}[parts]
    names = [f"{name} {size:g}{over} becomes {padded[name]}" for name, size in dimensions.items() if padded[name] != size]
    return waste, names


def _flops(shape: Shape, size: Mapping[str, float]) -> float:
    """Of a token's forward pass, up to a factor: the terms of `scaling/counting.py` with these dimensions."""
    model, parts = shape.model, shape.program.mesh.tensor
    width, matrices = size["model.width"], 3 if model.mlp in GATED else 2
    projections = 2 * width * (size["heads x head_width"] + size["kv_heads x head_width"])
    mlp = model.experts_per_token * matrices * width * size["model.mlp_width"]
    attention = shape.sequence_length * model.heads / parts * size["model.head_width"]
    return model.layers * (projections + mlp + attention) + width * size["the vocabulary"]

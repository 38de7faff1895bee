"""Where a fit starts: points that fill the plausible coordinates evenly, and the best of each region of them.

Nothing here is random, so that the same data give the same starts; and starts lie apart, so that their agreement on one
optimum means something.
"""

from collections.abc import Sequence

import numpy as np

from analysis.laws.jets import Array

CANDIDATES = 1024
REGIONS = {0: (), 1: (16,), 2: (4, 4), 3: (4, 2, 2)}  # divisions of each dimension, by how many there are


def spread(dimensions: int) -> Array:
    """Points (K, dimensions) that fill the unit cube evenly, always the same.

    A grid in one and two dimensions, beyond them an additive recurrence (Roberts 2018, the R sequence).
    """
    if dimensions == 0:
        return np.zeros((1, 0))
    if dimensions <= 2:
        axis = (np.arange(16) + 0.5) / 16
        return np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), -1).reshape(-1, dimensions)
    golden = 2.0
    for _ in range(60):
        golden = (1.0 + golden) ** (1.0 / (dimensions + 1))
    return (0.5 + np.arange(1, CANDIDATES + 1)[:, None] * golden ** -np.arange(1.0, dimensions + 1)) % 1.0


def on_axes(candidates: Array, searched: Sequence[int]) -> list[Array]:
    """The columns of candidates (K, P), one after the other in broadcastable arrays with an axis of points at the end.

    Candidates on a grid in the `searched` columns have an axis for each of these, so that what depends on one of them is
    computed once per value of it and not once per candidate.
    """
    if len(searched) > 2:
        return list(candidates.T[..., None])
    shape = [round(len(candidates) ** (1 / max(1, len(searched))))] * len(searched)
    columns = [column.reshape(*shape, 1) for column in candidates.T]
    for index in range(len(columns)):
        for axis, owner in enumerate(searched):
            if owner != index:
                columns[index] = columns[index].take([0], axis)
    return columns


def best_of_regions(error: Array, places: Array, count: int) -> np.ndarray:
    """Indices of the best candidates of the best of 16 equal regions of the unit cube, best first.

    Args:
        error: of each candidate (K,).
        places: where it lies in the unit cube (K, dimensions); without dimensions there is one candidate.
        count: how many, at most 16.
    """
    divisions = REGIONS.get(places.shape[1], (2, 2, 2, 2))
    regions = np.zeros(len(places), int)
    for column, parts in enumerate(divisions):
        regions = regions * parts + (places[:, column] * parts).astype(int)
    ranked = error.argsort(kind="stable")
    _, first = np.unique(regions[ranked], return_index=True)
    return ranked[np.sort(first)[:count]]

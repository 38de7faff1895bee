"""Train or validation, decided by content, with near-identical documents on the same side.

Documents that share a band of their sketches (`similarity.py`) form a group. Groups are held out in the order of a hash of
their smallest digest until they make up a twentieth of the bytes: names, order and place play no part.

Shapes: N documents, M groups, K bands.
"""

import numpy as np

from scaling.data.similarity import mix

VALIDATION_FRACTION = 1 / 20


def near_duplicate_groups(band_NxK: np.ndarray) -> np.ndarray:
    """The group of each document, int [N]: connected by shared bands."""
    from scipy.sparse import coo_matrix  # 0.4 s to import, not needed to find what was prepared before
    from scipy.sparse.csgraph import connected_components

    documents, bands = band_NxK.shape
    values, value_of = np.unique(band_NxK, return_inverse=True)
    nodes = documents + len(values)
    rows, columns = np.repeat(np.arange(documents), bands), documents + value_of.ravel()
    graph = coo_matrix((np.ones(len(rows), bool), (rows, columns)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][:documents]


def validation_mask(digest_N: np.ndarray, size_N: np.ndarray, band_NxK: np.ndarray) -> np.ndarray:
    """Which documents are held out, bool [N].

    Args:
        digest_N: uint64, uniform hashes of the documents' content.
        size_N: bytes of the documents.
        band_NxK: the documents' sketches.

    Returns:
        Whole groups of near-duplicates, together a twentieth of the bytes and little more. Groups above an eightieth
        come last, the smallest first, so that no single one colours the validation set where others can fill it.
    """
    group_N = near_duplicate_groups(band_NxK)
    size_M = np.bincount(group_N, weights=size_N)
    smallest_M = np.full(len(size_M), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest_M, group_N, digest_N)
    quota = VALIDATION_FRACTION * size_M.sum()
    draw_M = mix(smallest_M)  # the smallest digest itself would favour groups of many documents
    order_M = np.lexsort((draw_M, np.where(size_M > quota / 4, size_M, 0)))
    after_M = np.cumsum(size_M[order_M])
    held_out_M = (after_M - size_M[order_M] < quota) & (after_M <= 2 * quota)
    held_out_M[0] = True
    return np.isin(group_N, order_M[held_out_M])

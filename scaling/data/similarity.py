"""How alike documents are, by their 12-byte grams, white space apart: what takes near-identical ones to the same side, or out.

Each document gets a MinHash sketch (Broder 1997) of ten bands of five values. With resemblance J of their grams two documents
agree in a band with probability 1 - (1 - J^5)^10, which is 0.98 at J = 0.8, 0.9999 at 0.9 and 0.003 at 0.2: those are the
candidates, whose resemblance is then counted on the texts themselves. Shapes: N documents, G grams of one document, K bands, R
values of a band.
"""

import functools
from collections.abc import Callable, Iterator

import numpy as np

NEAR = 0.8
"""The resemblance from which on two documents are near-duplicates."""

BANDS, _ROWS = 10, 5
_GRAM, PASSAGE = 12, 64
_BOTTOM = 512  # a document stands for its 512 smallest gram hashes: as good for resemblance, and ten times faster
_LONGEST = 2**24  # bytes of a document that are looked at
_BASE = np.uint64(0x100000001B3)
_MULTIPLIERS_KxR = np.random.default_rng(0).integers(0, 2**64, (BANDS, _ROWS), dtype=np.uint64) | np.uint64(1)


def mix(hash_: np.ndarray) -> np.ndarray:
    """A bijection of uint64 that spreads every input bit over the word."""
    for _ in range(2):
        hash_ = (hash_ ^ (hash_ >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return hash_ ^ (hash_ >> np.uint64(32))


def _visible(text: str) -> np.ndarray:
    byte = np.frombuffer(text[:_LONGEST].encode(), np.uint8)
    return byte[byte > 32].astype(np.uint64)


def _grams(text: str) -> np.ndarray:
    """The hash of every gram, uint64 [G]; of a shorter text, of the whole."""
    byte = _visible(text)
    gram_G = np.zeros(max(1, len(byte) - _GRAM + 1), np.uint64)
    for shift in range(min(_GRAM, len(byte))):
        gram_G = gram_G * _BASE + byte[shift : shift + len(gram_G)]
    return mix(gram_G)


def sketch(text: str) -> np.ndarray:
    """The ten bands of a document, uint64 [K]: near-identical documents share at least one of them."""
    gram_G = _grams(text)
    if len(gram_G) > _BOTTOM:
        gram_G = np.partition(gram_G, _BOTTOM)[:_BOTTOM]
    smallest_KxR = (gram_G * _MULTIPLIERS_KxR[..., None]).min(-1)
    band_K = np.arange(BANDS, dtype=np.uint64)  # so that band 1 of one document never meets band 2 of another
    for row in range(_ROWS):
        band_K = mix(band_K * np.uint64(31) + smallest_KxR[:, row])
    return band_K


def passages(text: str) -> np.ndarray:
    """Hashes of all stretches of 64 bytes, white space apart, uint64 [G]; none of a shorter text."""
    hash_G, length, power = _visible(text), 1, np.full(1, _BASE)  # an array: it wraps around in silence
    if len(hash_G) < PASSAGE:
        return hash_G[:0]
    while length < PASSAGE:  # two neighbours make one of twice the length
        hash_G = hash_G[:-length] * power + hash_G[length:]
        length, power = 2 * length, power * power
    return mix(hash_G)


def resemblance(one: np.ndarray, other: np.ndarray) -> float:
    """The Jaccard index of two sets, each a sorted array of different values."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    return common / (len(one) + len(other) - common)


def near_duplicates(order: np.ndarray, band_NxK: np.ndarray, read: Callable[[int], str]) -> Iterator[tuple[int, int]]:
    """Documents of which a near-duplicate came before, each with that one.

    Args:
        order: indices of documents; of near-duplicates the first one stays, and later ones are compared with it.
        band_NxK: the sketches of all documents.
        read: the text of a document.
    """
    values, of_value, counts = np.unique(band_NxK[order], return_inverse=True, return_counts=True)
    of_value_NxK = of_value.reshape(len(order), -1)
    grams = functools.lru_cache(maxsize=64)(lambda index: np.unique(_grams(read(index))))
    first = np.full(len(values), -1)
    for place in np.flatnonzero((counts[of_value_NxK] > 1).any(axis=1)):
        bands, index = of_value_NxK[place], int(order[place])
        candidates = sorted({int(each) for each in first[bands] if each >= 0})
        copied = next((each for each in candidates if resemblance(grams(each), grams(index)) >= NEAR), None)
        if copied is None:
            first[bands] = np.where(first[bands] < 0, index, first[bands])
        else:
            yield index, copied

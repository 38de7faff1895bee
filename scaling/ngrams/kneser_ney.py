"""Interpolated modified Kneser-Ney models (Chen & Goodman 1999, "An empirical study of smoothing techniques for language
modeling", Computer Speech & Language 13, 359-394).

With u the k - 1 tokens before w, and u' those without the first of them,

    p_k(w | u) = (c(u w) - D(c(u w))) / c(u) + g(u) p_k-1(w | u'),    g(u) = sum_w D(c(u w)) / c(u),    p_0 = 1 / V.

c counts occurrences at the highest order; below it, the distinct tokens that come before u w (the novel idea of Kneser & Ney
1995). D is 0, D1, D2 or D3 for counts of 0, 1, 2 and more, estimated at each order from n_i, how many u w have a count of i:
Y = n1 / (n1 + 2 n2), D_i = i - (i + 1) Y n_i+1 / n_i.

Shapes: W windows, L1 their tokens, T = W x L1 places, V vocabulary, G n-grams of one order, C contexts of one order.
"""

from dataclasses import dataclass

import numpy as np

FALLBACK = np.array([0.0, 0.5, 1.0, 1.5])
"""D where the counts do not allow to estimate it (few tokens, or a small vocabulary that occurs whole): those of KenLM's
`--discount_fallback`."""


@dataclass(frozen=True, eq=False)
class _Order:
    """The n-grams of one order. A context is the number of its own n-gram in the order below; 0 is the empty one."""

    key_G: np.ndarray
    """context x V + token, ascending: the number of an n-gram is its place here."""
    share_G: np.ndarray
    """(c - D(c)) / c(context)."""
    weight_C: np.ndarray
    """g; 1 for a context that nothing was counted after."""

    def find(self, key: np.ndarray) -> np.ndarray:
        """The numbers of the n-grams with these keys; -1 for those that were never seen."""
        place = np.minimum(np.searchsorted(self.key_G, key), len(self.key_G) - 1)
        return np.where(self.key_G[place] == key, place, -1)


@dataclass(frozen=True, eq=False)
class KneserNey:
    """A fitted model."""

    vocabulary: int
    orders: tuple[_Order, ...]
    """The lowest first."""

    @property
    def ngrams(self) -> int:
        """How many distinct n-grams it keeps, of all orders."""
        return sum(len(order.key_G) for order in self.orders)

    def probabilities(self, token_WxL1: np.ndarray) -> np.ndarray:
        """Of each token given those before it in its window, as many of them as the order looks at; float64 [W, L1]."""
        token_WxL1 = token_WxL1.astype(np.int64)
        p_WxL1 = np.full(token_WxL1.shape, 1 / self.vocabulary)
        context_WxL1 = np.zeros(token_WxL1.shape, np.int64)
        for order in self.orders:
            known = context_WxL1 >= 0
            found_WxL1 = np.where(known, order.find(context_WxL1 * self.vocabulary + token_WxL1), -1)
            share = np.where(found_WxL1 >= 0, order.share_G[found_WxL1], 0.0)
            p_WxL1 = share + np.where(known, order.weight_C[context_WxL1], 1.0) * p_WxL1
            context_WxL1 = _one_later(found_WxL1)
        return p_WxL1

    def next_token(self, token_L: np.ndarray) -> np.ndarray:
        """Probability of each token to follow the tokens, [V]."""
        seen = token_L[len(token_L) - min(len(token_L), len(self.orders) - 1) :]
        window_VxL1 = np.column_stack([np.tile(seen, (self.vocabulary, 1)), np.arange(self.vocabulary)])
        return self.probabilities(window_VxL1)[:, -1]


def fit(window_WxL1: np.ndarray, order: int, vocabulary: int) -> KneserNey:
    """Count the n-grams that end in the last L tokens of each window: the first one is context alone, as for a network."""
    token_WxL1 = window_WxL1.astype(np.int64)
    keys: list[np.ndarray] = []
    counts: list[np.ndarray] = []  # occurrences at the highest order, distinct predecessors below
    number_WxL1 = np.zeros(token_WxL1.shape, np.int64)
    for length in range(1, order + 1):
        context_WxL1 = np.zeros_like(number_WxL1) if length == 1 else _one_later(number_WxL1)
        ends_T = (context_WxL1 >= 0).ravel()
        key_T = (context_WxL1 * vocabulary + token_WxL1).ravel()[ends_T]
        if length == 1:  # every token has its place, whether it was seen or not
            key_G, number_T = np.arange(vocabulary), key_T
            occurrences = np.bincount(token_WxL1[:, 1:].ravel(), minlength=vocabulary)
        else:
            key_G, first_G, number_T, occurrences = np.unique(key_T, return_index=True, return_inverse=True, return_counts=True)
            shorter_G = number_WxL1.ravel()[ends_T][first_G]  # each n-gram without its first token
            counts[-1] = np.bincount(shorter_G, minlength=len(keys[-1]))
        keys.append(key_G)
        counts.append(occurrences)
        number_WxL1 = np.full(token_WxL1.shape, -1)
        number_WxL1.ravel()[ends_T] = number_T
    contexts = [1, *map(len, keys)]
    return KneserNey(vocabulary, tuple(_smoothed(*each, vocabulary) for each in zip(keys, counts, contexts[:-1], strict=True)))


def _smoothed(key_G: np.ndarray, count_G: np.ndarray, contexts: int, vocabulary: int) -> _Order:
    context_G = key_G // vocabulary
    discount_G = discounts(count_G)[np.minimum(count_G, 3)]
    total_C = np.bincount(context_G, weights=count_G, minlength=contexts)
    taken_C = np.bincount(context_G, weights=discount_G, minlength=contexts)
    counted_C = np.maximum(total_C, 1)
    share_G = (count_G - discount_G) / counted_C[context_G]
    return _Order(key_G, share_G, np.where(total_C > 0, taken_C / counted_C, 1.0))


def discounts(count_G: np.ndarray) -> np.ndarray:
    """D by count 0, 1, 2, 3 and more; `FALLBACK` where an estimate does not exist or is not above 0 and at most the count."""
    n = np.bincount(np.minimum(count_G, 5), minlength=6).astype(float)
    if not n[1:5].all():
        return FALLBACK
    i = np.arange(1, 4)
    estimate = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[2:5] / n[1:4]
    return np.append(0.0, estimate) if ((estimate > 0) & (estimate <= i)).all() else FALLBACK


def _one_later(number_WxL1: np.ndarray) -> np.ndarray:
    """The number of the n-gram that ends just before each place, -1 where its window has none."""
    later_WxL1 = np.full_like(number_WxL1, -1)
    later_WxL1[:, 1:] = number_WxL1[:, :-1]
    return later_WxL1

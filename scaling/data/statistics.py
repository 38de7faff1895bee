"""What a corpus looks like: statistics of its tokens, and samples of its text. Shapes: N tokens, V vocabulary, C documents."""

import numpy as np

from scaling.data.dataset import Dataset

_MOST = 2**25  # tokens that are counted, spread over the store
_STRETCH = 2**12
_SHOWN, _WIDTH = 12, 600


def statistics(dataset: Dataset) -> dict[str, str]:
    """Of the training tokens: how long documents are, how evenly the vocabulary is used, what is most frequent."""
    store, vocabulary = dataset.train, dataset.tokenizer.vocabulary
    length_C = np.diff(store.start_C1)
    count_V = token_counts(dataset)
    share_V = count_V / count_V.sum()
    used = share_V[share_V > 0]
    frequent = np.argsort(-count_V, kind="stable")[:_SHOWN]
    spelled = (f"{_spelled(dataset, int(token))} {share_V[token]:.1%}" for token in frequent if count_V[token])
    shortest, median, mean, longest = length_C.min(), int(np.median(length_C)), length_C.mean(), length_C.max()
    return {
        "tokens in a document": f"{shortest:,} to {longest:,}, median {median:,}, mean {mean:,.1f}",
        "vocabulary in use": f"{len(used):,} of {vocabulary:,}",
        "entropy of single tokens": f"{-(used * np.log(used)).sum():.4f} nats",
        "bytes in a token": f"{store.bytes / store.tokens:.3f}",
        "most frequent": ", ".join(spelled),
    }


def token_counts(dataset: Dataset) -> np.ndarray:
    """How often each token stands in the training split, int64 [V]; in a larger one, in stretches spread evenly over it."""
    store = dataset.train
    length = min(_STRETCH, store.tokens)
    stretches = min(_MOST, store.tokens) // length
    first_B = np.arange(stretches) * (store.tokens - length) // max(1, stretches - 1)
    count_V = np.zeros(dataset.tokenizer.vocabulary, np.int64)
    for each in np.array_split(first_B, -(-stretches // 256)):
        count_V += np.bincount(store.read(each, length).ravel(), minlength=len(count_V))
    return count_V


def beginnings(dataset: Dataset, samples: int) -> list[str]:
    """The beginnings of the first documents of the training split, as their tokens read."""
    store, texts = dataset.train, []
    for start, stop in zip(store.start_C1[:samples].tolist(), store.start_C1[1 : samples + 1].tolist(), strict=True):
        token_L = store.read(np.array([start]), min(stop - start, _WIDTH))[0]
        texts.append(dataset.tokenizer.decode(token_L)[:_WIDTH].rstrip())
    return texts


def _spelled(dataset: Dataset, token: int) -> str:
    text = dataset.tokenizer.decode(np.array([token], np.uint32))
    return repr(text) if text else f"token {token}"

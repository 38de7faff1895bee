import random

import numpy as np
import pytest
from sample_text import prose

from scaling.data.similarity import NEAR, near_duplicates, passages, sketch


def grams(text: str, length: int = 12) -> set[bytes]:
    visible = "".join(text.split()).encode()
    return {visible[start : start + length] for start in range(max(1, len(visible) - length + 1))}


def resemblance(one: str, other: str) -> float:
    return len(grams(one) & grams(other)) / len(grams(one) | grams(other))


def found(texts: list[str], order: list[int] | None = None) -> dict[int, int]:
    bands = np.stack([sketch(text) for text in texts])
    return dict(near_duplicates(np.array(order or range(len(texts))), bands, texts.__getitem__))


def degraded(text: str, lines: int, seed: int) -> str:
    chooser, all_lines = random.Random(seed), text.splitlines()
    for line in chooser.sample(range(len(all_lines)), lines):
        all_lines[line] = prose(9000 + 100 * seed + line, words=8).strip()
    return "\n".join(all_lines)


def test_what_is_found_is_what_sets_of_grams_say() -> None:
    """Pairs around the limit, each with the Jaccard index counted by hand: all above it are found but for one in fifty."""
    pairs = [(prose(seed), degraded(prose(seed), lines, seed)) for seed in range(60) for lines in (1, 2, 4, 8)]
    above = [pair for pair in pairs if resemblance(*pair) >= NEAR]
    below = [pair for pair in pairs if resemblance(*pair) < NEAR]
    assert len(above) > 50 < len(below)
    assert not any(found(list(pair)) for pair in below)
    assert sum(bool(found(list(pair))) for pair in above) >= 0.98 * len(above)


def test_the_first_of_near_duplicates_stays() -> None:
    text = prose(0)
    texts = [degraded(text, 1, 1), prose(1), text, degraded(text, 1, 2)]
    assert found(texts, [2, 0, 1, 3]) == {0: 2, 3: 2}


def test_what_is_cut_to_the_beginning_is_compared_whole() -> None:
    assert not found([prose(0), prose(0) + prose(1)])  # half of the grams
    assert found([prose(0, words=3000), prose(0, words=3000) + "one more sentence at the end"])
    assert found(["a b c", "abc"]) == {1: 0}  # white space does not count
    assert not found(["", "x"])


@pytest.mark.parametrize("text", ["", "short", "x" * 63, "x" * 64, prose(3), "é" * 40])
def test_a_passage_has_one_hash_wherever_it_stands(text: str) -> None:
    visible = "".join(text.split()).encode()
    expected = [visible[start : start + 64] for start in range(len(visible) - 63)]
    hashes = passages(text).tolist()
    assert len(hashes) == len(expected)
    by_passage = dict(zip(expected, hashes, strict=True))
    assert [by_passage[each] for each in expected] == hashes
    assert len(set(hashes)) == len(set(expected))
    moved = passages("something before it, of any length " + text).tolist()
    assert set(hashes) <= set(moved)

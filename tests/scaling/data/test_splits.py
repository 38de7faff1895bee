import sysconfig
from pathlib import Path

import numpy as np
from sample_text import prose

from scaling.data.similarity import sketch
from scaling.data.splits import near_duplicate_groups, validation_mask


def groups(texts: list[str]) -> np.ndarray:
    return near_duplicate_groups(np.stack([sketch(text) for text in texts]))


def edited(text: str) -> str:
    """The file with a licence line, one changed line and other indentation."""
    lines = text.splitlines()
    lines[len(lines) // 2] = "# this comment was changed"
    return "\r\n".join(["# Copyright (c) 2031 Somebody", *lines]).replace("    ", "\t")


def test_edited_copies_of_real_files_are_grouped_with_them() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    texts = [file.read_text(encoding="utf-8") for file in sorted(root.glob("*.py")) if file.stat().st_size > 2000]
    assert len(texts) > 100
    group = groups(texts + [edited(text) for text in texts])
    assert np.array_equal(group[: len(texts)], group[len(texts) :])


def test_different_texts_are_not_grouped() -> None:
    assert len(np.unique(groups([prose(seed) for seed in range(200)]))) == 200


def test_short_and_repetitive_texts_have_a_sketch() -> None:
    group = groups(["a", "b", "a ", "x" * 10_000, "x" * 10_001, "é"])
    assert group[0] == group[2]
    assert group[3] == group[4]
    assert len(np.unique(group)) == 4


def test_groups_are_held_out_whole_and_by_content_alone() -> None:
    # 300 texts, every third with two edited copies
    texts = [prose(seed) for seed in range(300)]
    texts += [edited(text) for text in texts[::3]] + [edited(text) + "# end" for text in texts[::3]]
    digest = np.random.default_rng(0).integers(0, 2**64, len(texts), dtype=np.uint64)
    size = np.array([len(text.encode()) for text in texts])
    band = np.stack([sketch(text) for text in texts])
    held_out = validation_mask(digest, size, band)
    assert 0.05 <= size[held_out].sum() / size.sum() < 0.0625
    assert np.array_equal(held_out[:300:3], held_out[300:400])
    assert np.array_equal(held_out[:300:3], held_out[400:])
    other_order = np.random.default_rng(1).permutation(len(texts))
    again = validation_mask(digest[other_order], size[other_order], band[other_order])
    assert np.array_equal(again, held_out[other_order])


def test_few_or_uneven_documents() -> None:
    def share(sizes: list[int]) -> float:
        band = np.stack([sketch(prose(seed)) for seed in range(len(sizes))])
        digest = np.random.default_rng(0).integers(0, 2**64, len(sizes), dtype=np.uint64)
        size = np.array(sizes)
        return float(size[validation_mask(digest, size, band)].sum() / size.sum())

    assert share([90, 10]) == 0.1
    assert share([10, 90]) == 0.1
    assert share([97, 3]) == 0.03
    assert share([50, 50]) == 0.5
    assert share([10] * 10) == 0.1
    assert share([1]) == 1  # what the caller refuses
    assert 0.05 <= share([1000] + [10] * 100) <= 0.06

"""The survey of a source: which documents are kept, in which split and order, and what they hash to.

Digest decides the order, `splits` the split where the source brings none. Taken out are documents of nothing but white space,
exact copies, training documents that nearly equal a held-out one, and, if asked for, those that nearly equal another training
document. Then the training text is searched for passages of the held-out one. Shapes: N documents of the source.
"""

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scaling.data import similarity, splits
from scaling.data.atomic import WORK, new_file, save_array
from scaling.data.documents import Documents, Source, text_of
from scaling.data.parts import Part, Workforce
from scaling.errors import ScalingError

_PASSAGES = 2**20  # of the held-out text that are looked for: enough for a share to four digits
_FEWEST, _MOST = 1024, 1024  # documents of a part, parts


@dataclass(frozen=True)
class Counts:
    """What a survey found: kept documents and their UTF-8 bytes by split, and documents that were special.

    Attributes:
        duplicates: exact copies of a kept document, dropped.
        near_held_out: training documents that nearly equal a held-out one, dropped.
        near_duplicates: training documents that nearly equal another one, dropped or kept as `data.near_duplicates` says.
        empty: documents of nothing but white space, dropped.
        invalid_utf8: documents read with U+FFFD in the place of what is not UTF-8.
        contamination: the share of the held-out text's passages of 64 bytes that are in the training text too; None where no
            held-out document is that long.
    """

    documents: dict[str, int]
    bytes: dict[str, int]
    duplicates: int
    near_held_out: int
    near_duplicates: int
    empty: int
    invalid_utf8: int
    contamination: float | None


def survey(name: str, source: Source, drop_near: bool, home: Path, workforce: Workforce) -> tuple[str, Counts]:
    """Read all documents and write the indices and sizes of the kept ones of each split to `home`.

    Returns:
        the hash, 16 hexadecimal digits, of the documents' content, in order, and of their split; and the counts.

    Raises:
        ScalingError: nothing is kept, or nothing can be held out.
    """
    documents = source.open()
    total = sum(documents.lengths)
    step = max(_FEWEST, -(-total // _MOST))
    (home / WORK).mkdir(exist_ok=True)
    stops = {start: min(start + step, total) for start in range(0, total, step)}
    parts = [
        Part(home / WORK / f"survey-{start:012d}.npz", _survey_part, (source, start, stop), stop - start)
        for start, stop in stops.items()
    ]
    workforce.make("survey of documents", parts)
    digest_Nx2, size_N, band_NxK, invalid = _merged(parts)

    brings_split = len(source.splits) > 1
    given_N = np.arange(total) >= documents.lengths[0]
    order = np.lexsort((~given_N, digest_Nx2[:, 1], digest_Nx2[:, 0]))  # of two copies the held-out one comes first
    order = order[size_N[order] > 0]
    repeated = np.zeros(len(order), bool)
    repeated[1:] = (digest_Nx2[order[1:]] == digest_Nx2[order[:-1]]).all(axis=1)
    kept = order[~repeated]
    if not len(kept):
        raise ScalingError(f"data.corpus: {name} holds no text")
    validation = given_N[kept] if brings_split else splits.validation_mask(digest_Nx2[kept, 0], size_N[kept], band_NxK[kept])
    if validation.all() or not validation.any():
        raise ScalingError(
            f"data.corpus: {name} cannot be split into train and validation: it has {len(kept)} different "
            "document(s), or all are near-identical; give more documents (a file, or a line of a .jsonl, is one)"
        )
    held_out, train = kept[validation], kept[~validation]
    near, given = _near(documents, held_out, train, band_NxK), set(held_out.tolist())
    of_held_out = [index for index, copied in near if copied in given]
    of_train = [index for index, copied in near if copied not in given]
    train = train[~np.isin(train, of_held_out + (of_train if drop_near else []))]
    if not len(train):
        raise ScalingError(f"data.corpus: every training document of {name} nearly equals a held-out one")

    hashed = hashlib.sha256()
    for split, index in (("train", train), ("validation", held_out)):
        for content, suffix in ((index, ""), (size_N[index], ".sizes")):
            save_array(home / f"{split}{suffix}.npy", content)
        hashed.update(f"{split} {len(index)} ".encode() + digest_Nx2[index].astype(">u8").tobytes())
    counts = Counts(
        documents={"train": len(train), "validation": len(held_out)},
        bytes={"train": int(size_N[train].sum()), "validation": int(size_N[held_out].sum())},
        duplicates=int(repeated.sum()),
        near_held_out=len(of_held_out),
        near_duplicates=len(of_train),
        empty=total - len(order),
        invalid_utf8=invalid,
        contamination=_contamination(source, train, held_out, size_N, home, workforce),
    )
    return hashed.hexdigest()[:16], counts


def _survey_part(path: Path, source: Source, start: int, stop: int) -> None:
    """Of the documents `start` to `stop`: digests, UTF-8 sizes, 0 of the empty ones, sketches, and how many are not UTF-8."""
    documents, length, invalid = source.open(), stop - start, 0
    digest_Nx2, size_N = np.zeros((length, 2), np.uint64), np.zeros(length, np.int64)
    band_NxK = np.zeros((length, similarity.BANDS), np.uint64)
    for place in range(length):
        raw = documents[start + place]
        text = raw.decode(errors="replace")
        if text.strip():
            content = text.encode()
            digest_Nx2[place] = np.frombuffer(hashlib.sha256(content).digest()[:16], ">u8")
            size_N[place] = len(content)
            invalid += content != raw
            band_NxK[place] = similarity.sketch(text)
    with new_file(path) as partial, partial.open("wb") as file:
        np.savez(file, digest=digest_Nx2, size=size_N, band=band_NxK, invalid=np.int64(invalid))


def _merged(parts: list[Part]) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    read = [np.load(part.path) for part in parts]
    digest_Nx2, size_N, band_NxK = (
        np.concatenate([each[name] for each in read]) if read else np.zeros(shape, np.uint64)
        for name, shape in (("digest", (0, 2)), ("size", 0), ("band", (0, similarity.BANDS)))
    )
    return digest_Nx2, size_N, band_NxK, sum(int(each["invalid"]) for each in read)


def _near(documents: Documents, held_out: np.ndarray, train: np.ndarray, band_NxK: np.ndarray) -> list[tuple[int, int]]:
    """Training documents that nearly equal a held-out one or an earlier one of theirs, each with that."""
    among = set(train.tolist())
    order = np.concatenate([held_out, train])
    found = similarity.near_duplicates(order, band_NxK, lambda index: text_of(documents, index))
    return [(index, copied) for index, copied in found if index in among]


def _contamination(
    source: Source, train: np.ndarray, held_out: np.ndarray, size_N: np.ndarray, home: Path, workforce: Workforce
) -> float | None:
    documents = source.open()
    rate = min(1.0, _PASSAGES / int(size_N[held_out].sum()))
    limit = np.uint64(min(int(rate * 2**64), 2**64 - 1))
    sampled = [_below(similarity.passages(text_of(documents, int(index))), limit) for index in held_out]
    wanted = np.unique(np.concatenate(sampled))
    if not len(wanted):
        return None
    save_array(home / WORK / "passages.npy", wanted)
    step = max(_FEWEST, -(-len(train) // _MOST))
    parts = [
        Part(
            home / WORK / f"passages-{start:012d}.npy",
            _passages_part,
            (source, home, start, start + step, limit),
            min(step, len(train) - start),
        )
        for start in range(0, len(train), step)
    ]
    workforce.make("search for held-out passages", parts)
    found = functools.reduce(np.union1d, (np.load(part.path) for part in parts))
    return len(found) / len(wanted)


def _passages_part(path: Path, source: Source, home: Path, start: int, stop: int, limit: np.uint64) -> None:
    """The held-out passages that stand in the training documents `start` to `stop`."""
    documents, wanted = source.open(), np.load(home / WORK / "passages.npy")
    found = np.zeros(len(wanted), bool)
    for index in np.load(home / "train.npy")[start:stop]:
        sampled = _below(similarity.passages(text_of(documents, int(index))), limit)
        place = np.minimum(np.searchsorted(wanted, sampled), len(wanted) - 1)
        found[place[wanted[place] == sampled]] = True
    save_array(path, wanted[found])


def _below(hash_G: np.ndarray, limit: np.uint64) -> np.ndarray:
    return hash_G[hash_G <= limit]

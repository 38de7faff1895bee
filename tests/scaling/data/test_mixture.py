import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_text import prose

from scaling.config import RunConfig, build, override
from scaling.data.configuration import DataConfig
from scaling.data.dataset import Mixture
from scaling.data.prepare import prepare
from scaling.errors import ScalingError
from scaling.specification import specify


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    for name, first in (("prose", 0), ("notes", 1000), ("unseen", 2000)):
        (tmp_path / name).mkdir()
        for number in range(40):
            (tmp_path / name / f"{number}.txt").write_text(prose(first + number))
    sources = {
        "prose": {"corpus": f"files:{tmp_path}/prose", "weight": 3},
        "notes": {"corpus": f"files:{tmp_path}/notes", "weight": 1},
        "unseen": {"corpus": f"files:{tmp_path}/unseen", "weight": 0},
    }
    return {"mixture": sources, "sequence_length": 32, "validation_tokens": 256}


def prepared(fields: dict[str, Any], directory: Path) -> Mixture:
    mixture = prepare(build(DataConfig, fields), directory / "data")
    assert isinstance(mixture, Mixture)
    return mixture


def test_a_mixture_is_its_corpora(fields: dict[str, Any], tmp_path: Path) -> None:
    mixture = prepared(fields, tmp_path)
    assert list(mixture.sources) == ["prose", "notes", "unseen"]
    for name, source in mixture.sources.items():
        alone = prepare(
            DataConfig(corpus=f"files:{tmp_path}/{name}", sequence_length=32, validation_tokens=256), tmp_path / "data"
        )
        assert source.corpus.hash == alone.corpus.hash
        assert np.array_equal(source.held_out.window_WxL1, alone.held_out.window_WxL1)
    assert "source prose, 75.0% of the tokens:" in mixture.report


def test_the_loss_is_the_mean_of_the_sources_by_their_shares(fields: dict[str, Any], tmp_path: Path) -> None:
    held_out = prepared(fields, tmp_path).held_out
    assert held_out.mean({"prose": 2.0, "notes": 4.0, "unseen": 100.0}) == pytest.approx(0.75 * 2 + 0.25 * 4)
    parts = {name: part.bytes / part.tokens for name, part in held_out.parts.items()}
    assert held_out.bytes_per_token == pytest.approx(0.75 * parts["prose"] + 0.25 * parts["notes"])
    assert held_out.tokens == 3 * 256


def test_weights_and_texts_are_in_the_identity_and_names_are_not(fields: dict[str, Any], tmp_path: Path) -> None:
    def of(*changes: str) -> str:
        return prepared(override(fields, changes), tmp_path).corpus.hash

    first = of()
    assert of() == first
    assert of("mixture.prose.weight=6", "mixture.notes.weight=2") == first
    assert of("mixture.prose.weight=4") != first
    assert of(f"mixture.notes.corpus=files:{tmp_path}/notes/1*") != first
    renamed = {**fields, "mixture": {name.upper(): source for name, source in reversed(fields["mixture"].items())}}
    assert prepared(renamed, tmp_path).corpus.hash == first


def test_the_tokenizer_is_trained_on_all_sources(fields: dict[str, Any], tmp_path: Path) -> None:
    bpe = {**fields, "tokenizer": {"kind": "bpe", "vocabulary": 300}}
    mixture = prepared(bpe, tmp_path)
    hashes = {source.tokenizer.hash for source in mixture.sources.values()}
    alone = {
        prepare(build(DataConfig, {**bpe, "mixture": None, "corpus": source["corpus"]}), tmp_path / "data").tokenizer.hash
        for source in fields["mixture"].values()
    }
    assert len(hashes) == 1
    assert not hashes & alone
    assert prepared(bpe, tmp_path).tokenizer.hash in hashes


def test_a_run_on_a_mixture(fields: dict[str, Any], tmp_path: Path) -> None:
    run = {
        "model": {"width": 16, "layers": 1, "heads": 2},
        "data": fields,
        "training": {"tokens": 128 * 64, "batch_tokens": 128, "unique_tokens": 128 * 16},
        "optimizer": {"learning_rate": 1e-3},
    }
    config = build(RunConfig, run)
    mixture = prepared(fields, tmp_path)
    specification = specify(config, mixture)
    assert specification.facts["unique_tokens"] == 128 * 16
    assert specification.facts["epochs"] == 4.0
    assert build(RunConfig, json.loads(json.dumps(specification.record()["config"]))) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["corpus=files:x"], "corpus: with a mixture this stands in each of its sources"),
        (["mixture.notes.wieght=1"], "data.*wieght|mixture.notes.wieght"),
        (["mixture.notes.corpus=dyck"], "the source notes of the mixture is a world"),
        (["mixture.prose.weight=0", "mixture.notes.weight=0"], "weights of the mixture are all 0"),
        (["mixture={one: {corpus: stdlib, weight: 1}}"], "at least 2"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], changes: list[str], message: str) -> None:
    if "mixture={" in changes[0]:
        fields = {}
    with pytest.raises(ScalingError, match=message):
        build(DataConfig, override(fields, changes))


def test_the_same_text_twice_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match=r"the sources prose and notes of data.mixture are the same text"):
        prepared(override(fields, [f"mixture.notes.corpus=files:{tmp_path}/prose/*.txt"]), tmp_path)


def test_a_missing_source_is_no_partial_mixture(fields: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ScalingError, match="no files match"):
        prepared(override(fields, ["mixture.notes.corpus=files:nowhere/*"]), tmp_path)

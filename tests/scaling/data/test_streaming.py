"""Training on text that is tokenised as it is read: which documents are in which row, whatever the hosts and the first step."""

from pathlib import Path

import numpy as np
import pytest
from sample_text import prose
from test_arrow import saved
from test_prepared import sample

from scaling.config import RunConfig, build, override
from scaling.data.blocks import Blocks, Lengths, StreamedBatches
from scaling.data.configuration import DataConfig
from scaling.data.prepare import prepare
from scaling.data.streaming import Streamed
from scaling.errors import ScalingError
from scaling.families import build_run
from scaling.specification import specify

LENGTH, BATCH = 32, 4
SEQUENCES = 5000 // LENGTH
END = 255


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three or four documents each, and `SEQUENCES` of them."""
    monkeypatch.setattr("scaling.data.blocks.BLOCK_TOKENS", 5000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighty training documents prepared by TFDS, and five held out."""
    return sample(tmp_path_factory.mktemp("tfds"), train=80, validation=5)


def config(place: Path, *changes: str) -> RunConfig:
    fields = {
        "model": {"width": 16, "layers": 1, "heads": 2},
        "data": {"corpus": f"tfds:{place}", "streaming": True, "sequence_length": LENGTH, "validation_tokens": 256},
        "training": {"tokens": 20 * BATCH * LENGTH, "batch_tokens": BATCH * LENGTH},
        "optimizer": {"learning_rate": 1e-3},
    }
    return build(RunConfig, override(fields, changes))


def streamed(place: Path, directory: Path, *changes: str) -> tuple[Streamed, StreamedBatches]:
    run = config(place, *changes)
    dataset = prepare(run.data, directory)
    assert isinstance(dataset, Streamed)
    return dataset, dataset.batches(run)


def test_a_row_reads_whole_documents_one_after_the_other_and_no_document_twice(place: Path, tmp_path: Path) -> None:
    _, batches = streamed(place, tmp_path)
    known, seen = {prose(number) for number in range(80)}, []
    for turn in range(3):
        steps = np.stack([batches.at(step) for step in range(SEQUENCES * turn, SEQUENCES * (turn + 1))])  # [M, B, L + 1]
        assert np.array_equal(steps[1:, :, 0], steps[:-1, :, -1])  # the last target is the next first input
        for row in steps.swapaxes(0, 1):
            stream = np.append(row[:, :-1].ravel(), row[-1, -1]).astype(np.uint8)
            *whole, cut = stream.tobytes().split(bytes([END]))
            texts = [part.decode() for part in whole]
            assert set(texts) <= known
            assert any(text.encode().startswith(cut) for text in known)
            seen += texts
    assert len(seen) == len(set(seen)) >= 3 * 3 * BATCH


def test_batches_depend_on_the_step_alone(place: Path, tmp_path: Path) -> None:
    """Whichever rows a host asks for, and wherever it begins."""
    _, batches = streamed(place, tmp_path)
    expected = {step: batches.at(step) for step in (0, 1, SEQUENCES - 1, SEQUENCES, SEQUENCES + 1, 2 * SEQUENCES + 7)}
    assert len({batch.tobytes() for batch in expected.values()}) == 6
    for hosts in (1, 2, 4):
        bounds = [(BATCH // hosts * host, BATCH // hosts * (host + 1)) for host in range(hosts)]
        for begin in (0, 1, SEQUENCES, 2 * SEQUENCES + 7):
            _, fresh = streamed(place, tmp_path)
            for step in (step for step in expected if step >= begin):
                parts = [fresh.rows(step, start, stop) for start, stop in bounds]
                assert np.array_equal(np.concatenate(parts), expected[step])
    _, back = streamed(place, tmp_path)
    assert all(np.array_equal(back.at(step), expected[step]) for step in (SEQUENCES + 1, 0, SEQUENCES))


def test_the_order_is_the_seeds(place: Path, tmp_path: Path) -> None:
    first, again, other = (streamed(place, tmp_path, f"seed={seed}")[1].at(0) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_separate_documents_are_marked_where_the_one_before_ended(place: Path, tmp_path: Path) -> None:
    _, joined = streamed(place, tmp_path)
    _, separate = streamed(place, tmp_path, "data.documents=separate")
    for step in (0, 40, SEQUENCES - 1, SEQUENCES):
        plain, marked = joined.at(step), separate.at(step)
        begins = plain == END
        begins[:, 0] |= step % SEQUENCES == 0
        assert np.array_equal(marked < 0, begins)
        assert np.array_equal(np.where(marked < 0, ~marked, marked), plain)


def test_what_is_held_out_or_empty_is_left_out(tmp_path: Path) -> None:
    held_out = [prose(1000 + number) for number in range(5)]
    train = [prose(number) for number in range(40)] + held_out + ["", " \n"] * 5
    saved(tmp_path / "set" / "train", train)
    saved(tmp_path / "set" / "validation", [*held_out, held_out[0], ""])
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    run = config(tmp_path, f"data.corpus=hf:{tmp_path / 'set'}", "data.validation_tokens=4096")
    dataset = prepare(run.data, tmp_path / "data")
    assert isinstance(dataset, Streamed)
    (store,) = (tmp_path / "data").rglob("validation-00000.bin")
    content = store.read_bytes()
    *but_last, last, _ = content.split(bytes([END]))
    assert len(content) > 4096 >= len(content) - len(last) - 1  # as many as are needed
    kept = {text.decode() for text in (*but_last, last)}
    assert len(dataset.held_out_documents) == len(but_last) + 1 == len(kept)
    assert kept < set(held_out)
    tokens_of = dataset.tokens_of()
    left_out = {text for number, text in enumerate(train) if not len(tokens_of(number))}
    assert left_out == kept | {"", " \n"}


def test_a_block_has_as_many_documents_as_fill_it_with_three_standard_deviations_to_spare() -> None:
    for mean, deviation, tokens in ((500.0, 900.0, 2**16), (5.0, 0.0, 100), (3000.0, 10_000.0, 2**16)):
        lengths = Lengths(mean, deviation)
        needed = lengths.documents_of(tokens)
        spare = [count * mean - 3 * np.sqrt(count) * deviation - tokens for count in (needed - 1, needed)]
        assert spare[0] < 0 <= spare[1]


def test_unread_text_is_what_the_blocks_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Documents of one length, known exactly: 2001 tokens need 21 of them, which is 4 blocks in 99."""
    monkeypatch.setattr("scaling.data.blocks.BLOCK_TOKENS", 2000)
    blocks = Blocks(lambda number: np.full(100, number, np.uint32), 99, Lengths(100.0, 0.0), 40, seed=0)
    assert (len(blocks), blocks.sequences, blocks.tokens) == (4, 50, 2000)
    assert blocks.unread == pytest.approx(1 - 4 * 2000 / 9900)
    documents = [set(blocks[number].tolist()) for number in range(4)]
    assert len(set.union(*documents)) == sum(map(len, documents)) == 4 * 21


def test_a_block_whose_documents_are_too_few_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scaling.data.blocks.BLOCK_TOKENS", 2000)
    blocks = Blocks(lambda number: np.full(50, number, np.uint32), 99, Lengths(100.0, 0.0), 40, seed=0)
    block = blocks[0]
    assert block.shape == (2001,)
    assert np.array_equal(block[: 2001 - 21 * 50], block[21 * 50 :])
    empty = Blocks(lambda number: np.empty(0, np.uint32), 99, Lengths(100.0, 0.0), 40, seed=0)
    with pytest.raises(ScalingError, match="hold no text"):
        empty[0]


def test_the_name_of_a_corpus_is_of_its_documents_and_is_part_of_what_a_run_is(place: Path, tmp_path: Path) -> None:
    moved = sample(tmp_path / "elsewhere", train=80, validation=5)
    smaller = sample(tmp_path / "smaller", train=79, validation=5)
    hashes = [streamed(each, tmp_path / "data")[0].corpus.hash for each in (place, moved, smaller)]
    assert hashes[0] == hashes[1] != hashes[2]
    runs = [config(place, f"data.streaming={value}") for value in ("true", "false")]
    found = [specify(run, prepare(run.data, tmp_path / "data")) for run in runs]
    assert found[0].run_id != found[1].run_id
    assert found[0].identity["data"]["streaming"] is True
    assert "streaming" not in found[1].identity["data"]
    assert 0 < found[0].facts["dropped_bytes"] < 1
    assert found[0].facts["unique_tokens"] == found[0].facts["tokens"]


def test_more_than_one_pass_is_refused(place: Path, tmp_path: Path) -> None:
    _, batches = streamed(place, tmp_path)
    blocks = len(batches._blocks)
    most = blocks // BATCH * BATCH * SEQUENCES * LENGTH
    batches.check_budget(most, 1.0)
    with pytest.raises(ScalingError, match=rf"reads each document once at most, which is enough for {most} tokens"):
        batches.check_budget(most + BATCH * LENGTH, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.corpus=stdlib"], r"data.streaming is for tfds: and hf:.*not for stdlib"),
        (["data.corpus=files:texts"], r"data.streaming is for tfds: and hf:.*not for files:texts"),
        (["data.corpus=dyck:pairs=16"], r"data.streaming is for tfds: and hf:"),
        (["data.near_duplicates=drop"], r"data.streaming looks for no duplicates"),
        (["data.max_epochs=2"], r"data.streaming reads each document once at most; data.max_epochs is 2"),
        (["training.unique_tokens=1000"], r"training.unique_tokens needs a corpus that is tokenised first"),
    ],
)
def test_what_cannot_be_streamed_is_refused(changes: list[str], message: str) -> None:
    with pytest.raises(ScalingError, match=message):
        config(Path("somewhere"), *changes)


def test_mixtures_and_ngrams_are_refused() -> None:
    mixture = {name: {"corpus": f"tfds:{name}", "weight": 1} for name in ("one", "other")}
    with pytest.raises(ScalingError, match=r"data.streaming reads one corpus"):
        build(DataConfig, {"mixture": mixture, "streaming": True})
    fields = {"model": {"family": "ngram", "order": 2}, "data": {"corpus": "tfds:one", "streaming": True}}
    with pytest.raises(ScalingError, match=r"model.family ngram counts what is tokenised"):
        build_run({**fields, "training": {"tokens": 1000}})


def test_a_corpus_without_a_held_out_split_or_too_small_is_refused(tmp_path: Path) -> None:
    alone = sample(tmp_path / "alone", train=3)
    with pytest.raises(ScalingError, match=r"needs a held-out split.*has train alone.*train_split train\[1%:\]"):
        streamed(alone, tmp_path)
    with pytest.raises(ScalingError, match=r"for a block of 4,992 tokens, and there are 1: .*leave data.streaming out"):
        streamed(alone, tmp_path, "data.train_split=train[:1]", "data.validation_split=train[1:]")


def test_a_damaged_corpus_is_refused(tmp_path: Path) -> None:
    place = sample(tmp_path / "tfds", train=20, validation=5)
    shard = next(place.glob("*train*"))
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(ScalingError, match=r"damaged: its train split holds 0 of 20"):
        streamed(place, tmp_path)

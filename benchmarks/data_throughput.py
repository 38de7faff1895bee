"""How long the standard library takes to prepare and to find again; how fast batches come out of its stores, and of one of 10^9
tokens, in how much memory; whether Grain's prefetch over a store is faster, and how fast text is tokenised as it is read.

python benchmarks/data_throughput.py [tokens]
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from scaling.data.batches import Batches, MixedBatches
from scaling.data.blocks import Blocks, Lengths, StreamedBatches
from scaling.data.configuration import DataConfig, TokenizerConfig
from scaling.data.dataset import Dataset
from scaling.data.prepare import prepare
from scaling.data.store import open_store, shard_path, write_index, write_shard
from scaling.data.streaming import TokensOf
from scaling.data.tokenizers import SymbolTokenizer

STEPS = 500
SHARDS, DOCUMENT = 8, 2000
VOCABULARY = SymbolTokenizer([str(token) for token in range(50_257)])


def main() -> None:
    if len(sys.argv) == 3:
        return read_large(Path(sys.argv[1]))
    tokens = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10**9
    with tempfile.TemporaryDirectory() as directory:
        for tokenizer in (TokenizerConfig(), TokenizerConfig(kind="bpe", vocabulary=4096)):
            data = DataConfig(tokenizer=tokenizer)
            for attempt in ("prepared", "found again"):
                started = time.perf_counter()
                dataset = prepare(data, directory)
                print(f"{tokenizer.kind} {tokenizer.vocabulary}: {attempt} in {time.perf_counter() - started:.2f} s")
            print("\n".join(dataset.report))
            for batch_size, length in ((32, 128), (64, 256), (16, 1024)):
                measure(Batches(dataset.train, length, batch_size, seed=0), batch_size, length)
            measure_grain(dataset)
            measure_stream(dataset)
        large = Path(directory) / "large"
        write_large(large, tokens)
        subprocess.run([sys.executable, __file__, large, "read"], check=True)
    return None


def measure(batches: Batches | MixedBatches | StreamedBatches, batch_size: int, length: int, what: str = "") -> None:
    measure_each(lambda step: batches.rows(step, 0, batch_size), batch_size, length, what)


def measure_each(batch: Callable[[int], np.ndarray], batch_size: int, length: int, what: str) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    for step in range(STEPS):
        batch(step)
    wall, cpu = ((now - then) / STEPS for now, then in ((time.perf_counter(), wall), (time.process_time(), cpu)))
    tokens = batch_size * length / 1e6
    print(f"{what}batches of {batch_size} x {length}: {tokens / wall:.2f} M tokens/s, {tokens / cpu:.2f} M in a CPU second")


def measure_grain(dataset: Dataset, batch_size: int = 64, length: int = 256) -> None:
    """The same sequences by `grain.MapDataset`, read one by one and put together, and in whole batches."""
    import grain

    batches = Batches(dataset.train, length, batch_size, seed=0)
    one_by_one = grain.MapDataset.range(STEPS * batch_size).map(lambda number: batches.sequences(np.array([number]))[0])
    whole = grain.MapDataset.range(STEPS).map(batches.at)
    for what, places in (("sequences", one_by_one.batch(batch_size)), ("batches", whole)):
        for threads in (0, 4):
            ahead = iter(places.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=8 * threads)))
            measure_each(lambda _, ahead=ahead: next(ahead), batch_size, length, f"Grain, {what}, {threads} threads: ")


def measure_stream(dataset: Dataset, batch_size: int = 64, length: int = 256) -> None:
    """The same text, tokenised as it is read; over and over, since a pass is short."""
    source, train = dataset.corpus.source, np.load(dataset.corpus.home / "train.npy")
    length_C = np.diff(dataset.train.start_C1)
    tokens_of = TokensOf(source.open(), dataset.tokenizer, frozenset())
    lengths = Lengths(float(length_C.mean()), float(length_C.std()))
    count = 100 * len(train)
    blocks = Blocks(lambda number: tokens_of(int(train[number % len(train)])), count, lengths, length, seed=0)
    print(f"streamed: {blocks.unread:.0%} of a pass unread")
    measure(StreamedBatches(blocks, length, batch_size), batch_size, length, "streamed: ")


def write_large(directory: Path, tokens: int) -> None:
    """Random tokens in documents of one length."""
    directory.mkdir()
    random = np.random.default_rng(0)
    for shard in range(SHARDS):
        documents = (random.integers(50_256, size=DOCUMENT, dtype=np.uint16) for _ in range(tokens // SHARDS // DOCUMENT))
        write_shard(shard_path(directory, "train", shard), ((token_L, 4 * DOCUMENT) for token_L in documents), VOCABULARY)
    write_index(directory, "train", SHARDS, VOCABULARY)


def read_large(directory: Path) -> None:
    """In a process of its own, whose memory is looked at."""
    started = time.perf_counter()
    store = open_store(directory, "train", VOCABULARY)
    print(
        f"{store.tokens / 1e9:.2f}e9 tokens in {store.documents:,} documents: opened in {time.perf_counter() - started:.3f} s"
    )
    for batch_size, length in ((64, 256), (64, 1024)):
        measure(Batches(store, length, batch_size, 0), batch_size, length)
        measure(Batches(store, length, batch_size, 0, separate=True), batch_size, length, "separate documents: ")
        mixed = MixedBatches({"one": store, "other": store}, {"one": 3, "other": 1}, length, batch_size, 0)
        measure(mixed, batch_size, length, "mixture of two: ")
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(", ".join(f"{name} {int(status[name].split()[0]) / 1024:.0f} MB" for name in ("VmHWM", "RssAnon", "RssFile")))


if __name__ == "__main__":
    main()

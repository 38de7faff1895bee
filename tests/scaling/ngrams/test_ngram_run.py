"""A run of an n-gram model leaves the record of any run, beside networks in one sweep."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from scaling.config import RunConfig
from scaling.data.prepare import prepare
from scaling.data.worlds import parse
from scaling.errors import Exit, ScalingError
from scaling.families import build_run, open_sampler, trainer
from scaling.models.sampling import Rule
from scaling.ngrams.config import NgramRun
from scaling.ngrams.train import count
from scaling.preflight.programs import distinct
from scaling.record import RunDirectory
from scaling.specification import specify
from scaling.sweeps.grid import read_sweep
from scaling.sweeps.plan import make_plan
from scaling.sweeps.stored import create_runs, read_plan, write_plan

FIELDS = {
    "model": {"family": "ngram", "order": 2},
    "data": {"corpus": "zipf-markov:words=16", "sequence_length": 32, "validation_tokens": 32_000, "world_tokens": 400_000},
    "training": {"tokens": 320_000},
    "execution": {"evaluations": 4},
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def configured(cache: Path, **sections: object) -> dict:
    return {**FIELDS, **sections, "execution": {**FIELDS["execution"], "cache_directory": str(cache)}}


def counted(cache: Path, path: Path, stop_after: int = 99, **sections: object) -> Exit:
    """An attempt that is asked to stop after so many models."""
    config = build_run(configured(cache, **sections))
    dataset = prepare(config.data, config.execution.data_directory)
    specification, directory = specify(config, dataset), RunDirectory(path)
    directory.create(specification.record())
    asked = itertools.count()
    return trainer(config)(directory, specification, dataset, 1, lambda: next(asked) >= stop_after)


def test_counts_find_the_entropy_of_a_chain_of_their_order(cache: Path, tmp_path: Path) -> None:
    """A chain of order 1 is a bigram model: with enough tokens its loss is the chain's entropy, and a unigram's is not."""
    entropy = parse("zipf-markov", "words=16").entropy
    assert counted(cache, tmp_path / "two") is Exit.DONE
    assert counted(cache, tmp_path / "one", model={"family": "ngram", "order": 1}) is Exit.DONE
    rows = RunDirectory(tmp_path / "two").rows()
    assert [row["tokens"] for row in rows] == [40_000, 80_000, 160_000, 320_000]
    losses = [row["loss"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    facts = json.loads((tmp_path / "two/run.json").read_text())["facts"]
    # about one nat per two tokens for each of the 16 x 15 free probabilities (Wilks) above the source on the same tokens; the
    # logarithm of two so near probabilities has a variance of twice their divergence
    divergence = 240 / 2 / 320_000
    assert losses[-1] - facts["source_loss"] == pytest.approx(divergence, abs=4 * np.sqrt(2 * divergence / 32_000))
    assert facts["source_loss"] == pytest.approx(entropy, abs=4 * 0.9 / np.sqrt(32_000))
    assert RunDirectory(tmp_path / "one").rows()[-1]["loss"] > entropy + 0.3
    assert (facts["baseline"], facts["parameters"], facts["flops"], facts["entropy"]) == ("2-gram", None, 0.0, entropy)
    status = RunDirectory(tmp_path / "two").status
    assert (status["state"], status["step"], status["loss"]) == ("done", 10_000, losses[-1])


def test_a_stopped_run_goes_on_with_the_rows_that_are_missing(cache: Path, tmp_path: Path) -> None:
    assert counted(cache, tmp_path / "whole") is Exit.DONE
    assert counted(cache, tmp_path / "run", stop_after=2) is Exit.SAVED
    directory = RunDirectory(tmp_path / "run")
    assert (directory.status["state"], len(directory.rows())) == ("saved", 2)
    with directory.curve_path.open("a") as file:
        file.write('{"step": 5000, "tok')  # torn by a kill
    assert counted(cache, tmp_path / "run") is Exit.DONE
    kept = [{name: value for name, value in row.items() if name != "seconds"} for row in directory.rows()]
    whole = [
        {name: value for name, value in row.items() if name != "seconds"} for row in RunDirectory(tmp_path / "whole").rows()
    ]
    assert kept == whole


def test_what_only_networks_have_is_not_part_of_a_count(cache: Path) -> None:
    """The base of a sweep may speak of both; a field that neither has is refused."""
    both = configured(
        cache,
        model={"width": 64, "layers": 2, **FIELDS["model"]},
        training={"tokens": "320k", "batch_tokens": 512},
        optimizer={"learning_rate": 1e-3},
        schedule={"warmup_tokens": "1k"},
    )
    assert build_run(both) == build_run(configured(cache))
    assert isinstance(build_run(both), NgramRun)
    assert isinstance(build_run({**both, "model": {"width": 64, "layers": 2, "heads": 2}}), RunConfig)
    for wrong, message in (
        ({"optimiser": {}}, "optimiser: unknown field"),
        ({"model": {"family": "ngram", "order": 9}}, "model.order"),
        ({"model": {"family": "ngram", "ordr": 2}}, "did you mean model.order"),
        ({"training": {"tokens": 31}}, "less than data.sequence_length 32"),
        ({"data": {"documents": "separate"}}, "model.family ngram needs data.documents joined"),
    ):
        with pytest.raises(ScalingError, match=message):
            build_run({**configured(cache), **wrong})


def test_networks_and_counts_are_cells_of_one_plan(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text(
        json.dumps(
            {
                "name": "both",
                "base": {
                    **{name: section for name, section in configured(cache).items() if name != "model"},
                    "training": {"tokens": 64_000, "batch_tokens": 640},
                    "optimizer": {"learning_rate": 1e-3},
                },
                "axes": {"model": [{"width": 16, "layers": 1, "heads": 1}, {"family": "ngram", "order": 3}]},
            }
        )
    )
    plan = make_plan(read_sweep(tmp_path / "both.yaml"))
    network, counts = plan.cells
    assert network.specification.facts["parameters"] > 0
    assert counts.specification.facts["baseline"] == "3-gram"
    assert network.specification.facts["tokens"] == counts.specification.facts["tokens"] == 64_000
    write_plan(tmp_path / "runs", plan.record())
    stored = read_plan(tmp_path / "runs")
    create_runs(tmp_path / "runs", stored)
    assert [(cell["memory"] > 0, cell["trunk"]) for cell in stored["cells"]] == [(True, None), (False, None)]
    assert [program.run for program in distinct(plan.cells)] == [network.specification.run_id]
    assert "optimizer" not in counts.specification.identity
    with pytest.raises(ScalingError, match="a budget is for networks"):
        make_plan(read_sweep(tmp_path / "both.yaml", ["axes.budget=[1e9]"]))


def test_unique_tokens_are_counted_again(cache: Path) -> None:
    """Sequences of the second epoch are those of the first: every count of n-grams doubles, and no new ones come."""
    once = build_run(configured(cache, training={"tokens": 3200}))
    twice = build_run(configured(cache, training={"tokens": 6400, "unique_tokens": 3200}))
    assert isinstance(once, NgramRun)
    assert isinstance(twice, NgramRun)
    dataset = prepare(once.data, once.execution.data_directory)
    rows = [dataset.batches(each).rows(0, 0, each.steps) for each in (once, twice)]
    assert sorted(map(tuple, rows[1])) == sorted([*map(tuple, rows[0])] * 2)
    assert count(once, dataset, once.steps).ngrams == count(twice, dataset, twice.steps).ngrams
    facts = [specify(each, dataset).facts for each in (once, twice)]
    assert [(each["unique_tokens"], each["epochs"]) for each in facts] == [(3200, 1.0), (3200, 2.0)]


def test_text_is_sampled_from_the_counts(cache: Path, tmp_path: Path) -> None:
    """Tokens come as often as the chain's transition probabilities say, temperature 0 gives the most probable one."""
    assert counted(cache, tmp_path / "run") is Exit.DONE
    sampler, tokenizer = open_sampler(tmp_path / "run")
    world = parse("zipf-markov", "words=16")
    logits_V, past = sampler.read("7", tokenizer)
    expected = np.zeros(16)
    expected[world.successor_VxV[7]] = np.arange(1, 17) ** -1.2 / (np.arange(1, 17) ** -1.2).sum()
    np.testing.assert_allclose(np.exp(logits_V), expected, atol=0.015)  # of about 20,000 occurrences of the word
    greedy = list(sampler.generate(logits_V, past, 5, Rule(temperature=0), seed=0))
    followed = [7, *greedy]
    assert [world.successor_VxV[word][0] for word in followed[:-1]] == greedy
    with pytest.raises(ScalingError, match="with 40 more it is longer than a training sequence of 32"):
        list(sampler.generate(logits_V, past, 40, Rule(), seed=0))

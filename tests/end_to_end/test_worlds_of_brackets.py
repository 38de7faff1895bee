"""A network and an n-gram model on a world of brackets, from the sweep to the figures, by the installed command."""

import json

import pytest
import yaml

from scaling.errors import Exit


@pytest.fixture(scope="module")
def lab(make_lab):
    lab = make_lab("brackets")
    sweep = {
        "name": "both",
        "base": {
            "data": {
                "corpus": "dyck:pairs=4,kinds=2",
                "sequence_length": 16,
                "validation_tokens": 4000,
                "world_tokens": 100_000,
            },
            "training": {"tokens": 20_480, "batch_tokens": 512},
            "optimizer": {"learning_rate": 5e-3},
            "execution": {"evaluations": 2, "cache_directory": str(lab.cache)},
        },
        "axes": {"model": [{"width": 16, "layers": 1, "heads": 2}, {"family": "ngram", "order": 3}]},
    }
    (lab.path / "both.yaml").write_text(yaml.safe_dump(sweep))
    lab("sweep", "both.yaml")
    return lab


def cells(lab):
    """The network's cell and the n-gram model's."""
    plan = json.loads((lab.path / "runs/both/plan.json").read_text())
    return sorted(plan["cells"], key=lambda cell: cell["parameters"] is None)


def test_both_kinds_of_run_are_done_and_drawn_together(lab):
    _, counted = cells(lab)
    rows = [json.loads(line) for line in (lab.path / "runs/both" / counted["run_id"] / "curve.jsonl").read_text().splitlines()]
    assert [row["tokens"] for row in rows] == [10_240, 20_480]
    shown = lab("status", "runs/both").stdout
    assert shown.count("done") >= 2
    lab("plot", "runs/both")
    assert (lab.path / "runs/both/figures/baselines.png").stat().st_size > 10_000


def test_brackets_are_sampled_from_counts_and_never_exported(lab):
    _, counted = cells(lab)
    path = f"runs/both/{counted['run_id']}"
    text = lab("sample", path, "--prompt", "([", "--temperature", "0", "--tokens", "6").stdout.strip()
    assert text.startswith("([")
    assert len(text) == 8
    assert set(text) <= set("()[]")
    assert lab("sample", path, "--prompt", "([", "--temperature", "0", "--tokens", "6", "--seed", "5").stdout.strip() == text
    refused = lab("export", path, "weights", check=False)
    assert refused.returncode == Exit.USAGE
    assert "a 3-gram model, which has no weights" in refused.stderr


def test_networks_are_judged_by_the_grammar(lab):
    network, counted = cells(lab)
    shown = lab("parentheses", "runs/both", "--documents", "50").stdout
    assert network["run_id"] in shown
    assert counted["run_id"] not in shown
    (judged,) = json.loads((lab.path / "runs/both/parentheses.json").read_text())
    assert (judged["run"], judged["blocks"], judged["examples"]) == (network["run_id"], 1, 20_480 // 8)
    assert 0 <= judged["illegal"] <= 1
    assert (lab.path / "runs/both/figures/parentheses.svg").is_file()
    refused = lab("parentheses", f"runs/both/{counted['run_id']}", check=False)
    assert refused.returncode == Exit.USAGE
    assert "no finished run of a network on dyck or brackets" in refused.stderr

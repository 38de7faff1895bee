"""`scaling sample` and `scaling export` on a run that the command itself trained, against its weights read here."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from scaling.errors import Exit
from scaling.models import interchange
from scaling.training.trained import load_trained

PROMPT = "def "


@pytest.fixture(scope="module")
def run(make_lab):
    """A run of 40 steps, a GPT-2 whose context is 64 bytes."""
    lab = make_lab("trained")
    lab("train", lab.run_file(model={"family": "gpt2"}))
    (path,) = lab.path.glob("runs/run/*")
    return lab, path


@pytest.fixture(scope="module")
def logits(run):
    """(text) -> the logits [V] of the byte after it, by the full forward pass."""
    model = load_trained(run[1]).transformer()
    forward = jax.jit(lambda tokens: model(tokens))

    def after(text):
        padded = text.encode().ljust(64, b" ")  # attention is causal: what follows changes nothing
        return np.asarray(forward(np.frombuffer(padded, np.uint8)[None].astype(np.int32)))[0, len(text.encode()) - 1]

    return after


def _sample(run, *options):
    lab, path = run
    return lab("sample", str(path), "--prompt", PROMPT, *options).stdout


def _text(output, tokens):
    """The generated text: what follows the prompt, as many bytes as were asked for."""
    assert output.startswith(PROMPT)
    assert output.endswith("\n")
    text = output[len(PROMPT) : -1]
    assert len(text.encode()) <= tokens  # fewer where the document ended or a byte was no whole character
    return text


def _probabilities(logits):
    p = np.exp(logits.astype(float) - logits.max())
    return p / p.sum()


def test_temperature_0_is_the_argmax_chain_whatever_the_seed_and_top_prints_the_probabilities(run, logits):
    greedy = _sample(run, "--temperature", "0", "--tokens", "12", "--seed", "1")
    expected = ""
    for _ in range(12):
        expected += chr(int(np.argmax(logits(PROMPT + expected))))
    assert _text(greedy, 12) == expected

    other_seed = _sample(run, "--temperature", "0", "--tokens", "12", "--seed", "2", "--top", "5")
    assert other_seed.startswith(greedy)
    lines = other_seed[len(greedy) :].splitlines()
    assert max(map(len, lines)) <= 80
    table = [line.rsplit(maxsplit=2) for line in lines[-5:]]
    p = _probabilities(logits(PROMPT))
    order = np.argsort(-p)[:5]
    assert [int(number) for _, number, _ in table] == order.tolist()
    assert [float(probability) for *_, probability in table] == pytest.approx(p[order].tolist(), abs=6e-5)  # four decimals
    assert [text for text, *_ in table] == [repr(chr(number)) for number in order]


@pytest.mark.parametrize("rule", ["top-k", "top-p"])
def test_only_the_tokens_that_the_rule_keeps_are_drawn(run, logits, rule):
    option = {"top-k": "--top-k=3", "top-p": "--top-p=0.3"}[rule]
    first, second = (_text(_sample(run, "--tokens", "30", "--seed", seed, option), 30) for seed in "12")
    assert first != second
    for text in (first, second):
        for place, character in enumerate(text):
            p = _probabilities(logits(PROMPT + text[:place]))
            order = np.argsort(-p)
            kept = 3 if rule == "top-k" else int(np.searchsorted(np.cumsum(p[order]), 0.3)) + 1
            assert ord(character) in order[:kept]


def test_sample_refuses_more_than_a_sequence(run):
    lab, path = run
    refused = lab("sample", str(path), "--prompt", PROMPT, "--tokens", "61", check=False)
    assert refused.returncode == Exit.USAGE
    (line,) = refused.stderr.strip().splitlines()
    assert "4 tokens" in line
    assert "at most 60" in line


def test_a_damaged_checkpoint_is_not_sampled_from(run, tmp_path):
    lab, path = run
    copy = tmp_path / path.name
    shutil.copytree(path, copy)
    manifest = copy / "checkpoints" / "40" / "default" / "manifest.ocdbt"
    manifest.write_bytes(b"?" + manifest.read_bytes()[1:])
    refused = lab("sample", str(copy), check=False)
    assert refused.returncode == Exit.USAGE
    warning, error = refused.stderr.strip().splitlines()
    assert warning.startswith("warning: the checkpoint of step 40 is damaged and not used: default/manifest.ocdbt")
    assert error.endswith("has no whole checkpoint; its run is done")
    assert manifest.exists()


def test_export_writes_the_weights_of_the_last_step(run, tmp_path, logits):
    lab, path = run
    done = lab("export", str(path), str(tmp_path / "hf"))
    assert "the weights after step 40 are in" in done.stdout.replace("\n", " ")
    fields = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert (fields["model_type"], fields["n_embd"], fields["n_layer"], fields["n_positions"]) == ("gpt2", 32, 2, 64)
    trained = load_trained(path)
    embedding = load_file(tmp_path / "hf" / "model.safetensors")["transformer.wte.weight"]
    np.testing.assert_array_equal(embedding, trained.parameters["embedding"]["embedding"])
    imported = interchange.load(tmp_path / "hf")
    assert imported.model == trained.config.model
    jax.tree.map(np.testing.assert_array_equal, imported.parameters, trained.parameters)


def test_export_refuses_what_the_layout_cannot_hold(lab):
    lab("train", lab.run_file(model={"qk_norm": True}, training={"tokens": 4096}))
    (path,) = lab.path.glob("runs/run/*")
    refused = lab("export", str(path), "out", check=False)
    assert refused.returncode == Exit.USAGE
    assert "model.qk_norm" in refused.stderr
    assert not (lab.path / "out" / "model.safetensors").exists()

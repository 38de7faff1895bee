"""How much of its own text a network repeats, by temperature: `python -m benchmarks.temperatures RUN`, two minutes of CPU.

Each beginning is gone on with for as many tokens as a training sequence has room for. Counted are the distinct ones among the
grams of eight tokens of each continuation (distinct-n, Li et al. 2016, per gram), and beside them those of
as many held-out tokens.
"""

import sys
from pathlib import Path

import numpy as np

from scaling.data.prepare import prepare
from scaling.families import open_sampler
from scaling.models.sampling import Rule
from scaling.training.trained import load_trained

BEGINNINGS = ("    def ", "import ", "class ", "    return ", "        if ", "# ", '    """', "        self.")
TEMPERATURES = (0.0, 0.4, 0.8, 1.0)
SEEDS = 4
GRAM = 8


def distinct(tokens: np.ndarray) -> float:
    """The share of distinct ones among the grams of a sequence (L,)."""
    grams = np.lib.stride_tricks.sliding_window_view(tokens, GRAM)
    return len(np.unique(grams, axis=0)) / len(grams)


def main(run: Path) -> None:
    """Print a line for each temperature, and one for held-out text."""
    sampler, tokenizer = open_sampler(run)
    for temperature in TEMPERATURES:
        shares = []
        for text in BEGINNINGS:
            for seed in range(1 if temperature == 0 else SEEDS):
                logits_V, cache = sampler.read(text, tokenizer)
                shares.append(distinct(np.array(list(sampler.generate(logits_V, cache, None, Rule(temperature), seed)))))
        print(f"temperature {temperature:g}: {np.mean(shares):.1%} of the grams distinct, {min(shares):.1%} at least")
    config = load_trained(run).config
    windows = prepare(config.data, config.execution.data_directory).held_out.window_WxL1
    print(f"held-out text: {np.mean([distinct(each[:120]) for each in windows[:100]]):.1%}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

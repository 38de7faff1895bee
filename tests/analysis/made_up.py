"""A sweep directory in the format of runs/README.md, written from a known law and noise, so that tests know the truth."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SIZES = (150_000, 300_000, 600_000, 1_200_000)  # non-embedding and head
EMBEDDING = 65_536
TOKENS = (1_000_000, 2_000_000, 4_000_000, 8_000_000)


@dataclass(frozen=True)
class Truth:
    """The law that the fabricated runs follow."""

    E: float = 1.5
    A: float = 80.0
    B: float = 250.0
    alpha: float = 0.35
    beta: float = 0.38

    def loss(self, parameters: Any, tokens: Any) -> Any:
        return self.E + self.A / parameters**self.alpha + self.B / tokens**self.beta


def fabricate_run(directory: Path, truth: Truth, parameters: int, tokens: int, noise: float, steps: int = 40) -> None:
    """Write one finished run whose final held-out loss is the law's times exp(noise)."""
    directory.mkdir(parents=True)
    flops_per_token = 6.4 * parameters
    facts = {
        "parameters": parameters + EMBEDDING,
        "non_embedding_parameters": parameters - 32_768,
        "non_embedding_and_head_parameters": parameters,
        "tokens": tokens,
        "unique_tokens": tokens,
        "steps": steps,
        "flops": flops_per_token * tokens,
        "flops_6nd": 6 * parameters * tokens,
    }
    rows = []
    for step in range(0, steps + 1, 2):
        seen = step / steps * tokens
        loss = truth.loss(parameters, seen + 2e3) * np.exp(noise) * (1 + 0.02 * (1 - step / steps))
        loss = truth.loss(parameters, tokens) * np.exp(noise) if step == steps else loss
        rows.append(
            {
                "step": step,
                "tokens": seen,
                "flops": flops_per_token * seen,
                "train_loss": loss * 1.01,
                "loss": loss if step % 4 == 0 else None,
                "bits_per_byte": loss / np.log(2) / 3.5 if step % 4 == 0 else None,
                "learning_rate": 3e-3,
                "gradient_norm": 1.0,
                "seconds": 0.5,
            }
        )
    (directory / "run.json").write_text(
        json.dumps({"run_id": directory.name, "identity": {"seed": 0, "model": {"width": 64}}, "facts": facts})
    )
    (directory / "curve.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    set_status(directory, "done", steps, steps)


def set_status(directory: Path, state: str, step: int, steps: int, reason: str = "") -> None:
    status = {"state": state, "step": step, "steps": steps, "reason": reason, "attempt": 1, "seconds": 20.0}
    (directory / "status.json").write_text(json.dumps(status))


def fabricate_sweep(root: Path, truth: Truth, noise: float = 0.003, seed: int = 0) -> Path:
    """A 4 x 4 grid and one finished holdout run at 6 x the largest compute."""
    random = np.random.default_rng(seed)
    grid = [(n, d, "fit") for n in SIZES for d in TOKENS]
    grid.append((round(SIZES[-1] * 2), TOKENS[-1] * 3, "holdout"))
    cells = []
    for number, (parameters, tokens, role) in enumerate(grid):
        run = f"{number:012x}"
        fabricate_run(root / run, truth, parameters, tokens, noise * random.standard_normal())
        cells.append(
            {
                "run_id": run,
                "trunk": None,
                "branch": None,
                "role": role,
                "labels": {"model": f"{parameters / 1e6:g}M", "training.tokens": tokens},
                "parameters": parameters + EMBEDDING,
                "tokens": tokens,
                "flops": 6.4 * parameters * tokens,
            }
        )
    (root / "plan.json").write_text(json.dumps({"sweep": root.name, "created": "2026-01-01T00:00:00+00:00", "cells": cells}))
    return root

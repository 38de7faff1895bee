"""The loss curves of a sweep as the page draws them, read again only where they have grown.        (no jax)"""

from pathlib import Path
from typing import Any

from scaling.record import RunDirectory, read_json

ROWS = 200  # of a run that are drawn


class Curves:
    """Keeps what was read of each run until its file changes."""

    def __init__(self, sweep: Path):
        self.sweep = sweep
        self._kept: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {}

    def document(self) -> dict[str, Any]:
        """By run id: `tokens`, `train_loss` and `loss` of some rows, evenly spaced, always with the evaluated ones."""
        plan = read_json(self.sweep / "plan.json") or {"cells": []}
        return {cell["run_id"]: self._of(cell["run_id"]) for cell in plan["cells"]}

    def _of(self, run: str) -> dict[str, Any]:
        directory = RunDirectory(self.sweep / run)
        try:
            facts = directory.curve_path.stat()
        except FileNotFoundError:
            return {"tokens": [], "train_loss": [], "loss": []}
        version = (facts.st_mtime_ns, facts.st_size)
        if run not in self._kept or self._kept[run][0] != version:
            rows = directory.rows()
            every = max(1, len(rows) // ROWS)
            shown = [row for number, row in enumerate(rows) if row.get("loss") is not None or number % every == 0]
            self._kept[run] = version, {name: [row.get(name) for row in shown] for name in ("tokens", "train_loss", "loss")}
        return self._kept[run][1]

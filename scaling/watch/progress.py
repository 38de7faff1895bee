"""How far a sweep is and what it still takes: FLOPs, time, money.        (no jax)"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling.record import read_json
from scaling.sweeps.status import CellStatus, failures, flops_share, format_seconds, read_status, summary, warnings
from scaling.sweeps.stored import read_plan

HOUR = 3600.0


@dataclass(frozen=True)
class Progress:
    """A sweep at one moment.

    Attributes:
        sweep: its directory.
        cells: its runs.
        price: of one device for an hour; None where it is not known.
    """

    sweep: Path
    cells: list[CellStatus]
    price: float | None = None

    @property
    def ended(self) -> bool:
        """Whether no worker will change anything any more."""
        return all(each.has_ended for each in self.cells)

    @property
    def share(self) -> float:
        """Of the planned FLOPs that is spent."""
        return flops_share(self.cells)

    @property
    def running(self) -> list[CellStatus]:
        """The runs that a living worker has."""
        return [each for each in self.cells if each.state == "running"]

    @property
    def tokens_per_second(self) -> float:
        """Of all running runs together."""
        return sum(each.status.get("tokens_per_second") or 0.0 for each in self.running)

    @property
    def seconds_left(self) -> float | None:
        """Until the last run ends, at the FLOPs per second of the running ones; None where none runs."""
        rate = sum(
            (each.status.get("tokens_per_second") or 0.0) * each.cell["flops"] / each.cell["tokens"] for each in self.running
        )
        left = sum(each.cell["flops"] * (1 - each.fraction) for each in self.cells if not each.has_ended)
        return left / rate if rate else None

    @cached_property
    def cost(self) -> tuple[float, float] | None:
        """Spent so far, and expected in all at the cost per FLOP so far; None without a price or before anything is spent."""
        if self.price is None or not self.share:
            return None
        spent = sum(self._device_seconds(each) for each in self.cells) * self.price / HOUR
        return spent, spent / self.share

    def lines(self) -> Iterator[str]:
        """In words: what runs, what is left, what it costs."""
        yield summary(self.cells)
        if self.seconds_left is not None:
            end = datetime.now().astimezone() + timedelta(seconds=self.seconds_left)
            speed = f"{self.tokens_per_second:,.0f} tokens/s"
            yield f"{speed}; about {format_seconds(self.seconds_left)} left, until {end:%Y-%m-%d %H:%M}"
        if self.cost is not None:
            spent, planned = self.cost
            yield f"cost {spent:,.2f} so far, about {planned:,.2f} in all, at {self.price:,.2f} for an hour of a device"

    def document(self) -> dict[str, Any]:
        """As JSON has it, for the page."""
        return {
            "lines": list(self.lines()),
            "share": self.share,
            "failures": failures(self.sweep, self.cells),
            "warnings": warnings(self.cells),
            "runs": [
                {
                    "run": each.cell["run_id"],
                    "name": each.name,
                    "role": each.cell["role"],
                    "state": each.state,
                    "parameters": each.cell["parameters"],
                    "tokens": each.cell["tokens"],
                    "fraction": each.fraction,
                    "loss": each.status.get("loss"),
                    "train_loss": each.status.get("train_loss"),
                    "tokens_per_second": each.status.get("tokens_per_second"),
                    "left": None if each.seconds_left is None else format_seconds(each.seconds_left),
                    "reason": each.reason,
                }
                for each in self.cells
            ],
        }

    def _device_seconds(self, each: CellStatus) -> float:
        seconds = each.status.get("seconds") or 0.0
        if not seconds:
            return 0.0
        environment = read_json(self.sweep / each.cell["run_id"] / "environment.json") or {}
        return seconds * environment.get("devices", {}).get("count", 1)


def planned_price(sweep: Path) -> float | None:
    """USD for an hour of one device of the hardware that a sweep was planned for; None where the plan states none."""
    hardware = read_plan(sweep).get("hardware") or {}
    return hardware.get("price")


def read_progress(sweep: Path, price: float | None = None) -> Progress:
    """A sweep as its directory has it now; a `ScalingError` where there is none."""
    return Progress(sweep, read_status(sweep), price)

"""The irreducible loss that a fit found, beside the entropy of the data where that is known exactly."""

from dataclasses import dataclass

import pandas as pd

from analysis.results import Estimate, Fit


@dataclass(frozen=True)
class Truth:
    """What the data's source says of the loss that no model goes below.

    Attributes:
        entropy: of the source, nats per token, exact.
        fitted: the irreducible loss E of the law, nats per token.
    """

    entropy: float
    fitted: Estimate

    @property
    def inside(self) -> bool:
        """Whether the interval of E holds the entropy."""
        return self.fitted.low <= self.entropy <= self.fitted.high

    @property
    def error_percent(self) -> float:
        """Of the fitted E."""
        return 100 * (self.fitted.value / self.entropy - 1)

    def __str__(self) -> str:
        """One sentence."""
        fitted = f"{self.fitted.value:.4f} ({self.fitted.low:.4f} to {self.fitted.high:.4f})"
        return (
            f"Irreducible loss E: fitted {fitted}, true entropy {self.entropy:.4f} nats per token: "
            f"{self.error_percent:+.1f} %, {'inside' if self.inside else 'outside'} the interval"
        )


def find_truth(fit: Fit, points: pd.DataFrame) -> Truth | None:
    """The truth about the fitted points; None where the law has no E, or no one entropy of their source is known."""
    used = points[points["run"].isin(fit.origin.runs)]
    entropies = used["entropy"].unique() if "entropy" in used else []
    if "E" not in fit.estimates or len(entropies) != 1 or pd.isna(entropies[0]):
        return None
    return Truth(float(entropies[0]), fit.estimates["E"])

"""The irreducible loss that a fit found, beside what the source of the data loses on the same held-out tokens."""

from dataclasses import dataclass

import pandas as pd

from analysis.results import Estimate, Fit


@dataclass(frozen=True)
class Truth:
    """What the data's source says of the loss that no model goes below; all in nats per token.

    Attributes:
        entropy: of the source, exact: its expected loss.
        source_loss: its loss on the held-out tokens that all runs were judged by. It differs from the entropy by the chance
            of that sample, which the source shares with every model: E is held against this.
        fitted: the irreducible loss E of the law.
    """

    entropy: float
    source_loss: float
    fitted: Estimate

    @property
    def inside(self) -> bool:
        """Whether the interval of E holds the source's loss."""
        return self.fitted.low <= self.source_loss <= self.fitted.high

    @property
    def error_percent(self) -> float:
        """Of the fitted E."""
        return 100 * (self.fitted.value / self.source_loss - 1)

    def __str__(self) -> str:
        """One sentence."""
        fitted = f"{self.fitted.value:.4f} ({self.fitted.low:.4f} to {self.fitted.high:.4f})"
        return (
            f"Irreducible loss E: fitted {fitted}, of the source itself on the held-out tokens {self.source_loss:.4f} nats per "
            f"token: {self.error_percent:+.1f} %, {'inside' if self.inside else 'outside'} the interval "
            f"(the source's entropy: {self.entropy:.4f})"
        )


def find_truth(fit: Fit, points: pd.DataFrame) -> Truth | None:
    """The truth about the fitted points; None where the law has no E, or no one loss of their source is known."""
    used = points[points["run"].isin(fit.origin.runs)]
    known = sources(used)
    if "E" not in fit.estimates or len(known) != 1 or used["source_loss"].isna().any():
        return None
    entropy, source_loss = map(float, known.iloc[0])
    return Truth(entropy, source_loss, fit.estimates["E"])


def sources(points: pd.DataFrame) -> pd.DataFrame:
    """The `entropy` and the `source_loss` of each source that is known among the points, nats per token."""
    columns = ["entropy", "source_loss"]
    return points[columns].dropna().drop_duplicates() if set(columns) <= set(points) else pd.DataFrame(columns=columns)

"""Runs and curves drawn from a Chinchilla law, so that tests know the compute-optimal frontier in closed form."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

NOISE = 0.003  # standard deviation of log loss between runs


@dataclass(frozen=True)
class World:
    """Besiroglu et al. 2024 (arXiv 2404.10102), table 1, unless told otherwise."""

    E: float = 1.8172
    A: float = 482.01
    B: float = 2085.43
    alpha: float = 0.3478
    beta: float = 0.3658

    @property
    def a(self) -> float:
        """Exponent of N*(C), Hoffmann et al. 2022, eq. 4."""
        return self.beta / (self.alpha + self.beta)

    def loss(self, n: np.ndarray, d: np.ndarray) -> np.ndarray:
        return self.E + self.A / n**self.alpha + self.B / d**self.beta

    def best(self, budget: float) -> tuple[float, float, float]:
        """N*, D* and L* at a budget."""
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        n = g * (budget / 6) ** self.a
        return n, budget / 6 / n, float(self.loss(n, budget / 6 / n))

    def isoflops(
        self, random: np.random.Generator, budgets: np.ndarray, sizes: int = 9, width: float = 10.0, noise: float = NOISE
    ) -> pd.DataFrame:
        """Final points of sizes from N*/width to N* x width at each budget."""
        n = np.concatenate([self.best(budget)[0] * np.geomspace(1 / width, width, sizes) for budget in budgets])
        d = np.repeat(budgets, sizes) / 6 / n
        return pd.DataFrame(
            {"parameters": n, "tokens": d, "loss": self.loss(n, d) * np.exp(noise * random.standard_normal(len(n)))}
        )

    def curves(
        self, random: np.random.Generator, sizes: np.ndarray, tokens: tuple[float, float], noise: float = 0.0, points: int = 80
    ) -> pd.DataFrame:
        """Curves at a constant rate, each shifted by one draw of noise."""
        parts = []
        for number, n in enumerate(sizes):
            d = np.geomspace(*tokens, points)
            loss = self.loss(n, d) * np.exp(noise * random.standard_normal())
            parts.append(
                pd.DataFrame({"run": f"run {number}", "parameters": n, "tokens": d, "loss": loss, "learning_rate": 1e-3})
            )
        return pd.concat(parts, ignore_index=True)

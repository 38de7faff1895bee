"""The fabricated sweep, and the one real data set that tests read where it lies."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up import Truth, fabricate_sweep

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def truth() -> Truth:
    return Truth()


@pytest.fixture
def sweep(tmp_path: Path, truth: Truth) -> Path:
    return fabricate_sweep(tmp_path / "made-up", truth)


@pytest.fixture(scope="session")
def data_set() -> Callable[[str], Path]:
    """Where a real data set lies; the test is skipped where it does not."""
    data = Path(os.environ.get("SCALING_LAB_DATA", ROOT / "../shared/data"))

    def find(name: str) -> Path:
        if not (data / name).exists():
            pytest.skip(f"no {data / name}: real data sets are not part of the project")
        return data / name

    return find


@pytest.fixture(scope="session")
def epoch_points(data_set: Callable[[str], Path]) -> pd.DataFrame:
    """Epoch AI's reconstruction of Hoffmann et al.'s figure 4, without the five highest losses, as its authors fit it."""
    table = pd.read_csv(data_set("epoch_chinchilla/svg_extracted_data.csv"))
    points = pd.DataFrame(
        {
            "parameters": table["Model Size"],
            "tokens": table["Training FLOP"] / (6 * table["Model Size"]),
            "loss": table["loss"],
        }
    )
    return points[points["loss"] < points["loss"].nlargest(5).min()]

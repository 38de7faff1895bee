"""The fabricated sweep, and the real data sets that tests read where they lie."""

import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from made_up import Truth, fabricate_sweep

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def data_set() -> Callable[[str], Path]:
    """The path of a real data set, by its name below the directory of them; skips the test where it is not there."""

    def find(name: str) -> Path:
        path = Path(os.environ.get("SCALING_LAB_DATA", ROOT / "../shared/data")) / name
        if not path.exists():
            pytest.skip(f"no {path}: real data sets are not part of the project")
        return path

    return find


@pytest.fixture(scope="session")
def truth() -> Truth:
    return Truth()


@pytest.fixture
def sweep(tmp_path: Path, truth: Truth) -> Path:
    return fabricate_sweep(tmp_path / "made-up", truth)


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

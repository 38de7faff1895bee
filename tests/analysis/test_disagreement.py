"""The table of all procedures: they agree where the law holds, disagree where it does not, and say why one is silent."""

import numpy as np
import pytest
from simulated import World

from analysis.conventions import Convention
from analysis.disagreement import Disagreement, compare

WORLD = World()
BUDGETS = np.geomspace(1e19, 1e21, 5)
TOTAL = Convention("parameters")


@pytest.fixture(scope="module")
def agreement() -> Disagreement:
    random = np.random.default_rng(0)
    points = WORLD.isoflops(random, BUDGETS)
    curves = WORLD.curves(random, np.geomspace(2e7, 5e9, 16), (1e8, 1e11), noise=0.001)
    return compare(points, [1e20, 1e22], TOTAL, curves=curves, draws=100)


def test_the_three_approaches_agree_where_the_law_holds(agreement: Disagreement) -> None:
    three = agreement.table[agreement.table["procedure"].str.startswith("approach")]
    assert set(three["procedure"]) == {"approach 1", "approach 2", "approach 3"}
    for row in three[three["quantity"] == "a"].itertuples():
        assert row.low < WORLD.a < row.high, row.procedure
        assert row.value == pytest.approx(WORLD.a, abs=0.03)
    by_name = agreement.table.set_index(["procedure", "quantity", "budget"])["value"]
    n, d, loss = WORLD.best(1e20)
    for name, value, within in (
        ("parameters", n, 0.2),
        ("tokens", d, 0.2),
        ("tokens_per_parameter", d / n, 0.4),
        ("loss", loss, 0.01),
    ):
        for procedure in set(three["procedure"]):
            assert by_name[procedure, name, 1e20] == pytest.approx(value, rel=within), (procedure, name)
    assert len(agreement.verdicts) == 2 + 2 * 4


def test_procedures_that_miss_each_other_are_named() -> None:
    """Curves of another recipe than the points': their exponents are 0.4 and 0.51."""
    random = np.random.default_rng(0)
    curves = World(alpha=0.45, beta=0.30, A=3000.0, B=500.0).curves(random, np.geomspace(2e6, 5e9, 30), (1e8, 1e12))
    found = compare(WORLD.isoflops(random, BUDGETS), [1e23], TOTAL, curves=curves, draws=100)
    verdict = found.verdicts.set_index("quantity").loc["a"]
    assert not verdict["agree"]
    first = found.table.set_index(["procedure", "quantity"]).loc[("approach 1", "a")]
    assert first["value"] == pytest.approx(0.4, abs=0.01)
    assert f"approach 1 ({first['low']:.4g} to {first['high']:.4g}) and approach 3 (0.5" in verdict["verdict"]
    assert verdict["verdict"].endswith("do not overlap")


def test_a_silent_procedure_has_its_reason() -> None:
    points = WORLD.isoflops(np.random.default_rng(0), BUDGETS[:2])
    found = compare(points, [1e20], TOTAL, draws=50)
    assert found.refused["approach 1"] == "no training curves were given"
    assert "approach 2 needs 3" in found.refused["approach 2"]
    assert "approach 3" in found.found
    recorded = compare(
        points.assign(flops=7 * points["parameters"] * points["tokens"]), [1e20], Convention("parameters", "flops")
    )
    assert "allocated under C = 6 N D, not under flops" in recorded.refused["approach 3"]
    assert recorded.table.empty
    assert recorded.verdicts.empty

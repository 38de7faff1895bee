"""The verbs of a study on tables made from known laws, and what they say of tables that are wrong."""

import json

import numpy as np
import pytest
import yaml

from scaling.errors import Exit

TRUTH = {"E": 1.7, "A": 400.0, "B": 410.0, "alpha": 0.34, "beta": 0.28}


def law(n, d, worse=1.0):
    """`worse` is the factor by which a recipe needs more parameters and tokens for the same loss."""
    return TRUTH["E"] + TRUTH["A"] / (n / worse) ** TRUTH["alpha"] + TRUTH["B"] / (d / worse) ** TRUTH["beta"]


def write(path, rows, header="parameters,tokens,loss"):
    np.savetxt(path, np.asarray(rows), delimiter=",", header=header, comments="", fmt="%.10g")
    return path.name


def grid(seed=0, worse=1.0):
    n, d = (axis.ravel() for axis in np.meshgrid(np.geomspace(1e7, 1e10, 5), np.geomspace(1e9, 1e11, 4)))
    noise = np.exp(0.002 * np.random.default_rng(seed).standard_normal(n.size))
    return np.stack([n, d, law(n, d, worse) * noise], 1)


@pytest.fixture
def table(lab):
    return write(lab.path / "losses.csv", grid())


def answer(lab, *arguments):
    """The JSON document, which is all that is on stdout."""
    done = lab(*arguments, "--json")
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def best(budget):
    """N* and D* of the truth (Hoffmann et al. 2022, eq. 4)."""
    a, b = TRUTH["alpha"], TRUTH["beta"]
    g = (a * TRUTH["A"] / (b * TRUTH["B"])) ** (1 / (a + b))
    n = g * (budget / 6) ** (b / (a + b))
    return n, budget / 6 / n


def holds(row, name, truth):
    assert row[f"{name}_low"] < truth < row[f"{name}_high"], (name, truth, row)


def test_fit_holds_the_law_behind_a_table_and_names_its_convention(lab, table):
    said = answer(lab, "fit", table)
    for name, truth in TRUTH.items():
        assert said["fit"]["estimates"][name]["low"] < truth < said["fit"]["estimates"][name]["high"]
    assert said["fit"]["columns"]["parameters"] == "parameters"
    assert said["fit"]["size_convention"] == "6 x parameters x tokens"
    assert said["flags"] == []
    assert said["written_to"] is None
    holds(said["allocation"][1], "parameters", best(said["allocation"][1]["budget"])[0])


def test_foreign_columns_with_units_give_the_same_fit(lab, table):
    rows = grid() / [1e6, 1e9, np.log(2)]
    write(lab.path / "foreign.csv", rows, "Model Size,seen,bits")
    mapped = ("parameters=Model Size:millions", "tokens=seen:1e9", "loss=bits:bits")
    said = answer(lab, "fit", "foreign.csv", *[part for each in mapped for part in ("--column", each)])
    same = answer(lab, "fit", table)
    assert said["fit"]["estimates"]["alpha"]["value"] == pytest.approx(same["fit"]["estimates"]["alpha"]["value"], rel=1e-6)


def test_forecast_at_a_place_and_at_a_budget(lab, table):
    said = answer(lab, "forecast", table, "--at", "parameters=7B,tokens=140B", "--budget", "1e23")
    near, far = said["forecasts"]
    assert (near["parameters"], near["tokens"]) == (7e9, 140e9)
    assert near["low"] < law(7e9, 140e9) < near["high"]
    assert far["extrapolation"] == pytest.approx(1e23 / (6 * 1e10 * 1e11))
    assert 6 * far["parameters"] * far["tokens"] == pytest.approx(1e23)
    assert far["low"] < far["statistical_low"] < law(*best(1e23)) < far["statistical_high"] < far["high"]
    assert said["convention"]["columns"]["parameters"] == "parameters"
    shown = lab("forecast", table, "--at", "parameters=7B,tokens=140B").stdout
    assert f"{near['low']:.4g} to {near['high']:.4g}" in shown
    assert "N counts parameters" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_allocate_best_over_trained_and_served(lab, table):
    said = answer(
        lab, "allocate", table, "--budget", "1e22", "--tokens-per-parameter", "200", "--loss", "2.2", "--served", "1T"
    )
    n, d = best(1e22)
    (optimal,), (long,) = said["compute_optimal"], said["over_training"]
    holds(optimal, "parameters", n)
    holds(optimal, "tokens", d)
    small = np.sqrt(1e22 / 6 / 200)
    assert long["parameters"] == pytest.approx(small)
    holds(long, "excess", law(small, 200 * small) / law(n, d))
    unserved, served = said["inference"]
    assert unserved["saving"] == pytest.approx(1, abs=1e-6)
    assert served["parameters"] < unserved["parameters"]
    for row in said["iso_loss"]:
        left = 2.2 - TRUTH["E"] - TRUTH["A"] / row["parameters"] ** TRUTH["alpha"]
        holds(row, "tokens", (TRUTH["B"] / left) ** (1 / TRUTH["beta"]))


def test_compare_scores_laws_and_sets_procedures_side_by_side(lab, table):
    said = answer(lab, "compare", table, "--law", "chinchilla", "--law", "kaplan", "--budget", "1e22")
    assert [row["law"] for row in said["laws"]] == ["chinchilla", "kaplan"]
    assert said["laws"][0]["score"] < said["laws"][1]["score"]
    assert "a single point" in said["procedures"]["refused"]["approach 1"]
    (third,) = [row for row in said["procedures"]["answers"] if (row["procedure"], row["quantity"]) == ("approach 3", "a")]
    assert third["low"] < TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"]) < third["high"]


def test_compare_with_a_recipe_that_needs_twice_of_both(lab, table):
    """Half as useful parameters and tokens: four times the compute for the same loss, at any loss."""
    write(lab.path / "worse.csv", grid(seed=1, worse=2.0))
    said = answer(lab, "compare", table, "worse.csv", "--budget", "1e21")
    (row,) = said["multipliers"]
    holds(row, "multiplier", 4.0)
    assert row["multiplier"] == pytest.approx(4.0, rel=0.15)


def test_draws_of_two_recipes_are_independent(lab, table):
    """A recipe held against itself is worth 1, with the doubt of both: were the draws paired there would be none."""
    (row,) = answer(lab, "compare", table, table, "--budget", "1e22")["multipliers"]
    assert row["multiplier"] == pytest.approx(1, abs=1e-6)
    assert row["multiplier_low"] < 0.99 < 1.01 < row["multiplier_high"]


def test_design_writes_a_sweep_within_the_budget(lab, table):
    said = answer(lab, "design", table, "--budget", "1e23", "--at", "1e24", "--out", "next.yaml")
    runs = said["design"]["runs"]
    assert sum(run["flops"] for run in runs) <= 1e23
    assert said["design"]["before"][0] < runs[-1]["low"] < runs[-1]["high"] < said["design"]["before"][1]
    cells = yaml.safe_load((lab.path / "next.yaml").read_text())["cells"]
    assert [cell["training.tokens"] for cell in cells] == [run["tokens"] for run in runs]


def test_plot_draws_a_table_and_says_what_it_left_out(lab, table):
    said = answer(lab, "plot", table, "--out", "drawn")
    names = {path.name for path in (lab.path / "drawn").iterdir()}
    assert {f"drawn/{name}" for name in names} == set(said["figures"])
    assert {"iso-losses.png", "iso-losses.svg", "iso-losses.pdf", "profiles.pdf"} <= names
    assert "a single point" in said["left_out"]["approach 1"]


def test_check_tells_of_every_fault_of_a_table_and_goes_on(lab):
    """One size in thousands, stated compute ten times 6ND, one loss that is none: all flagged, with their rows."""
    rows = grid()
    rows[0, 2] = -1.0
    flops = 6 * rows[:, 0] * rows[:, 1]
    flops[3] *= 10
    write(lab.path / "odd.csv", np.column_stack([rows, flops]), "parameters,tokens,loss,flops")
    said = answer(lab, "check", "odd.csv")
    flags = {flag["kind"]: flag for flag in said["flags"]}
    assert flags["bad loss"]["severity"] == "excluded"
    assert (flags["bad loss"]["row"], flags["compute"]["row"]) == (1, 4)
    assert "10 x 6ND" in flags["compute"]["reason"]
    assert "left_out" in {finding["name"] for finding in said["findings"]}
    assert all(finding["advice"] for finding in said["findings"])
    assert said["refused"] == ""


def test_check_of_sizes_that_look_like_millions(lab):
    write(lab.path / "millions.csv", grid() / [1e6, 1e9, 1])
    shown = lab("check", "millions.csv").stdout
    assert "thousands, millions or billions?" in " ".join(shown.split())


def one_size():
    tokens = np.geomspace(1e9, 1e11, 12)
    return np.stack([np.full(12, 1e8), tokens, law(1e8, tokens)], 1)


@pytest.mark.parametrize(
    ("rows", "arguments", "parts"),
    [
        (grid()[:4], ("fit",), ["4 points", "5 parameters"]),
        (one_size(), ("fit",), ["parameters", "1 distinct"]),
        (grid(), ("fit", "--law", "chinchila"), ["'chinchilla'"]),
        (grid(), ("fit", "--method", "bootstap"), ["'bootstap'", "nearest", "posterior"]),
        (grid(), ("fit", "--level", "95"), ["--level 95", "0.9"]),
        (grid(), ("forecast", "--at", "params=7B"), ["'params'", "'parameters'"]),
        (grid(), ("forecast",), ["--at", "--budget"]),
        (grid(), ("design", "--budget", "lots"), ["--budget 'lots'", "3e9"]),
    ],
)
def test_what_is_wrong_is_one_line(lab, rows, arguments, parts):
    verb, *options = arguments
    refused(lab, verb, write(lab.path / "wrong.csv", rows), *options, parts=parts)


def test_a_missing_column_is_named_with_the_nearest_present(lab):
    write(lab.path / "wrong.csv", grid(), "n_params,tokens,loss")
    refused(lab, "fit", "wrong.csv", parts=["'parameters'", "'n_params'", "--column parameters=n_params"])


def refused(lab, *arguments, parts):
    done = lab(*arguments, check=False)
    assert done.returncode == Exit.USAGE
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    for part in parts:
        assert part in line, line


def test_losses_that_are_none_are_listed_by_row(lab):
    rows = grid()
    rows[[2, 7], 2] = [np.nan, 0.0]
    write(lab.path / "holes.csv", rows)
    said = answer(lab, "fit", "holes.csv")
    assert sorted(said["fit"]["origin"]["excluded"]) == ["row 3", "row 8"]
    assert {flag["row"] for flag in said["flags"] if flag["severity"] == "excluded"} == {3, 8}

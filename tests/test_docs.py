"""Every command and code block of the documentation, run; and the site, built with warnings as errors."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from scaling.cli import app
from scaling.config import RunConfig, build
from scaling.sweeps.grid import SweepConfig
from scaling.sweeps.launchers.launcher import open_launcher
from scaling.sweeps.stored import write_plan

ROOT = Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
CHECKED_ELSEWHERE = {"README.md": "test_readme.py"}
ELSEWHERE = {"docs/hardware.md": "needs compilers for hardware that is not here; the tests of preflight run it where they are"}
TRAIN = ("sweep", "train", "work")
TINY = {
    "name": "quickstart",
    "base": {
        "data": {"sequence_length": 32, "validation_tokens": 1024},
        "training": {"tokens": 4096, "batch_tokens": 512},
        "optimizer": {"learning_rate": 4e-3},
        "execution": {"evaluations": 1},
    },
    "axes": {
        "model": [{"width": width, "layers": 1, "heads": 1} for width in (16, 32, 48)],
        "training.tokens": [4096, 8192, 16384],
    },
    "holdouts": [{"model": {"width": 64, "layers": 1, "heads": 1}, "training.tokens": 32768}],
}


def _load(path: Path):
    """A module by its file."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module
    specification.loader.exec_module(module)
    return module


pages = _load(ROOT / "docs" / "pages.py")
made_up = _load(ROOT / "tests" / "analysis" / "made_up.py")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A directory with what the pages talk about: sweeps in `runs`, tables, curves of others."""
    home = tmp_path_factory.mktemp("docs")
    truth = made_up.Truth()
    for name in ("quickstart", "lr"):
        sweep = made_up.fabricate_sweep(home / "runs" / name, truth)
        write_plan(sweep, json.loads((sweep / "plan.json").read_text()))
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e9, 1e11, 4)))
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(n.size))
    loss = (1.7 + 400 / n**0.34 + 410 / d**0.28) * noise
    table = pd.DataFrame({"parameters": n, "tokens": d, "loss": loss})
    table.to_csv(home / "losses.csv", index=False)
    table.to_csv(home / "losses.csv.gz", index=False)
    pd.DataFrame({"Model Size": n / 1e6, "seen": d / 1e9, "loss": loss}).to_csv(home / "foreign.csv", index=False)
    pd.DataFrame({"Model Size": n, "Training FLOP": 6 * n * d, "loss": loss}).to_csv(home / "chinchilla.csv", index=False)
    history = {"Task": "web", "Model": "small", "Tokens (B)": [1.0, 2.0, 4.0], "eval/bits_per_token": [4.0, 3.5, 3.2]}
    pd.DataFrame(history).to_parquet(home / "history.parquet")
    (home / "histories").mkdir()
    table.assign(step=range(len(table))).to_csv(home / "histories" / "one.csv", index=False)
    (home / "texts").mkdir()
    source = Path(np.__file__).read_text(encoding="utf-8")
    for number in range(40):
        (home / "texts" / f"{number}.txt").write_text(f"{number}\n{source[number * 200 :][:12_000]}", encoding="utf-8")
    return home


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python") and page not in CHECKED_ELSEWHERE])
def test_python_runs(page: str, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(made)
    names = _given(page, made)
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    capsys.readouterr()


def _given(page: str, made: Path) -> dict:
    """The names that a page's code starts from, as its text says."""
    table = pd.read_csv(made / "losses.csv")
    names: dict = {}
    if page == "docs/curves.md":
        _write_events(made / "tensorboard_logs")
        names = {"frame": table}
    elif page == "docs/laws.md":
        from analysis.fits import fit_law
        from analysis.laws import law
        from analysis.prediction import sample

        points = table.assign(flops=6 * table["parameters"] * table["tokens"])
        points["tokens_per_parameter"] = points["tokens"] / points["parameters"]
        losses = pd.DataFrame({"loss": np.linspace(0.8, 1.6, 20)})
        curve = {"b": 0.25, "a": 0.7, "k": 8.0, "L_0": 1.1}
        seen = sample(law("downstream-accuracy"), curve, losses, noise=0.002, seed=0)
        names = {"points": points, "table": points.head(3), "accuracy_fit": fit_law(seen, law("downstream-accuracy"))}
    return names


def _write_events(home: Path) -> None:
    from tensorboardX import SummaryWriter

    with SummaryWriter(str(home / "small")) as writer:
        for step in range(5):
            for name, value in {"loss": 4.0 - step / 2, "tokens": 1e6 * (step + 1), "parameters": 1e6}.items():
                writer.add_scalar(name, value, step)


def commands(page: str) -> list[str]:
    """The commands of a page's shell blocks, without comments."""
    text = "\n".join(block.replace("\\\n", " ") for block in blocks(page, "bash"))
    return [line.split("  #")[0].strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "bash")])
def test_commands_that_read_run(page: str, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made)
    for line in commands(page):
        program, verb, *arguments = shlex.split(line)
        if program == "make":
            subprocess.run(["make", "--dry-run", verb], cwd=ROOT, check=True, capture_output=True)
            continue
        assert program == "scaling", f"{page}: {line}: no test runs this program"
        if verb in (*TRAIN, "sample"):  # below
            continue
        done = CliRunner().invoke(app, [verb, *arguments])
        assert done.exit_code == 0, f"{page}: {line}: {done.output}{done.exception!r}"


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if any(line.split()[1] in TRAIN for line in commands(page))])
def test_commands_that_train_run(page: str, made: Path, tmp_path: Path) -> None:
    """With a tiny sweep in the place of the one in `configs`, one of its runs for a run, and a minute's sweep as it is."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "quickstart.yaml").write_text(yaml.safe_dump(TINY))
    shutil.copytree(made / "texts", tmp_path / "texts")
    for line in commands(page):
        _, verb, *_ = shlex.split(line)
        if verb in (*TRAIN, "init", "sample"):
            line = line.replace("scaling", f"{sys.executable} -m scaling", 1)
            trained = next((tmp_path / "runs" / "quickstart").glob("*/run.json"), tmp_path).parent.name
            line = re.sub(r"(?<=runs/quickstart/)[0-9a-f]{12}", trained, line)
            done = subprocess.run(shlex.split(line), cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{page}: {line}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(("page", "number"), [(page, n) for page in PAGES for n, _ in enumerate(blocks(page, "yaml"))])
def test_sweep_files_are_valid(page: str, number: int) -> None:
    if page in CHECKED_ELSEWHERE:
        pytest.skip(f"{CHECKED_ELSEWHERE[page]} has a test for each")
    fields = yaml.safe_load(blocks(page, "yaml")[number])
    if "base" not in fields:
        build(RunConfig, fields)
        return
    sweep = build(SweepConfig, fields)
    assert sweep.axes or sweep.cells
    for name in sweep.resources:
        open_launcher(name, Path("runs") / sweep.name, sweep.resources)


def test_no_block_escapes() -> None:
    """Every block of a page is in a language that a test above runs, or is text: an output, a layout, a usage line."""
    for page in PAGES:
        languages = re.findall(r"^```([\w-]*)$", (ROOT / page).read_text(encoding="utf-8"), flags=re.M)[::2]
        assert set(languages) <= {"python", "bash", "yaml", "text", ""}, page
        bare = re.findall(r"^```\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S | re.M)
        assert page in ELSEWHERE or not any(re.match(r"scaling \w+ ", block) for block in bare), page


def test_the_configuration_page_has_every_field_with_its_words() -> None:
    page = pages.configuration()
    for section in ("model", "data", "training", "optimizer (`adamw`", "schedule", "execution", "execution.mesh", "rule"):
        assert f"## {section.split(' (')[0]}" in page, section
    for name in RunConfig.model_fields["model"].annotation.model_fields:
        assert f"| `{name}` |" in page
    assert "Attention and MLP read the same input (Wang & Komatsuzaki 2021, GPT-J)." in page
    assert "| `seed` | whole number | `0` |" in page


def test_the_verbs_page_has_every_verb_and_option() -> None:
    page = pages.verbs()
    for verb in ("init", "doctor", "sweep", "watch", "report", "allocate"):
        assert f"\n## {verb}\n" in page
    for option in ("--dry-run", "--web", "--format", "--tokens-per-parameter"):
        assert f"`{option}`" in page


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="no mkdocs: install the group docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for page in ("index", "quickstart", "configuration", "verbs", "record", "pitfalls", "laws"):
        assert (tmp_path / f"{page}.html").exists()
    assert "sensitivity" in (tmp_path / "pitfalls.html").read_text() or "optimum" in (tmp_path / "pitfalls.html").read_text()
    addresses = re.findall(r'(?:src|href)="(https?://[^"]+)"', (tmp_path / "index.html").read_text())
    assert all("script" not in address and "font" not in address for address in addresses)

"""The examples and the tutorial run as they stand."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import notebook

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *words: object) -> str:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


@pytest.fixture(scope="module")
def store(folder: Path) -> Path:
    """That of the first example, which says what it reached."""
    shown = run(folder, ROOT / "examples" / "own_graph.py")
    assert accuracy(shown) > 0.5  # a quarter by guessing
    (found,) = [path for path in (folder / "stores").iterdir() if path.is_dir()]
    return found


def accuracy(shown: str) -> float:
    (found,) = re.findall(r"test accuracy (\d\.\d+)", shown)
    return float(found)


def test_a_loop_of_your_own(folder: Path, store: Path) -> None:
    assert accuracy(run(folder, ROOT / "examples" / "own_loop.py", store)) > 0.4


def test_a_model_of_your_own(folder: Path, store: Path) -> None:
    config = folder / "papers.toml"
    config.write_text('[train]\nepochs = 5\nbackend = "eager"\n[model]\nhidden_channels = 32\n')
    options = ["--config", config, "--store", store, "--model", "examples.own_model:gated", "--run", folder / "mine"]
    shown = run(folder, "-m", "heteroshards", "train", *options)
    assert '"model": "examples.own_model:gated"' in shown
    assert float(re.findall(r'"test": \{"loss": [\d.]+, "accuracy": ([\d.]+)', shown)[0]) > 0.4


def test_the_notebook_is_the_tutorial() -> None:
    written = notebook.NOTEBOOK.read_text(encoding="utf-8")
    assert written == notebook.as_json(notebook.notebook_of(notebook.PAGE.read_text(encoding="utf-8")))
    cells = json.loads(written)["cells"]
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code")
    assert sum(cell["cell_type"] == "code" for cell in cells) > 10


def test_the_notebook_runs(tmp_path: Path) -> None:
    """Cell by cell in one process, as a kernel does it."""
    cells = json.loads(notebook.NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    program = tmp_path / "tutorial.py"
    program.write_text("\n".join("".join(cell["source"]) + "\n" for cell in cells if cell["cell_type"] == "code"))
    shown = run(tmp_path, program)
    scores = re.findall(r"(\w+): loss [\d.]+, accuracy ([\d.]+) on split test", shown)
    assert [model for model, _ in scores] == ["to_hetero", "hetero_conv", "hgt"] * 2
    assert all(float(score) > 0.5 for _, score in scores[3:]), "a third by guessing"
    assert "movie      1000 rows" in shown and "movie       500 rows" in shown and "1000 rows\n" in shown
    assert (tmp_path / "predictions.parquet").is_file()

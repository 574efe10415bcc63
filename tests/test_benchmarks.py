"""The measurements run, on a graph of seconds; what they measure is not checked."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import layout, measure, prepare, sampling, scale, startup, step, streaming

CONFIG = """
name = "tiny"
[dataset]
source = "synthetic"
args = {scale = 0.05, num_features = 16}
[dataset.subset]
movie = 60
[sampling]
fanout = [3, 2]
batch_size = 8
[model]
hidden_channels = 8
heads = 2
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("model", step.MODELS)
def test_step(tmp_path: Path, model: str) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    options = ["--model", model, "--variant", "pyg-eager", "--variant", "eager", "--epochs", "1", "--batches", "2"]
    result = CliRunner().invoke(step.main, [str(config), *options], catch_exceptions=False)
    assert result.exit_code == 0
    found = [line.split("|") for line in result.stdout.splitlines() if line.startswith(f"| {model}")]
    rows, operators = found[:2], found[2:]
    assert [row[2].strip() for row in rows] == ["plain PyG, eager", "heteroshards, eager"]
    assert len(operators) == 6 and all("%" in row[-2] for row in operators)
    assert all(0 < float(row[-2]) < 10 for row in rows)


def test_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    options = ["--scale", "0.02", "--batch-size", "5", "--seeds", "300", "--repeats", "1", "--write"]
    result = CliRunner().invoke(sampling.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    (row,) = [line.split("|") for line in result.stdout.splitlines() if line.startswith("| synthetic")]
    assert row[2].strip() == "5" and all(float(cell) >= 0 for cell in row[3:5])
    assert row[5].strip() == "not installed" or float(row[5]) > 0
    written = (tmp_path / "RESULTS.md").read_text()
    assert "sample and pad" in written
    assert "`python -m benchmarks.sampling --batch-size 5 --scale 0.02 --seeds 300 --repeats 1`" in written


def test_streaming(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    result = CliRunner().invoke(streaming.main, [str(config), "--backend", "eager", "--repeats", "1"])
    assert result.exit_code == 0, result.output
    first = [line.split("|")[1].strip() for line in result.stdout.splitlines() if line.startswith("| ")]
    assert {"stream", "stream, ids only", "floor", "zarr", "gathering features", "to_hetero"} <= set(first)


def test_prepare(tmp_path: Path) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    result = CliRunner().invoke(prepare.main, [str(config), "--rounds", "1", "--repeats", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines() if "|" in line]
    assert [row[0] for row in rows if row[0].startswith("prepare, ")] == [
        f"prepare, {grouping}, {threads}"
        for grouping in ("random", "balanced")
        for threads in ("1 thread", "2 threads")
    ]
    assert [row[0] for row in rows if len(row) == 3 and row[0].isdigit()] == ["8", "32", "128"]
    assert [row[0] for row in rows if len(row) == 6][2:] == ["none", "auto"]


def test_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "row_of", scale.measure_one)  # in this process
    options = ["--largest", "20000", "--seeds", "400", "--workers", "1", "--grouping", "random"]
    result = CliRunner().invoke(scale.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in result.stdout.splitlines() if "0,000" in line]
    assert ["20,000", "200,000", "400 x 1"] == rows[-1][:3] == rows[1][:3]
    assert all(float(row[-1]) > 0 for row in rows)


def test_layout() -> None:
    result = CliRunner().invoke(layout.main, ["--relations", "9", "--repeats", "1"], catch_exceptions=False)
    assert "| per_type |" in result.output and "| packed |" in result.output


def test_startup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    options = [str(config), "--model", "to_hetero", "--backend", "eager"]
    result = CliRunner().invoke(startup.main, options, catch_exceptions=False)
    assert result.exit_code == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("| to_hetero")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert [row[1] for row in rows] == ["first", "second"] and all(float(row[2]) > 0 for row in rows)

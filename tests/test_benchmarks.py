"""The measurements run, on a graph of seconds; what they measure is not checked."""

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import step

CONFIG = """
name = "tiny"
[dataset]
source = "synthetic"
[dataset.subset]
movie = 60
[sampling]
fanout = [3, 2]
batch_size = 8
[model]
hidden_channels = 8
heads = 2
"""


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # OpenMP threads that wait for a busy core spin, which makes steps 100 times slower
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("model", step.MODELS)
def test_step(tmp_path: Path, model: str) -> None:
    config = tmp_path / "tiny.toml"
    config.write_text(CONFIG)
    options = ["--model", model, "--variant", "pyg-eager", "--variant", "eager", "--epochs", "1", "--batches", "2"]
    result = CliRunner().invoke(step.main, [str(config), *options], catch_exceptions=False)
    assert result.exit_code == 0
    rows = [line.split("|") for line in result.stdout.splitlines() if line.startswith(f"| {model}")]
    assert [row[2].strip() for row in rows] == ["plain PyG, eager", "heteroshards, eager"]
    assert all(0 < float(row[-2]) < 10 for row in rows)

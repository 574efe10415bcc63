"""benchmarks/accuracy.py compares groupings on configs that differ in nothing else."""

import importlib
from pathlib import Path

import pytest
from click import ClickException
from click.testing import CliRunner

from benchmarks import accuracy, measure
from heteroshards.schemas.config import load_config

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))

TINY = """
[dataset]
source = "synthetic"
args = {scale = 0.02, num_features = 12}
[sampling]
batch_size = 8
rounds = 2
[store]
root = 'ROOT'
[model]
hidden_channels = 8
[train]
epochs = 1
root = 'ROOT'
"""


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("grouping", ["random", "balanced", "packed"])
def test_a_derived_config_differs_in_grouping_and_name_alone(config, grouping, tmp_path):
    own, derived = load_config(config), load_config(accuracy.with_grouping(config, grouping, tmp_path))
    assert derived.sampling.grouping == grouping and derived.name == f"{own.name}-{grouping}"
    sampling = derived.sampling.model_copy(update={"grouping": own.sampling.grouping})
    assert derived.model_copy(update={"name": own.name, "sampling": sampling}) == own


def test_max_seeds_stay_with_packed_and_text_is_quoted(tmp_path):
    path = tmp_path / "odd.toml"
    path.write_text(
        '[dataset]\nlabel = "a \\"b\\" \\u00e9"\n[sampling]\ngrouping = "packed"\nmax_seeds = 100\n', "utf-8"
    )
    assert load_config(accuracy.with_grouping(path, "packed", tmp_path)).sampling.max_seeds == 100
    derived = load_config(accuracy.with_grouping(path, "random", tmp_path))
    assert derived.sampling.max_seeds == 0 and derived.dataset.label == 'a "b" é'


def in_this_process(room, *arguments):
    """As `accuracy.run` runs a command, four of which would import torch four times."""
    command = importlib.import_module(f"heteroshards.{room}.cli").main
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False).stdout


def test_a_command_is_run_in_a_process_of_its_own_and_must_succeed():
    for words in (("pipeline", "prepare"), ("trainer", "train")):
        assert "--config" in accuracy.run(*words, "--help")
    with pytest.raises(ClickException, match="python -m trainer nonsense ended with code 2"):
        accuracy.run("trainer", "nonsense")


def test_groupings_are_prepared_trained_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(accuracy, "run", in_this_process)
    config = tmp_path / "tiny.toml"
    config.write_text(TINY.replace("ROOT", str(tmp_path / "out")))
    options = ["--seeds", "1", "--model", "to_hetero", "--backend", "eager", "--write"]
    for grouping in ("random", "packed"):
        options += ["--grouping", grouping]
    result = CliRunner().invoke(accuracy.main, [str(config), *options], catch_exceptions=False)
    rows = [line for line in result.stdout.splitlines() if line.startswith("| to_hetero")]
    assert [row.split("|")[3].strip() for row in rows] == ["random", "packed"]
    assert "--grouping random --grouping packed" in (tmp_path / "RESULTS.md").read_text()
    assert len(list((tmp_path / "out").glob("tiny-*.latest"))) == 2

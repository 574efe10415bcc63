"""Every path of a config and of a command may begin at home or with a variable."""

from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from heteroshards.pipeline.cli import main as pipeline_command
from heteroshards.schemas.config import IpuConfig, load_config
from heteroshards.trainer.backends.poptorch_options import cache_folder
from heteroshards.trainer.cli import main as trainer_command
from tests.pipeline.bad_graphs import small_graph

JOB = """
name = "job"
[dataset]
source = "file"
path = "$DATA_OF_MINE/graph.pt"
seed_type = "paper"
[sampling]
fanout = [2, 2]
batch_size = 4
rounds = 1
[store]
root = "~/stores"
[train]
epochs = 1
backend = "eager"
root = "${RUNS_OF_MINE}/runs"
cache = "~/cache"
"""


def test_nothing_lands_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("HOME", "DATA_OF_MINE", "RUNS_OF_MINE"):
        monkeypatch.setenv(name, str(home))
    (home / "job.toml").write_text(JOB)
    torch.save(small_graph(), home / "graph.pt")
    config, run = ["--config", "~/job.toml"], ["--run", "~/runs/mine"]

    def call(main, *args: str) -> str:
        result = CliRunner().invoke(main, list(args))
        assert result.exit_code == 0, result.output
        return result.output

    call(pipeline_command, "prepare", *config)
    (store,) = [path for path in (home / "stores").iterdir() if path.is_dir()]
    assert "nothing changed" in call(pipeline_command, "prepare", *config)
    named = f"~/stores/{store.name}"
    call(pipeline_command, "inspect", named, "--html", "~/page.html")
    call(pipeline_command, "inspect", "--store", named, "--against", named)
    call(pipeline_command, "verify", "$RUNS_OF_MINE/stores/" + store.name, *config)
    call(pipeline_command, "prepare", *config, "--store", "~/other")
    call(trainer_command, "train", *config)
    call(trainer_command, "train", *config, *run, "--store", "~/other")
    call(trainer_command, "predict", *config, *run, "--store", "~/other", "--output", "$HOME/out.parquet")
    assert list(here.iterdir()) == []
    found = {path.name for path in home.iterdir()} - {"cache"}
    assert found == {"job.toml", "graph.pt", "stores", "page.html", "other", "other.latest", "runs", "out.parquet"} | {
        path.name for path in home.glob("*.lock")
    }
    assert sorted(path.name for path in (home / "runs").iterdir() if path.is_dir()) == [
        "job-to_hetero-eager-s0",
        "mine",
    ]
    assert cache_folder(IpuConfig(executable_cache="~/exe"), home) == home / "exe"
    assert load_config("~/job.toml").train.root == "${RUNS_OF_MINE}/runs", "as it was written"


@pytest.mark.parametrize(
    ("main", "args"), [(pipeline_command, ["prepare", "--store"]), (trainer_command, ["train", "--config"])]
)
def test_a_variable_that_is_not_set_is_an_error(tmp_path, monkeypatch, main, args: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, [*args, "$NO_SUCH_THING/x"])
    assert result.exit_code == 2 and "NO_SUCH_THING" in result.output and list(tmp_path.iterdir()) == []

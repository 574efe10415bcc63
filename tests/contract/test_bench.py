"""`heteroshards bench`: every part is measured, nothing is left behind, and what is missing is said."""

import json
import tempfile

import numpy as np
import pytest
from click.testing import CliRunner

from heteroshards import bench, pipeline
from heteroshards.cli import main
from heteroshards.schemas.config import load_config

LINES = ["name = 'small'", "[dataset]", "args = {scale = 0.02, num_features = 8}", "[sampling]", "batch_size = 8"]


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A config; temporary folders are made beside it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    places = ["[store]", f"root = '{tmp_path}/stores'", "[train]", f"cache = '{tmp_path}/cache'", "backend = 'eager'"]
    (tmp_path / "small.toml").write_text("\n".join([*LINES, *places]))
    return tmp_path / "small.toml"


def run(*args):
    return CliRunner().invoke(main, ["bench", *map(str, args)])


def test_every_part_is_measured_and_nothing_stays(job):
    assert CliRunner().invoke(main, ["prepare", "--config", str(job)]).exit_code == 0
    stores = sorted(path.name for path in (job.parent / "stores").iterdir())
    found = run("--config", job, "--json", "-j", 1)
    assert found.exit_code == 0, found.output
    values = json.loads(found.stdout.splitlines()[-1])
    assert list(values["prepare"]["seconds"]) == ["load", "check and hash", "group and count", "sample, pad and write"]
    numbers = [*values["prepare"]["seconds"].values(), *values["stream"].values(), *values["step"].values()]
    assert all(np.isfinite(number) and number >= 0 for number in numbers)
    assert values["prepare"]["num_seeds"] > 0 and values["step"]["ms_per_step"] > 0
    assert (values["backend"], values["model"], values["job"]) == ("eager", "to_hetero", "small")
    assert sorted(path.name for path in (job.parent / "stores").iterdir()) == stores
    assert list((job.parent / "temporary").glob("heteroshards*")) == []
    shown = run("--config", job, "--part", "stream").output
    assert "batches alone" in shown and "a step" not in shown and "prepare " not in shown


def test_seeds_per_second_are_told_of_what_takes_longer_for_more_seeds(job):
    lines = run("--config", job, "--part", "prepare").output.splitlines()
    rated = {line[2:26].strip(): line.endswith("seeds/s") for line in lines if line.startswith("  ")}
    assert rated == {"load": False, "check and hash": False, "group and count": True, "sample, pad and write": True}


def test_a_store_that_is_not_there_is_said_before_anything_is_measured(job, monkeypatch):
    monkeypatch.setattr(bench, "_prepare", lambda *_: pytest.fail("prepared"))
    missing = run("--config", job)
    assert missing.exit_code == 5 and "no store was prepared for job 'small'" in missing.output


def test_a_failure_leaves_nothing_either(job, monkeypatch):
    with job.open("a") as file:
        file.write("\n[budget]\nmode = 'uniform'\nnodes = 9\nedges = 2")
    failed = run("--config", job, "--part", "prepare")
    assert failed.exit_code == 4, failed.output
    assert list((job.parent / "temporary").glob("heteroshards*")) == []


def test_a_training_host_measures_what_it_can(job, monkeypatch):
    assert callable(pipeline.prepare), "imported before it is hidden"
    assert CliRunner().invoke(main, ["prepare", "--config", str(job)]).exit_code == 0
    monkeypatch.setattr(bench.importlib.util, "find_spec", lambda name: None)
    found = run("--config", job)
    assert found.exit_code == 0 and "prepare is left out" in found.output and "a step" in found.output
    assert load_config(job).name == "small"

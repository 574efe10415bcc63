"""The one name that is installed: what it exports, its command, and a wheel in an environment of somebody else."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tomllib
from click.testing import CliRunner

import heteroshards
from heteroshards import JobConfig, evaluate, fit, open_store, predict, prepare
from heteroshards.cli import ROOMS, main
from heteroshards.schemas.config import load_config
from heteroshards.schemas.config.template import annotated_config, meanings
from tests.strategies import random_graph

ROOT = Path(__file__).resolve().parents[2]
TYPES = {("a", "to", "b"): 90, ("b", "to", "a"): 90}
GRAPH = random_graph(np.random.default_rng(0), {"a": 60, "b": 30}, TYPES, "a", {"a": 3})
SECTIONS = {name: field.annotation for name, field in JobConfig.model_fields.items() if name != "name"}


def call(*args: str) -> str:
    result = CliRunner().invoke(main, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def job(folder: Path) -> JobConfig:
    return JobConfig(
        name="api",
        dataset={"seed_type": "a"},
        sampling={"batch_size": 8, "fanout": [2, 2]},
        store={"root": str(folder / "stores")},
        train={"epochs": 1, "backend": "eager", "root": str(folder / "runs")},
    )


def test_the_names_in_one_line_each(tmp_path: Path) -> None:
    config = job(tmp_path)
    store = open_store(prepare(GRAPH, config))
    result = fit(config, store, tmp_path / "run")
    scores = evaluate(config, tmp_path / "run", "test", store=store)
    assert {name: result["test"][name] for name in scores} == pytest.approx(scores)
    assert predict(config, tmp_path / "run", tmp_path / "p.parquet", ["val", "test"], store=store) > 0
    with pytest.raises(heteroshards.schemas.errors.ConfigError, match="no labels to score; got predict"):
        evaluate(config, tmp_path / "run", "predict", store=store)
    assert sorted(heteroshards.__all__) == sorted(
        [
            "JobConfig",
            "ShardDataset",
            "ShardIterable",
            "__version__",
            "evaluate",
            "fit",
            "open_store",
            "predict",
            "prepare",
        ]
    )


def test_importing_it_is_cheap() -> None:
    code = "import sys, heteroshards; print([m for m in ('torch', 'numba', 'zarr', 'click') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_one_command_has_those_of_both_rooms() -> None:
    assert heteroshards.__version__ in call("--version")
    told = call("--help")
    assert all(f"  {name} " in told for name in [*ROOMS, "config"])
    assert "--set SECTION.KEY=VALUE" in call("prepare", "--help") and "--set" in call("train", "--help")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_says_what_it_means(section: str) -> None:
    assert set(meanings(SECTIONS[section])) >= set(SECTIONS[section].model_fields)


def test_the_template_is_the_default_config(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    call("config", "--init", str(path))
    assert load_config(path, {"name": "job"}) == JobConfig()
    result = CliRunner().invoke(main, ["config", "--init", str(path)])
    assert result.exit_code == 2 and "the file exists" in result.output
    lines = annotated_config().splitlines()
    given = [line[2:] for line in lines if line.startswith("# ") and " = " in line and not line.startswith("# `")]
    bare = [line if line.startswith("[") else None for line in lines]
    assert [line for line in bare if line] == [f"[{name}]" for name in SECTIONS]
    for line in given:
        key, _, value = line.partition(" = ")
        if key.isidentifier():
            tomllib.loads(f"{key} = {value}")


def test_any_key_is_set_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("[dataset]\nargs = { num_movies = 60, num_directors = 20, num_actors = 30, num_features = 12 }\n")
    settings = ["sampling.batch_size=16", "sampling.fanout=[2,1]", f"store.root={tmp_path}/s"]
    settings.append("dataset.args.rng_seed=3")
    call("prepare", "--config", str(path), *(word for text in settings for word in ("--set", text)))
    (store,) = [folder for folder in (tmp_path / "s").iterdir() if folder.is_dir()]
    manifest = open_store(store).manifest
    assert manifest.sampling.batch_size == 16 and {*manifest.sampling.fanouts.values()} == {(2, 1)}
    assert manifest.config["dataset"]["args"]["rng_seed"] == 3
    for text, words in (
        ("sampling.batchsize=1", "batch_size"),
        ("nonsense", "SECTION.KEY=VALUE"),
        ("name.x=1", "table"),
    ):
        result = CliRunner().invoke(main, ["prepare", "--config", str(path), "--set", text])
        assert result.exit_code == 2 and words in result.output, result.output


def installed(folder: Path) -> Path:
    """The folder that a wheel of this checkout unpacks to; dependencies come from the environment of the tests."""
    source = folder.with_name("source")  # not the checkout, where an earlier build may have left modules
    leave = shutil.ignore_patterns("__pycache__")
    for name in ("heteroshards", "schemas", "pipeline", "trainer"):
        shutil.copytree(ROOT / name, source / name, ignore=leave)
    for name in ("pyproject.toml", "setup.py", "README.md"):
        shutil.copy(ROOT / name, source / name)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-input", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def test_a_wheel_beside_somebody_elses_trainer(tmp_path: Path) -> None:
    site = installed(tmp_path / "site")
    assert {path.name for path in site.iterdir() if "dist-info" not in path.name} <= {"heteroshards", "bin"}
    for room in ("schemas", "pipeline", "trainer"):
        assert (site / "heteroshards" / room / "py.typed").exists()
        for path in (ROOT / room).rglob("*.py"):
            assert (site / "heteroshards" / path.relative_to(ROOT)).exists()
    project = tmp_path / "project"
    project.mkdir()
    for name in ("trainer", "pipeline", "schemas"):
        (project / f"{name}.py").write_text("raise RuntimeError('somebody else\\'s')\n")
    (project / "job.toml").write_text(
        "[dataset]\nargs = { num_movies = 60, num_directors = 20, num_actors = 30, num_features = 12 }\n"
        '[sampling]\nbatch_size = 16\n[train]\nepochs = 1\nbackend = "eager"\n'
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    told = {}
    for verb, *options in (["prepare"], ["train"], ["bench", "--json"]):
        command = [sys.executable, "-m", "heteroshards", verb, "--config", "job.toml", *options]
        done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        told[verb] = done.stdout
    assert json.loads(told["train"])["epochs"] == 1
    assert {"prepare", "stream", "step"} <= set(json.loads(told["bench"]))
    code = "from importlib.util import find_spec; print(find_spec('heteroshards.trainer').origin)"  # without torch
    where = subprocess.run([sys.executable, "-c", code], cwd=project, env=environment, capture_output=True, text=True)
    assert where.stdout.startswith(str(site))

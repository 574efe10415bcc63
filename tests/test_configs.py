"""The configs that come with the repository, and the files around them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from heteroshards.schemas.config import load_config
from heteroshards.schemas.config.job import tomllib

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.toml"))


def test_the_named_configs_are_there() -> None:
    assert {path.stem for path in CONFIGS} >= {"quickstart", "imdb", "dblp"}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_loads_and_is_named_after_its_file(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    hops = config.sampling.fanout
    lists = hops.values() if isinstance(hops, dict) else [hops]
    assert {len(fanout) for fanout in lists} == {config.model.num_layers}


def test_the_default_config_needs_no_download() -> None:
    assert load_config(ROOT / "configs" / "quickstart.toml").dataset.source == "synthetic"


@pytest.mark.parametrize("room", ["pipeline", "trainer"])
def test_quickstart_is_the_default_of_the_commands(room: str) -> None:
    command = {"pipeline": "prepare", "trainer": "train"}[room]
    shown = subprocess.run(
        [sys.executable, "-m", room, command, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "configs/quickstart.toml" in shown


def test_constraints_pin_exactly_and_cover_every_dependency() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    pattern = r"([a-z0-9-]+)==[0-9][0-9a-z.]*( ; python_version (>=|<) '3\.11')?"
    pinned = {}
    for line in lines:
        match = re.fullmatch(pattern, line)
        assert match, line
        pinned.setdefault(match.group(1), []).append(match.group(3))
    assert {tuple(sorted(filter(None, kinds))) for kinds in pinned.values() if len(kinds) == 2} == {("<", ">=")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    names = {re.match(r"[\w-]+", line).group().lower().replace("_", "-") for line in required}
    assert {"numpy", "torch", "pytest"} <= names <= set(pinned)


def test_make_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("prepare", "inspect", "verify", "train", "evaluate", "predict", "test", "lint", "help"):
        assert re.search(rf"^  {target} ", shown, flags=re.MULTILINE)


def test_make_hands_variables_on_only_when_set() -> None:
    def commands(*variables: str) -> str:
        arguments = ["make", "--dry-run", "-o", ".venv/.ready", "train", *variables]
        return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    assert "--model" not in commands() and "--store" not in commands()
    full = commands("CONFIG=c.toml", "STORE=s", "MODEL=hgt", "BACKEND=eager", "RUN=r")
    assert "pipeline prepare --config 'c.toml' --store 's'" in full
    assert "trainer train --config 'c.toml' --store 's' --model 'hgt'" in full
    assert "--backend 'eager' --run 'r'" in " ".join(full.split())

"""Places where no store can be: refused before anything is counted, wherever that can be seen."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from heteroshards import pipeline
from heteroshards.pipeline.cli import main
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from tests.pipeline.build import as_toml, job
from tests.strategies import random_graph

DATA = random_graph(np.random.default_rng(0), {"a": 9, "b": 3}, {("b", "to", "a"): 20}, "a")


def config(root: Path) -> JobConfig:
    return job(DATA, root, sampling={"batch_size": 3, "rounds": 1, "fanout": [2]})


def link(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path.parent / "nowhere")


def occupied(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")


PLACES = {
    "root is a file": ("stores", "stores", occupied, "the store's folder is below a file"),
    "root below a file": ("file/stores", "file", occupied, "the store's folder is below a file"),
    "a folder of others": ("stores", "stores/mine/thesis", occupied, "taken by something that is no store"),
    "a link to nowhere": ("stores", "stores/mine", link, "a link that leads nowhere"),
    "a name too long": ("x" * 300, "", None, "the path cannot be used.*too long"),
    "no name at all": ("a\0b", "", None, "the path cannot be used"),
    "where nobody can write": ("/proc/stores", "", None, "cannot be written"),
}


def never(*_: object) -> None:
    pytest.fail("refused before it is counted")


@pytest.mark.parametrize("name", PLACES)
def test_places_where_no_store_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    root, there, make, words = PLACES[name]
    if make:
        make(tmp_path / there)
    before = sorted(tmp_path.rglob("*"))
    if root != "/proc/stores":  # that one is only found out by trying
        monkeypatch.setattr("heteroshards.pipeline.preparation.run.plan_store", never)
    with pytest.raises(StoreError, match=words):
        pipeline.prepare(DATA, config(tmp_path / root), store=tmp_path / root / "mine")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a double of `os.access`, as the superuser may write everywhere; a read-only disk is in test_faults.py."""
    monkeypatch.setattr(
        "heteroshards.pipeline.writing.place.os.access",
        lambda path, mode: not (Path(path) == tmp_path and mode & os.W_OK),
    )
    with pytest.raises(StoreError, match=r"the folder cannot be written; got no permission.*Mend its permissions"):
        pipeline.prepare(DATA, config(tmp_path / "stores" / "deep"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "make"), [("mine.partial", occupied), (".mine.lock", lambda path: path.mkdir())])
def test_what_stands_where_a_store_would_grow(tmp_path: Path, name: str, make: Any) -> None:
    make(tmp_path / name)
    with pytest.raises(StoreError, match=f"cannot be written; got .*{name}"):
        pipeline.prepare(DATA, config(tmp_path), store=tmp_path / "mine")
    assert {path.name for path in tmp_path.iterdir()} <= {name, ".mine.lock"}


def test_a_note_that_cannot_be_written_leaves_the_store_and_says_so(tmp_path: Path) -> None:
    stores, file = tmp_path / "stores", tmp_path / "job.toml"
    (stores / "job.latest").mkdir(parents=True)
    args = {"scale": 0.01, "num_features": 8}
    file.write_text(as_toml({"dataset": {"args": args}, "sampling": {"rounds": 1}, "store": {"root": str(stores)}}))
    result = CliRunner().invoke(main, ["prepare", "--config", str(file)])
    assert result.exit_code == StoreError.exit_code and "The store itself is finished" in result.output
    assert len(list(stores.glob("job-*/.zattrs"))) == 1
    assert not list(stores.glob(".*.new"))

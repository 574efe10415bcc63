"""What the README shows is what works."""

import re
from pathlib import Path

import numpy as np
import pytest
import xarray

from heteroshards import pipeline
from heteroshards.schemas import config as sections
from tests.pipeline.build import job
from tests.strategies import random_graph

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 20}, types, "a", {"a": 3})
    return pipeline.prepare(data, job(data, tmp_path_factory.mktemp("stores"), sampling={"batch_size": 4}))


def test_one_batch_is_read_with_nothing_but_zarr_and_numpy(store):
    example = re.search(r"<!-- example: read-one-batch -->\n```python\n(.*?)```", README, re.S)
    names = {"STORE": str(store)}
    exec(example.group(1), names)
    assert names["x"]["a"].shape[1] == 3 and "b" not in names["x"]
    assert set(names["edge_index"]) == {"a__to__b", "b__to__a"}


@pytest.mark.parametrize("group", ["train/seeds", "val/nodes/a", "test/edges/a__to__b", "train/stats", "features/a"])
def test_groups_open_in_xarray_with_named_dimensions(store, group):
    with xarray.open_zarr(str(store), group=group, consolidated=False) as dataset:
        for variable in dataset.variables.values():
            assert not any(dim.startswith("dim_") for dim in variable.dims)
            assert variable.dtype.kind in "ibf"
            assert variable.attrs["description"]


@pytest.mark.parametrize(
    ("title", "section"),
    [
        ("dataset", sections.DatasetConfig),
        ("sampling", sections.SamplingConfig),
        ("budget", sections.BudgetConfig),
        ("store", sections.StoreConfig),
        ("model", sections.ModelConfig),
        ("train", sections.TrainConfig),
        ("ipu", sections.IpuConfig),
    ],
)
def test_the_config_reference_lists_every_key_once(title, section):
    table = re.search(rf"\| `\[{title}\]` \|.*?\n\n", README, re.S).group(0)
    first_column = "\n".join(line.split("|")[1] for line in table.splitlines()[2:] if line.startswith("|"))
    assert sorted(re.findall(r"`(\w+)`", first_column)) == sorted(section.model_fields)


def test_the_python_api_works_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = re.search(r"## Python API\n\n```python\n(.*?)```", README, re.S).group(1)
    types = {("author", "writes", "paper"): 90, ("paper", "written_by", "author"): 90}
    data = random_graph(
        np.random.default_rng(0), {"author": 30, "paper": 60}, types, "paper", {"author": 3, "paper": 4}
    )
    names = {"data": data}
    exec(example, names)
    assert names["batch"]["paper"].x.shape[1] == 4
    assert 0 <= names["result"]["test"]["accuracy"] <= 1
    assert (tmp_path / "runs" / "mine" / "best.pt").is_file()

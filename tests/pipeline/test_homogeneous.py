"""PyG's `Data`, from wherever it comes, is a graph of node type "node" and edge type ("node", "to", "node")."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch, Data, InMemoryDataset
from torch_geometric.transforms import ToSparseTensor

from heteroshards.pipeline import prepare
from heteroshards.pipeline.sources import SourceGraph, from_data, load_dataset
from heteroshards.pipeline.verify.job import verify
from heteroshards.schemas.config import DatasetConfig, JobConfig
from heteroshards.schemas.errors import ConfigError, GraphError
from tests.pipeline.build import mask
from tests.pipeline.stores import manifest_of

EDGE = ("node", "to", "node")
TENSORS = ("x", "y", "train_mask", "val_mask")


def small_data(**more: Any) -> Data:
    """12 nodes on a ring, 24 edges with two attributes."""
    ring = torch.arange(12)
    return Data(
        x=torch.arange(36.0).view(12, 3),
        y=ring % 3,
        edge_index=torch.cat([torch.stack([ring, ring.roll(1)]), torch.stack([ring.roll(1), ring])], dim=1),
        edge_attr=torch.arange(48.0).view(24, 2),
        train_mask=mask([0, 1, 2, 3, 4, 5], 12),
        val_mask=mask([6, 7, 8], 12),
        **more,
    )


def returned() -> Data:
    return small_data()


def assert_taken_over(source: SourceGraph) -> None:
    data, given = source.data, small_data()
    assert data.metadata() == (["node"], [EDGE])
    assert source.seed_type == source.description["seed_type"] == "node"
    assert all(torch.equal(data["node"][name], given[name]) for name in TENSORS)
    assert all(torch.equal(data[EDGE][name], given[name]) for name in ("edge_index", "edge_attr"))
    assert source.seeds["train"].tolist() == [0, 1, 2, 3, 4, 5]


WAYS = {
    "as it is": lambda: small_data(),
    "as a dict": lambda: small_data().to_dict(),
    "one batch of it": lambda: Batch.from_data_list([small_data()]),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_saved_one_loads(tmp_path: Path, way: str) -> None:
    torch.save(WAYS[way](), tmp_path / "graph.pt")
    assert_taken_over(load_dataset(DatasetConfig(source="file", path="graph.pt"), tmp_path))


def test_the_file_of_a_dataset_loads(tmp_path: Path) -> None:
    InMemoryDataset.save([small_data()], str(tmp_path / "graph.pt"))
    assert_taken_over(load_dataset(DatasetConfig(source="file", path="graph.pt"), tmp_path))


def test_a_function_may_return_one() -> None:
    name = "tests.pipeline.test_homogeneous:returned"
    assert_taken_over(load_dataset(DatasetConfig(source="function", function=name)))


def test_a_dataset_of_pyg_may_be_one() -> None:
    config = DatasetConfig(source="pyg", class_name="KarateClub")
    source = load_dataset(config)
    assert source.data["node"].num_nodes == 34 and len(source.seeds["train"]) == 4
    assert source.description["dataset"] == "KarateClub"


def test_one_in_memory_is_prepared_and_sound(tmp_path: Path) -> None:
    config = JobConfig(sampling={"fanout": [2, 2], "batch_size": 4}, store={"root": str(tmp_path)})
    data = small_data()
    path = prepare(data, config)
    manifest = manifest_of(path)
    assert manifest["graph"]["task"]["seed_type"] == "node"
    assert [tensor["name"] for tensor in manifest["tensors"] if tensor["part"] == "features"] == ["x", "edge_attr"]
    assert verify(path, source=from_data(data, config.dataset, {}), config=config).num_findings == 0
    assert set(data.keys()) == {*TENSORS, "edge_index", "edge_attr"}, "what was given is left as it was"


def test_whose_an_attribute_is() -> None:
    """By its name, then by its rows; it is said so where it is not read."""
    more = {
        "edge_weight": torch.ones(24),
        "weight": torch.ones(24),
        "pos": torch.ones(12, 2),
        "name": "ring",
        "odd": torch.ones(5),
    }
    notes = {
        note.message.partition(" ")[0]: note.concerns
        for note in from_data(small_data(**more), DatasetConfig(), {}).told
        if note.code == "not_read"
    }
    assert notes == {
        "edge_weight": "edge type 'node__to__node'",
        "weight": "edge type 'node__to__node'",
        "pos": "node type 'node'",
        "name": None,
        "odd": None,
    }


def test_a_seed_type_that_is_named_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"seed_type: the graph has no node type 'movie'. Known: node"):
        from_data(small_data(), DatasetConfig(seed_type="movie"), {})
    assert from_data(small_data(), DatasetConfig(seed_type="node"), {}).seed_type == "node"


def test_of_several_types_one_must_be_named() -> None:
    data = from_data(small_data(), DatasetConfig(), {}).data
    data["town"].num_nodes = 1
    with pytest.raises(ConfigError, match="no node type 'movie'"):
        from_data(data, DatasetConfig(), {})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: data.update({"edge_index": torch.zeros(2, 3)}), "edge_index is malformed"),
        (lambda data: data.update({"edge_index": torch.full((2, 24), 12)}), "does not exist; got 12; expected 0 to 11"),
        (lambda data: data.update({"x": torch.zeros(11, 3)}), "does not exist; got 11; expected 0 to 10"),
        (lambda data: data.update({"train_mask": mask([1], 11)}), "a mask is one bool per node"),
        (lambda data: data.update({"edge_attr": torch.zeros(23, 2)}), "another number of rows than there are edges"),
    ],
)
def test_what_is_wrong_in_one_is_said(spoil: Any, words: str) -> None:
    data = small_data()
    spoil(data)
    with pytest.raises(GraphError, match=words):
        from_data(data, DatasetConfig(), {})


@pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR)")
def test_a_transposed_matrix_is_no_edge_index() -> None:
    with pytest.raises(GraphError, match=r"has no edge_index.*adj_t is not read"):
        from_data(ToSparseTensor(attr="edge_attr")(small_data()), DatasetConfig(), {})


def test_a_size_is_not_guessed_from_edges() -> None:
    data = small_data()
    del data.x
    with pytest.raises(GraphError, match=r"number of nodes is unknown.*Set data\.num_nodes"):
        from_data(data, DatasetConfig(), {})
    data.num_nodes = 12
    assert from_data(data, DatasetConfig(), {}).data["node"].num_nodes == np.int64(12)

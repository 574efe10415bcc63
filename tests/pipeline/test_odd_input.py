"""Input that looks odd and is none the worse for it: prepared, verified against the data, and read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

import pipeline
from pipeline.datasets import from_data
from pipeline.verify import verify
from schemas.config import JobConfig
from tests.pipeline.bad_graphs import WRITES, both, cell, edges, put, small_graph
from tests.pipeline.promises import check_store
from tests.pipeline.stores import files_of, manifest_of, read

pytestmark = [
    pytest.mark.filterwarnings("ignore:There exist type names"),
    pytest.mark.filterwarnings("ignore:Sparse (invariant|CSR)"),
]
LONG = torch.long
NO_EDGES = torch.zeros(2, 0, dtype=LONG)


def job(root: Path, **sections: Any) -> JobConfig:
    dataset = {"seed_type": "paper", **sections.pop("dataset", {})}
    store = {"root": str(root), **sections.pop("store", {})}
    sampling = sections.pop("sampling", {"fanout": [2, 2], "batch_size": 4, "rounds": 2})
    return JobConfig(name="job", dataset=dataset, store=store, sampling=sampling, **sections)


def prepared(data: HeteroData, config: JobConfig, **options: Any) -> Path:
    """The store, after `verify` has compared it with the data."""
    store = pipeline.prepare(data, config, **options)
    verified = verify(store, from_data(data, config.dataset, {}), config)
    assert verified.is_sound, verified.lines()
    return store


def spoilt(spoil: Any) -> HeteroData:
    data = small_graph()
    spoil(data)
    return data


def empty_city(data: HeteroData) -> None:
    """A node type without nodes, with features and with edge types (of no edges) both ways."""
    data["city"].update({"num_nodes": 0, "x": torch.zeros(0, 3)})
    data["paper", "at", "city"].update({"edge_index": NO_EDGES, "edge_attr": torch.zeros(0, 2)})
    data["city", "of", "paper"].edge_index = NO_EDGES


def no_edges(data: HeteroData) -> None:
    for edge_type in data.edge_types:
        data[edge_type].edge_index = NO_EDGES


ODD = {
    "a type of no nodes": put("num_nodes", 0, "city"),
    "a type of no nodes, in relations": empty_city,
    "a relation of no edges": edges(NO_EDGES),
    "no edges at all": no_edges,
    "isolated seeds": both(edges(torch.zeros(2, 1, dtype=LONG)), edges(NO_EDGES, ("venue", "has", "paper"))),
    "self loops and the same edge twice": edges(
        torch.tensor([[0, 0, 0, 1, 1, 11], [0, 0, 1, 1, 1, 11]]), ("paper", "cites", "paper")
    ),
    "a type that no seed reaches": both(
        put("num_nodes", 3, "city"), edges(torch.tensor([[0], [1]]), ("paper", "at", "city"))
    ),
    "names of any language": both(
        put("num_nodes", 2, "论文 naïve"), edges(torch.tensor([[0], [1]]), ("论文 naïve", "~%:*?", "paper"))
    ),
    "names with double underscores": both(
        put("num_nodes", 2, "a__b"), edges(torch.tensor([[0], [1]]), ("a__b", "c__d", "paper"))
    ),
    "names of tensors": both(put("num_nodes", 2, "mask"), edges(torch.tensor([[0], [1]]), ("mask", "n_id", "paper"))),
    "a relation with the name of a type": put("num_nodes", 2, "author__writes__paper"),
    "ids of one byte": lambda data: edges(data[WRITES].edge_index.to(torch.uint8))(data),
    "a view of edges": lambda data: edges(data[WRITES].edge_index.t().contiguous().t())(data),
    "integers as features": put("x", torch.arange(24).view(12, 2)),
    "bools as features": put("x", torch.ones(12, 2, dtype=torch.bool)),
    "bfloat16": put("x", torch.ones(12, 2, dtype=torch.bfloat16)),
    "features that want gradients": put("x", torch.ones(12, 2, requires_grad=True)),
    "a number of nodes as a tensor": put("num_nodes", torch.tensor(2), "venue"),
    "classes without nodes": put("y", torch.tensor([7] * 11 + [0])),
    "attributes that nobody reads": both(put("title", ["a"] * 12), put("more", object())),
}


@pytest.mark.parametrize("mode", ["neighbor", "inline", "full"])
@pytest.mark.parametrize("name", ODD)
def test_odd_graphs_are_prepared(tmp_path: Path, name: str, mode: str) -> None:
    data = spoilt(ODD[name])
    sections: dict[str, Any] = {"inline": {"store": {"features": "inline"}}, "full": {"sampling": {"mode": "full"}}}
    check_store(prepared(data, job(tmp_path, **sections.get(mode, {}))), data)


def test_the_same_edge_twice_is_two_edges(tmp_path: Path) -> None:
    data = spoilt(edges(torch.tensor([[1, 1, 0], [0, 0, 0]]), ("paper", "cites", "paper")))
    sampling = {"fanout": [-1], "batch_size": 12, "rounds": 1}
    store = prepared(data, job(tmp_path, sampling=sampling, store={"chunk_batches": 1}))
    e_id = read(store, "train/edges/paper__cites__paper/e_id")[0]
    assert np.array_equal(np.sort(e_id[e_id >= 0]), [0, 1, 2]), "and a self loop is an edge"


def test_what_remove_isolated_empties_stays_as_a_type_without_nodes(tmp_path: Path) -> None:
    data = spoilt(put("num_nodes", 3, "city"))
    store = prepared(data, job(tmp_path, dataset={"remove_isolated": True}))
    (city,) = [node for node in manifest_of(store)["graph"]["node_types"] if node["name"] == "city"]
    assert city["num_nodes"] == 0 and (read(store, "train/nodes/city/n_id") == -1).all()


@pytest.mark.parametrize("fill", [np.nan, np.inf])
def test_a_default_stands_for_what_is_not_finite_counted_and_recorded(tmp_path: Path, fill: float) -> None:
    data = spoilt(both(cell(fill), cell(-np.inf, node_type="paper")))
    data[WRITES].edge_attr = torch.full((24, 1), fill)
    said: list[str] = []
    config = job(tmp_path, dataset={"feature_values": "default", "feature_default": -7.5})
    store = prepared(data, config, report=said.append)
    assert read(store, "features/author/x")[2, 1] == -7.5 and read(store, "features/author/x")[2, 0] == 6
    assert (read(store, "features/author__writes__paper/edge_attr") == -7.5).all()
    counts = {"paper": 1, "author": 1, "author__writes__paper": 24}
    assert manifest_of(store)["source"]["replaced_feature_values"] == counts
    assert manifest_of(store)["config"]["dataset"]["feature_default"] == -7.5
    assert "warning: node type 'author': 1 of 15 values of x are not finite; -7.5 stands in their place" in said
    assert np.isinf(data["paper"].x[2, 1].item()), "the graph that was given is not changed"


def test_what_is_not_finite_can_be_stored(tmp_path: Path) -> None:
    store = prepared(spoilt(cell(np.nan)), job(tmp_path, dataset={"feature_values": "allow"}))
    assert np.isnan(read(store, "features/author/x")[2, 1])


def test_odd_numbers_are_mentioned(tmp_path: Path) -> None:
    said: list[str] = []
    data = spoilt(both(put("y", torch.tensor([0, 1, 99] * 4)), put("x", torch.full((12, 1), 2**24 + 1))))
    pipeline.prepare(data, job(tmp_path), report=said.append)
    assert "warning: node type 'paper': x has integers up to 16777217, rounded to float32" in said
    assert any("100 classes (the largest is 99), but only 12 nodes with a label" in line for line in said)


def test_tensors_on_another_device_are_copied(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    here, there = small_graph(), small_graph().to("cuda")
    stores = [
        pipeline.prepare(data, job(tmp_path), store=tmp_path / name) for data, name in ((here, "a"), (there, "b"))
    ]
    assert files_of(stores[0]) == files_of(stores[1])


@pytest.mark.parametrize("form", ["coo", "csr"])
def test_sparse_tensors_are_made_dense(tmp_path: Path, form: str) -> None:
    data = small_graph()
    data["paper"].x = torch.eye(12).to_sparse() if form == "coo" else torch.eye(12).to_sparse_csr()
    store = prepared(data, job(tmp_path))
    assert np.array_equal(read(store, "features/paper/x"), np.eye(12, dtype=np.float32))

"""What is wrong with a graph is said before anything is sampled."""

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData

from pipeline.csc import pack_graph
from schemas.errors import GraphError
from tests.pipeline.build import hetero_graph
from tests.strategies import random_graph

TYPES = {("a", "to", "b"): 20, ("b", "to", "a"): 20}


@pytest.fixture
def data():
    return random_graph(np.random.default_rng(0), {"a": 12, "b": 9}, TYPES, "a", {"a": 3, "b": 2})


def set_edges(data: HeteroData, edges: torch.Tensor) -> None:
    data["a", "to", "b"].edge_index = edges


BROKEN = {
    "negative id": (
        lambda d: set_edges(d, torch.tensor([[0], [-1]])),
        r"names a b node that does not exist; got -1; expected 0 to 8",
    ),
    "id too large": (
        lambda d: set_edges(d, torch.tensor([[12], [0]])),
        r"names a a node that does not exist; got 12; expected 0 to 11",
    ),
    "float ids": (lambda d: set_edges(d, torch.zeros(2, 3)), r"got torch.float32 \(2, 3\); expected integers"),
    "wrong shape": (
        lambda d: set_edges(d, torch.zeros(3, 2, dtype=torch.long)),
        r"\(3, 2\); expected integers \[2, edges\]",
    ),
    "no edge_index": (lambda d: d["a", "to", "b"].pop("edge_index"), "has no edge_index"),
    "not a number": (lambda d: d["b"].x[4].fill_(float("nan")), r"x\[4, 0\] is not a finite.*feature_values"),
    "infinite": (lambda d: d["a"].x[2, 1:2].fill_(float("inf")), r"x\[2, 1\] is not a finite number; got inf"),
    "flat features": (lambda d: d["a"].update({"x": torch.zeros(12)}), r"must be a matrix; got shape \[12\]"),
    "short features": (
        lambda d: d["b"].update({"num_nodes": 10}),
        "another number of rows than nodes; got 9; expected 10",
    ),
    "negative label": (lambda d: d["a"].y.fill_(-1), "the largest class is out of range; got -1"),
    "unsafe name": (lambda d: d["a/b"].update({"num_nodes": 1}), "cannot name a folder"),
    "unknown size": (lambda d: d["c"].update({"name": ["q"]}), r"number of nodes is unknown.*data\['c'\].num_nodes"),
    "no nodes": (lambda d: d["c"].update({"num_nodes": 0}), "has no nodes.*Remove the type"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_graphs_are_refused_with_the_value_and_the_place(data, name):
    spoil, message = BROKEN[name]
    spoil(data)
    with pytest.raises(GraphError, match=message):
        hetero_graph(data)


def test_non_finite_features_can_be_allowed(data):
    from pipeline.datasets import from_data
    from pipeline.graph import build_graph
    from schemas.config import DatasetConfig

    data["a"].x[0, 0] = float("nan")
    source = from_data(data, DatasetConfig(seed_type="a"), {})
    assert np.isnan(build_graph(source, allow_nonfinite=True).features["a"][0, 0])


def test_features_become_float32_and_half_stays_half(data):
    data["a"].x = data["a"].x.double()
    data["b"].x = data["b"].x.half()
    graph = hetero_graph(data)
    assert (graph.features["a"].dtype, graph.features["b"].dtype) == (np.float32, np.float16)


def test_sparse_features_are_taken(data):
    dense = data["a"].x.clone()
    data["a"].x = dense.to_sparse()
    assert np.array_equal(hetero_graph(data).features["a"], dense.numpy())


def test_the_digest_sees_every_part(data):
    digests = {hetero_graph(data).digest()}
    changes = [
        lambda d: d["b"].x[0].add_(1),
        lambda d: d["a", "to", "b"].edge_index[0].flip(0),
        lambda d: d["a"].y[1:2].fill_((d["a"].y[1] + 1) % 3),
        lambda d: d["a", "to", "b"].update({"edge_index": d["a", "to", "b"].edge_index.flip(1)}),
        lambda d: d["a"].train_mask.copy_(d["a"].train_mask & (torch.arange(12) > int(d["a"].train_mask.nonzero()[0]))),
    ]
    for change in changes:
        other = data.clone()
        change(other)
        digests.add(hetero_graph(other).digest())
    assert len(digests) == len(changes), "one of the changes (a flip that is not written back) changes nothing"


def test_packing_groups_in_neighbors_in_their_order():
    edges = [np.array([[0, 1, 2, 0, 1], [1, 0, 1, 1, 0]])]
    graph = pack_graph([3, 2], [(0, 1)], edges)
    assert graph.indptr.tolist() == [0, 2, 5]
    assert graph.row.tolist() == [1, 1, 0, 2, 0]
    assert graph.e_id.tolist() == [1, 4, 0, 2, 3]


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_a_subset_of_sparse_features(data):
    from pipeline.datasets import from_data
    from schemas.config import DatasetConfig

    for sparse in (data["a"].x.to_sparse(), data["a"].x.to_sparse_csr()):
        other = data.clone()
        other["a"].x = sparse
        config = DatasetConfig(seed_type="a", subset={"a": 9})
        assert from_data(other, config, {}).data["a"].x.shape == (9, 3)
        assert other["a"].x.layout == sparse.layout, "the graph that was given is not changed"


@pytest.mark.parametrize("edges", [torch.zeros(2, 3, dtype=torch.bool), np.zeros((2, 3), np.int64)])
def test_edges_that_are_no_integer_tensor(data, edges):
    data["a", "to", "b"].edge_index = edges
    with pytest.raises(GraphError, match=r"edge_index is (malformed|no tensor)"):
        hetero_graph(data)

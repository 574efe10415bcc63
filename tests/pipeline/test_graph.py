"""The graph as checked numpy arrays. What is refused stands in test_bad_input.py."""

import numpy as np
import pytest
import torch

from heteroshards.pipeline.graph.csc import pack_graph
from tests.pipeline.build import hetero_graph
from tests.strategies import random_graph

TYPES = {("a", "to", "b"): 20, ("b", "to", "a"): 20}


@pytest.fixture
def data():
    return random_graph(np.random.default_rng(0), {"a": 12, "b": 9}, TYPES, "a", {"a": 3, "b": 2})


def test_features_become_float32_and_half_stays_half(data):
    data["a"].x = data["a"].x.double()
    data["b"].x = data["b"].x.half()
    graph = hetero_graph(data)
    assert (graph.features["a"]["x"].dtype, graph.features["b"]["x"].dtype) == (np.float32, np.float16)


def test_sparse_features_are_taken(data):
    dense = data["a"].x.clone()
    data["a"].x = dense.to_sparse()
    assert np.array_equal(hetero_graph(data).features["a"]["x"], dense.numpy())


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
    from heteroshards.pipeline.sources import from_data
    from heteroshards.schemas.config import DatasetConfig

    for sparse in (data["a"].x.to_sparse(), data["a"].x.to_sparse_csr()):
        other = data.clone()
        other["a"].x = sparse
        config = DatasetConfig(seed_type="a", subset={"a": 9})
        assert from_data(other, config, {}).data["a"].x.shape == (9, 3)
        assert other["a"].x.layout == sparse.layout, "the graph that was given is not changed"

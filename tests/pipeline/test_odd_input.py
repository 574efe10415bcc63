"""Input that looks odd and is none the worse for it: prepared, verified against the data, and read back."""

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import torch
from torch_geometric.data import HeteroData

from heteroshards import pipeline
from heteroshards.pipeline.memory import available_bytes
from heteroshards.pipeline.sources import from_data, load_dataset
from heteroshards.pipeline.verify import verify
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import GraphError
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


def sparse_pair(dense: torch.Tensor) -> Any:
    """torch_sparse's `SparseTensor`, as far as it is looked at."""
    row, column = dense.nonzero().t()
    pair = type("SparseTensor", (), {})()
    pair.coo, pair.sparse_sizes = (lambda: (row, column, dense[row, column])), (lambda: tuple(dense.shape))
    return pair


SPARSE = {
    "coo": torch.Tensor.to_sparse,
    "csr": torch.Tensor.to_sparse_csr,
    "csc": torch.Tensor.to_sparse_csc,
    "bsr": lambda x: x.to_sparse_bsr((2, 2)),
    "half": lambda x: x.half().to_sparse(),
    "bool": lambda x: x.bool().to_sparse(),
    "long": lambda x: x.long().to_sparse_csr(),
    "scipy csr": lambda x: scipy.sparse.csr_matrix(x.numpy()),
    "scipy array": lambda x: scipy.sparse.csc_array(x.double().numpy()),
    "SparseTensor": sparse_pair,
}


@pytest.mark.parametrize("form", SPARSE)
def test_sparse_features_are_made_dense(tmp_path: Path, form: str) -> None:
    data = small_graph()
    data["paper"].x = SPARSE[form](torch.eye(12))
    data["paper"].num_nodes = 12
    store = prepared(data, job(tmp_path))
    assert np.array_equal(
        read(store, "features/paper/x"), np.eye(12, dtype=np.float16 if form == "half" else np.float32)
    )


def test_one_number_per_edge_is_one_feature(tmp_path: Path) -> None:
    data = spoilt(edges(small_graph()[WRITES].edge_index, edge_attr=torch.arange(24.0)))
    store = prepared(data, job(tmp_path))
    assert read(store, "features/author__writes__paper/edge_attr").tolist() == [[float(i)] for i in range(24)]
    data[WRITES].edge_attr = data[WRITES].edge_attr.view(-1, 1)
    assert pipeline.prepare(data, job(tmp_path)) == store


def test_labels_and_masks_of_one_column_are_vectors(tmp_path: Path) -> None:
    data, plain = small_graph(), small_graph()
    for name in ("y", "train_mask", "val_mask"):
        data["paper"][name] = data["paper"][name].view(-1, 1)
    assert prepared(data, job(tmp_path)) == pipeline.prepare(plain, job(tmp_path))


def test_memory_is_asked_before_it_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heteroshards.pipeline.memory.available_bytes", lambda: 500)
    monkeypatch.setattr("heteroshards.pipeline.memory.SMALL_BYTES", 0)
    data = small_graph()
    data["paper"].x = torch.zeros(12, 400, dtype=torch.float64)
    with pytest.raises(GraphError, match=r"'paper': x of shape \[12, 400\] as float32 does not fit.*18.8 KiB to alloc"):
        from_data(data, job(tmp_path).dataset, {})
    data["paper"].x = torch.eye(12)
    with pytest.raises(GraphError, match=r"the index of all edges.*expected at most 500 B, which are available"):
        pipeline.prepare(data, job(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(GraphError, match=r"the synthetic graph's features.*Lower"):
        load_dataset(JobConfig(dataset={"args": {"scale": 0.01}}).dataset)


def test_memory_is_known_where_linux_says_it() -> None:
    available = available_bytes()
    assert available is None or 2**20 < available < 2**50
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    code = "from heteroshards.pipeline.memory import available_bytes; print(available_bytes())"
    limited = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (2**32, hard)),
    )
    assert limited.returncode == 0 and 0 < int(limited.stdout) < 2**32, limited.stderr

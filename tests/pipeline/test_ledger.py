"""The ledger says what the stored batches hold, and `inspect` trusts nothing that is damaged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heteroshards import pipeline
from heteroshards.pipeline.inspect.ledger import Ledger, LedgerReader
from heteroshards.pipeline.inspect.statistics import store_use
from heteroshards.pipeline.sampling.batches import Sizes, limiters
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.errors import (
    BudgetError,
    CorruptChunkError,
    FormatVersionError,
    ManifestError,
    StoreError,
    StoreIncompleteError,
)
from heteroshards.schemas.graph import EdgeTypeSchema, GraphSchema, NodeTypeSchema
from heteroshards.schemas.task import Task
from tests.pipeline.build import job
from tests.pipeline.ledgers import movie_graph, write_ledgers
from tests.pipeline.stores import read
from tests.raw_manifest import tensor_at
from tests.strategies import graphs, random_graph

BUDGETS = [
    {"mode": "exact"},
    {"mode": "uniform", "nodes": 11, "edges": 14, "oversize": "trim_nodes_and_edges"},
    {"mode": "sampled", "num_batches": 2, "oversize": "skip"},
]


def hops_of(edge_index, e_id, schema_edges, num_nodes, num_seeds, seed_type):
    """Hop of every node and edge of one batch, by walking from the seeds: ({type: hops}, {key: hops})."""
    node_hops = {name: np.full(count, -1) for name, count in num_nodes.items()}
    node_hops[seed_type][:num_seeds] = 0
    edge_hops = {key: np.full(int((e_id[key] >= 0).sum()), -1) for key in schema_edges}
    for hop in range(1, 10):
        found = []
        for key, (src, dst) in schema_edges.items():
            ends = edge_index[key][:, e_id[key] >= 0]
            into = node_hops[dst][ends[1]] == hop - 1
            edge_hops[key][into] = hop
            found.append((src, ends[0][into]))
        for name, ids in found:
            new = ids[node_hops[name][ids] < 0]
            node_hops[name][new] = hop
    return node_hops, edge_hops


def check_counts(store, reader, ledger, split):
    """Counts per type and hop of every batch against its masks and edges."""
    graph, folder = reader.manifest.graph, split.name
    edges = {edge.key: (edge.src, edge.dst) for edge in graph.edge_types}
    masks = {name: read(store, f"{folder}/nodes/{name}/mask") for name in graph.node_names}
    index = {key: read(store, f"{folder}/edges/{key}/edge_index") for key in edges}
    e_id = {key: read(store, f"{folder}/edges/{key}/e_id") for key in edges}
    assert np.array_equal(ledger.num_seeds, read(store, f"{folder}/seeds/mask").sum(axis=1))
    for b in range(split.num_batches):
        num_nodes = {name: int(mask[b].sum()) for name, mask in masks.items()}
        batch = {key: index[key][b] for key in edges}, {key: e_id[key][b] for key in edges}
        node_hops, edge_hops = hops_of(*batch, edges, num_nodes, int(ledger.num_seeds[b]), graph.seed_type)
        for i, name in enumerate(graph.node_names):
            expected = [int((node_hops[name] == hop).sum()) for hop in range(ledger.num_nodes.shape[2])]
            assert ledger.num_nodes[b, i].tolist() == expected
        for i, key in enumerate(graph.edge_keys):
            expected = [int((edge_hops[key] == hop + 1).sum()) for hop in range(ledger.num_edges.shape[2])]
            assert ledger.num_edges[b, i].tolist() == expected


@settings(max_examples=25, deadline=None)
@given(graphs(), st.integers(1, 5), st.integers(1, 2), st.sampled_from(BUDGETS), st.sampled_from([2, 3]))
def test_the_ledger_says_what_the_batches_hold(tmp_path_factory, data, batch_size, num_hops, budget, zarr_format):
    root = tmp_path_factory.mktemp("stores")
    sampling = {"batch_size": batch_size, "rounds": 2, "fanout": [3] * num_hops}
    config = job(data, root, sampling=sampling, budget=budget, store={"zarr_format": zarr_format})
    try:
        store = pipeline.prepare(data, config)
    except BudgetError:
        return  # skipping left no batch
    reader = LedgerReader(store)
    for split in reader.manifest.splits:
        (part,) = reader.manifest.parts(split)
        ledger = reader.read(part)
        check_counts(store, reader, ledger, split)
        for name in Ledger.__annotations__:
            assert np.array_equal(getattr(ledger, name), read(store, f"{split.name}/stats/{name}")), "as zarr reads it"
        real = Sizes(ledger.num_nodes, ledger.num_edges)
        assert ledger.limiter.tolist() == limiter_by_loop(real, part.budget, reader.manifest.graph)


def limiter_by_loop(sizes, budget, graph):
    rows = [*(budget.num_nodes[name] for name in graph.node_names), *(budget.num_edges[key] for key in graph.edge_keys)]
    found = []
    for b in range(len(sizes)):
        counts = [*(int(n.sum()) for n in sizes.num_nodes[b]), *(int(n.sum()) for n in sizes.num_edges[b])]
        best, at = -1.0, -1
        for i, (count, size) in enumerate(zip(counts, rows, strict=True)):
            ratio = count / (size - 1) if size > 1 else 0.0
            if ratio > best:
                best, at = ratio, i
        found.append(at)
    return found


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_the_limiter_is_the_type_nearest_to_its_budget(data):
    names, num_edge_types = ["a", "b", "c"][: data.draw(st.integers(1, 3))], data.draw(st.integers(0, 3))
    graph = GraphSchema(
        node_types=tuple(NodeTypeSchema(name=name, num_nodes=9) for name in names),
        edge_types=tuple(EdgeTypeSchema(src="a", relation=str(i), dst="a", num_edges=9) for i in range(num_edge_types)),
        task=Task.classification("a", 2),
    )
    rows = {name: data.draw(st.integers(1, 9)) for name in (*graph.node_names, *graph.edge_keys)}
    nodes, edges = ({name: rows[name] for name in group} for group in (graph.node_names, graph.edge_keys))
    hops = [{name: (size,) for name, size in group.items()} for group in (nodes, edges)]
    budget = Budget(mode="exact", num_nodes=nodes, num_edges=edges, max_seeds=1, hop_nodes=hops[0], hop_edges=hops[1])
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    columns = [rng.integers(0, rows[name], 20) for name in rows]
    counts = np.stack(columns, axis=1)[:, :, None].astype(np.int32)
    sizes = Sizes(counts[:, : len(nodes)], counts[:, len(nodes) :])
    assert limiters(sizes, budget, graph).tolist() == limiter_by_loop(sizes, budget, graph)


def test_ties_go_to_the_first_and_arrays_explain_themselves(tmp_path):
    data = random_graph(np.random.default_rng(0), {"a": 9, "b": 9}, {("a", "to", "b"): 20, ("b", "to", "a"): 20}, "a")
    store = pipeline.prepare(data, job(data, tmp_path, sampling={"mode": "full"}))
    assert (read(store, "train/stats/limiter") == 0).all(), "one batch per split: every type is full"
    import zarr

    stats = zarr.open_group(str(store), mode="r")["train/stats"]
    assert stats["limiter"].attrs["description"].endswith("a, b, a__to__b, b__to__a")
    for name in ("num_nodes", "num_edges"):
        assert "its budget less" in stats[name].attrs["description"], "how padded counts follow"


@pytest.fixture
def store(tmp_path):
    write_ledgers(tmp_path / "store", movie_graph(), {"train": 40, "val": 10})
    return tmp_path / "store"


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("name", Ledger.__annotations__)
def test_a_damaged_chunk_of_the_ledger_is_an_error(tmp_path, name, zarr_format):
    write_ledgers(tmp_path / "store", movie_graph(), {"train": 40, "val": 10}, zarr_format)
    folder = tmp_path / "store" / "val" / "stats" / name
    (chunk,) = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith((".z", "zarr"))]
    whole = chunk.read_bytes()
    for damaged, message in (
        (whole[:-1] + bytes([whole[-1] ^ 1]), "a chunk fails its checksum; got crc32c"),
        (whole[:-1], "a chunk has the wrong size"),
        (b"", "a chunk has the wrong size; got 0 bytes"),
    ):
        chunk.write_bytes(damaged)
        with pytest.raises(CorruptChunkError, match=message):
            store_use(tmp_path / "store")
    chunk.unlink()
    with pytest.raises(CorruptChunkError, match=r"a chunk is missing.*--force|val/stats"):
        store_use(tmp_path / "store")
    chunk.mkdir()
    with pytest.raises(StoreError, match="cannot be read"):
        store_use(tmp_path / "store")


def test_damaged_checksums_are_an_error(store):
    file = store / "checksums" / "0.0"
    whole = file.read_bytes()
    for damaged in (whole[:-8], b"\1" + whole[1:], b""):
        file.write_bytes(damaged)
        with pytest.raises(CorruptChunkError, match=r"checksums/0\.0.*a chunk (has the wrong size|fails its checksum)"):
            store_use(store)
    file.unlink()
    with pytest.raises(CorruptChunkError, match="missing"):
        store_use(store)


def test_a_chunk_that_does_not_decode_is_an_error(store, monkeypatch):
    monkeypatch.setattr("heteroshards.schemas.store.reader.check_chunk", lambda *_: None)
    for file in store.rglob("stats/num_nodes/0.*"):
        file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(CorruptChunkError, match="does not decode"):
        store_use(store)


def edit_manifest(store, change):
    values = json.loads((store / ".zattrs").read_text())
    change(values["manifest"])
    (store / ".zattrs").write_text(json.dumps(values))


def rename_limiter(manifest):
    tensor_at(manifest, "val/stats/limiter")["name"] = "unknown"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda m: m.update(complete=False), StoreIncompleteError, "not finished"),
        (lambda m: m.update(format_version=99), FormatVersionError, "version 99"),
        (rename_limiter, ManifestError, "a tensor is not listed; expected val/stats/limiter"),
    ],
)
def test_a_manifest_that_will_not_do_is_an_error(store, change, error, message):
    edit_manifest(store, change)
    with pytest.raises(error, match=message):
        store_use(store)


def test_no_store_is_an_error(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="no zarr store"):
            store_use(path)

"""Random heterogeneous graphs for hypothesis and for plain tests."""

from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import HeteroData

EdgeType = tuple[str, str, str]


def random_graph(
    rng: np.random.Generator,
    num_nodes: dict[str, int],
    num_edges: dict[EdgeType, int],
    seed_type: str,
    num_features: dict[str, int] | None = None,
    num_classes: int = 3,
) -> HeteroData:
    """A graph with masks and labels on `seed_type`; types in `num_features` have `x`."""
    data = HeteroData()
    for name, count in num_nodes.items():
        data[name].num_nodes = count
        if num_features and name in num_features:
            data[name].x = torch.from_numpy(rng.standard_normal((count, num_features[name]), np.float32))
    for (src, relation, dst), count in num_edges.items():
        ends = [rng.integers(0, num_nodes[src], count), rng.integers(0, num_nodes[dst], count)]
        data[src, relation, dst].edge_index = torch.from_numpy(np.stack(ends))
    count = num_nodes[seed_type]
    data[seed_type].y = torch.from_numpy(rng.integers(0, num_classes, count))
    data[seed_type].y[0] = num_classes - 1
    part = rng.permutation(count) * 3 // count
    for i, split in enumerate(("train", "val", "test")):
        data[seed_type][f"{split}_mask"] = torch.from_numpy(
            (part == i) if count >= 3 else np.ones(count, bool) * (i == 0)
        )
    return data


SHAPES: list[tuple[list[str], list[EdgeType]]] = [
    (["paper"], [("paper", "cites", "paper")]),
    (["paper", "author"], [("author", "writes", "paper"), ("paper", "written_by", "author")]),
    (
        ["movie", "director", "actor"],
        [
            ("movie", "to", "director"),
            ("movie", "to", "actor"),
            ("director", "to", "movie"),
            ("actor", "to", "movie"),
        ],
    ),
    (
        ["a", "b"],
        [("a", "self", "a"), ("a", "to", "b"), ("b", "to", "a"), ("b", "also", "a"), ("b", "self", "b")],
    ),
]


@st.composite
def graphs(draw: st.DrawFn, max_nodes: int = 25, max_edges: int = 80) -> HeteroData:
    """Graphs with several types and relations, isolated nodes, duplicate edges and self loops."""
    names, edge_types = draw(st.sampled_from(SHAPES))
    num_nodes = {name: draw(st.integers(1, max_nodes)) for name in names}
    num_nodes[names[0]] = max(3, num_nodes[names[0]])
    num_edges = {edge_type: draw(st.integers(0, max_edges)) for edge_type in edge_types}
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return random_graph(rng, num_nodes, num_edges, names[0], dict.fromkeys(names, 4))


def _spoil(data: HeteroData, way: str, rng: np.random.Generator) -> None:
    """Break one thing of a graph that users break."""
    seed_type, edge_type = data.node_types[0], data.edge_types[0]
    store, edges = data[seed_type], data[edge_type].edge_index.clone()
    if way == "edge out of range" and edges.numel():
        edges[rng.integers(2), rng.integers(edges.size(1))] = rng.choice([-1, 10**6])
        data[edge_type].edge_index = edges
    elif way == "float edges":
        data[edge_type].edge_index = edges.float()
    elif way == "transposed edges":
        data[edge_type].edge_index = edges.t()
    elif way == "rows of x":
        store.x = torch.zeros(store.num_nodes + 1, 3)
        store.num_nodes -= 1
    elif way == "flat x":
        store.x = torch.zeros(store.num_nodes)
    elif way == "labels out of range":
        store.y = store.y + 2**20
    elif way == "float labels":
        store.y = store.y.float()
    elif way == "overlapping masks":
        store.val_mask = store.val_mask | store.train_mask
    elif way == "numbers for masks":
        store.train_mask = store.train_mask.long()
    elif way == "a name that is no folder":
        data["a/b"].num_nodes = 2
    elif way == "a name but for its case":
        data[seed_type.swapcase()].num_nodes = 2


WAYS = [
    "edge out of range",
    "float edges",
    "transposed edges",
    "rows of x",
    "flat x",
    "labels out of range",
    "float labels",
    "overlapping masks",
    "numbers for masks",
    "a name that is no folder",
    "a name but for its case",
]


@st.composite
def odd_graphs(draw: st.DrawFn) -> tuple[HeteroData, str]:
    """Graphs as users bring them, and what is wrong with each, "" where nothing is.

    With types of no nodes, relations of no edges, features of several dtypes and forms or none, NaN among them,
    edge features, nodes without labels and splits without seeds; one in four is spoilt.
    """
    names, edge_types = draw(st.sampled_from(SHAPES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_nodes = {name: draw(st.integers(0, 25)) for name in names}
    num_nodes[names[0]] = draw(st.integers(3, 40))
    can = {of: min(num_nodes[of[0]], num_nodes[of[2]]) > 0 for of in edge_types}
    num_edges = {of: draw(st.integers(0, 80)) if can[of] else 0 for of in edge_types}
    data = random_graph(rng, num_nodes, num_edges, names[0], num_classes=draw(st.integers(1, 4)))
    for name in names:
        form = draw(st.sampled_from(["float", "float", "half", "double", "integers", "sparse", "nan", "none"]))
        if form != "none":
            data[name].x = _features(rng, num_nodes[name], draw(st.integers(1, 5)), form)
    if draw(st.booleans()):
        data[edge_types[0]].edge_attr = _features(rng, num_edges[edge_types[0]], 2, "float")
    store = data[names[0]]
    if draw(st.integers(0, 3)) == 0:  # neither labels nor splits for some
        store.y[torch.from_numpy(rng.random(num_nodes[names[0]]) < 0.2)] = -1
        for split in ("train", "val", "test"):
            store[f"{split}_mask"] = store[f"{split}_mask"] & (store.y >= 0)
    if draw(st.integers(0, 3)) == 0:
        del store.val_mask
    way = draw(st.sampled_from(WAYS)) if draw(st.integers(0, 3)) == 0 else ""
    _spoil(data, "" if way == "overlapping masks" and "val_mask" not in store else way, rng)
    return data, way


def _features(rng: np.random.Generator, rows: int, columns: int, form: str) -> torch.Tensor:
    x = torch.from_numpy(rng.standard_normal((rows, columns), np.float32))
    if form == "nan" and x.numel():
        x[int(rng.integers(rows)), 0] = float(rng.choice([np.nan, np.inf]))
    convert = {"half": torch.Tensor.half, "double": torch.Tensor.double, "integers": torch.Tensor.long}
    return x.to_sparse() if form == "sparse" else convert.get(form, torch.Tensor.float)(x)


@st.composite
def job_sections(draw: st.DrawFn, data: HeteroData) -> dict[str, Any]:
    """Sections of a config for a graph whose first node type is the seed type; some contradict themselves."""
    names, keys = data.node_types, ["__".join(of) for of in data.edge_types]
    hops = draw(st.integers(1, 3))
    hop = st.lists(st.integers(-1, 4), min_size=hops, max_size=hops)
    sampling: dict[str, Any] = {
        "fanout": draw(hop | st.fixed_dictionaries({"default": hop, keys[0]: hop})),
        "replace": draw(st.booleans()),
        "batch_size": draw(st.integers(1, 8) | st.just(1000)),
        "grouping": draw(st.sampled_from(["random", "balanced", "packed"])),
        "rounds": draw(st.integers(1, 3)),
        "eval_rounds": draw(st.integers(1, 2)),
        "rng_seed": draw(st.integers(0, 2**63 - 1)),
    }
    if draw(st.integers(0, 7)) == 0:
        sampling = {"mode": "full"}
    dataset: dict[str, Any] = {"feature_values": draw(st.sampled_from(["default", "default", "allow", "error"]))}
    if draw(st.integers(0, 3)) == 0:
        dataset["random_split"] = draw(st.sampled_from([{}, {"train": 1.0, "val": 0.0, "test": 0.0}, {"train": 0.5}]))
    if draw(st.integers(0, 3)) == 0:
        dataset["subset"] = {draw(st.sampled_from(names)): draw(st.integers(5, 30))}
        dataset["remove_isolated"] = draw(st.booleans())
    store = {
        "zarr_format": draw(st.sampled_from([2, 3])),
        "codec": draw(st.sampled_from(["auto", "none", "blosc-lz4", "zstd"])),
        "features": draw(st.sampled_from(["table", "inline"])),
        "e_id": draw(st.booleans()),
        "pad_value": draw(st.floats(-9, 9, width=16)),
        "chunk_batches": draw(st.integers(0, 4)),
    }
    model = {
        "name": draw(st.sampled_from(["to_hetero", "hetero_conv", "hgt"])),
        "hidden_channels": 8,
        "num_layers": draw(st.integers(1, 3)),
        "heads": draw(st.sampled_from([1, 2])),
        "featureless": draw(st.sampled_from(["embedding", "constant"])),
    }
    budget = draw(_budgets(names, keys))
    return {"dataset": dataset, "sampling": sampling, "budget": budget, "store": store, "model": model}


_SCOPES = st.sampled_from(["purpose", "all"])


@st.composite
def _budgets(draw: st.DrawFn, names: list[str], keys: list[str]) -> dict[str, Any]:
    mode = draw(st.sampled_from(["exact", "exact", "shapes", "sampled", "quantile", "uniform", "explicit"]))
    if mode in ("exact", "shapes"):
        return {"mode": "exact", "shapes": draw(st.integers(2, 4)) if mode == "shapes" else 1, "scope": draw(_SCOPES)}
    policies = ["error", "skip", "trim_nodes", "trim_edges", "trim_nodes_and_edges", "trim_nodes_and_edges"]
    budget: dict[str, Any] = {"mode": mode, "oversize": draw(st.sampled_from(policies))}
    if mode in ("sampled", "quantile"):
        budget |= {"num_batches": draw(st.integers(1, 20)), "scope": draw(_SCOPES)}
    if mode == "quantile":
        budget["quantile"], budget["confidence"] = draw(st.sampled_from([(0.5, 0.5), (0.9, 0.9)]))
    size = st.integers(1, 60)
    if mode == "uniform":
        budget |= {"nodes": draw(size), "edges": draw(size)}
    if mode == "explicit":
        budget |= {"nodes": {name: draw(size) for name in names}, "edges": {key: draw(size) for key in keys}}
    return budget

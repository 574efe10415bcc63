"""Random heterogeneous graphs for hypothesis and for plain tests."""

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

"""A small graph, and ways to spoil it. Each way changes the graph it is given, or returns another object."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch_geometric.data import HeteroData

from heteroshards.schemas.graph import edge_key
from tests.pipeline import build

Spoil = Callable[[HeteroData], Any]
WRITES = ("author", "writes", "paper")
mask = partial(build.mask, size=12)


def small_graph() -> HeteroData:
    """12 papers (6 train, 3 val, 3 test), 5 authors, 2 venues without features, 3 edge types."""
    data = HeteroData()
    data["paper"].x = torch.arange(48.0).view(12, 4)
    data["paper"].y = torch.arange(12) % 3
    for split, ids in {"train": [0, 1, 2, 3, 4, 5], "val": [6, 7, 8], "test": [9, 10, 11]}.items():
        data["paper"][f"{split}_mask"] = mask(ids)
    data["author"].x = torch.arange(15.0).view(5, 3)
    data["venue"].num_nodes = 2
    data[WRITES].edge_index = torch.stack([torch.arange(24) % 5, torch.arange(24) % 12])
    data["paper", "in", "venue"].edge_index = torch.stack([torch.arange(12), torch.arange(12) % 2])
    data["venue", "has", "paper"].edge_index = torch.stack([torch.arange(12) % 2, torch.arange(12)])
    return data


def nothing(data: HeteroData) -> None:
    """The graph as it is."""


def put(key: str, value: Any, node_type: str = "paper") -> Spoil:
    return lambda data: data[node_type].update({key: value})


def drop(key: str, node_type: str = "paper") -> Spoil:
    return lambda data: data[node_type].pop(key)


def edges(value: Any, edge_type: tuple[Any, Any, Any] = WRITES, **more: Any) -> Spoil:
    return lambda data: data[edge_type].update({"edge_index": value, **more})


def cell(value: float, key: str = "x", node_type: str = "author") -> Spoil:
    """One value of the features, at [2, 1]."""

    def spoil(data: HeteroData) -> None:
        data[node_type][key][2, 1] = value

    return spoil


def both(*spoils: Spoil) -> Spoil:
    def spoil(data: HeteroData) -> None:
        for one in spoils:
            one(data)

    return spoil


def without_edges(data: HeteroData) -> Any:
    other = HeteroData()
    for name in data.node_types:
        other[name].update(data[name].to_dict())
    return other


def with_adj_t(data: HeteroData) -> None:
    del data[WRITES].edge_index
    size = (data["paper"].num_nodes, data["author"].num_nodes)
    data[WRITES].adj_t = torch.sparse_coo_tensor(torch.tensor([[0], [1]]), torch.ones(1), size)


def ambiguous(data: HeteroData) -> None:
    """Two edge types with the key author__x__y__paper."""
    data["author__x"].num_nodes = 2
    one_edge = torch.zeros(2, 1, dtype=torch.long)
    data["author__x", "y", "paper"].edge_index = data["author", "x__y", "paper"].edge_index = one_edge
    assert edge_key(("author__x", "y", "paper")) == edge_key(("author", "x__y", "paper"))


handed: list[Any] = []


def hand_over() -> Any:
    """What `source = "function"` gets: the graph that a test handed over last."""
    return handed[-1]

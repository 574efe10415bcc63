"""Sizes that batches are padded to, of which one node, edge and graph are padding."""

from __future__ import annotations

from typing import Any


class FixedSizeOptions:
    """`num_nodes` and `num_edges` are numbers or dicts by type; `num_graphs` is at least 2."""

    def __init__(
        self,
        num_nodes: int | dict[str, int],
        num_edges: int | dict[tuple[str, str, str], int] | None = None,
        num_graphs: int = 2,
        node_pad_value: float | None = None,
        edge_pad_value: float | None = None,
        graph_pad_value: float | None = None,
        pad_graph_defaults: dict[str, Any] | None = None,
    ) -> None:
        if num_graphs < 2:
            raise ValueError("The number of graphs in the batch must be at least 2: one of them is padding.")
        total = _total(num_nodes)
        self.num_nodes = num_nodes
        self.num_edges = num_edges or total * (total - 1)
        self.num_graphs = num_graphs
        self.node_pad_value = node_pad_value or 0.0
        self.edge_pad_value = edge_pad_value or 0.0
        self.graph_pad_value = graph_pad_value or 0.0
        self.pad_graph_defaults = pad_graph_defaults or {}

    def is_hetero(self) -> bool:
        return isinstance(self.num_nodes, dict) and isinstance(self.num_edges, dict)

    def to_hetero(self, node_types: list[str], edge_types: list[tuple[str, str, str]]) -> FixedSizeOptions:
        """Numbers that were given once, for every type."""
        if not isinstance(self.num_nodes, dict):
            self.num_nodes = dict.fromkeys(node_types, self.num_nodes)
        if not isinstance(self.num_edges, dict):
            self.num_edges = dict.fromkeys(edge_types, self.num_edges)
        return self

    @property
    def total_num_nodes(self) -> int:
        return _total(self.num_nodes)

    @property
    def total_num_edges(self) -> int:
        return _total(self.num_edges)


def _total(sizes: Any) -> int:
    return sum(sizes.values()) if isinstance(sizes, dict) else sizes

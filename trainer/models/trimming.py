"""Static layer trimming: no layer computes rows that never reach the seed nodes.

A node of hop h needs its in-edges, all of hop h + 1, and their sources, at most h + 1 hops away. So what `hops` more
layers of message passing need lies in the first rows and columns of a batch, because nodes and edges lie hop by hop;
how many those are at most, in any batch, is recorded in the budget. The slices are the same for every batch, and
therefore as long as the largest batch needs: in others they also hold farther nodes and edges, some of which join rows
outside the slice. Such ends are moved to the last row. That changes nothing that is needed, because

- the last row is never a needed one: capacities are one more than the most;
- an edge into a node within h hops has hop h + 1 at most, and so both its ends lie within the slices for `h + 1`: it
  keeps them. The in-edges of needed nodes are therefore exactly those of the whole batch, in the same order;
- an edge with a moved source belongs to a farther hop, so it leads to a row that is not needed.
"""

from typing import Dict, Mapping, Tuple

import torch
from torch import Tensor

from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import EdgeTypeTuple, GraphSchema


class LayerTrimmer:
    """The slices of one budget. Every number is a constant, so that compiled shapes are static.

    `hops` is how many layers of message passing are still to come: with L layers, L before the first one, 1 before
    the last one and 0 for what the head reads. Where the sampling had fewer hops, everything it found is kept.
    """

    def __init__(self, graph: GraphSchema, budget: Budget) -> None:
        self._all_rows = budget.num_nodes
        self._rows = dict(budget.hop_nodes)
        # Seeds are the first rows, whatever the order of the others (mode = "full" knows no hops).
        seeds = self._rows[graph.seed_type]
        self._rows[graph.seed_type] = (min(seeds[0], budget.max_seeds + 1),) + (seeds[1:] or seeds)
        self._columns = {edge.type: budget.hop_edges[edge.key] for edge in graph.edge_types}

    def rows(self, node_type: str, hops: int) -> int:
        """Rows of a type within `hops` of the seeds, in the largest batch, and one row that is never needed."""
        sizes = self._rows[node_type]
        return sizes[min(hops, len(sizes) - 1)]

    def columns(self, edge_type: EdgeTypeTuple, hops: int) -> int:
        """Columns of the edges that the next of `hops` layers needs, in the largest batch; at least 1."""
        sizes = self._columns[edge_type]
        return sizes[min(hops, len(sizes)) - 1]

    def nodes(self, hops: int, values: Mapping[str, Tensor]) -> Dict[str, Tensor]:
        """`[rows, ...]` per node type (features, ids, masks), cut to the rows that `hops` layers need."""
        return {name: value[: self.rows(name, hops)] for name, value in values.items()}

    def edges(self, hops: int, values: Mapping[EdgeTypeTuple, Tensor]) -> Dict[EdgeTypeTuple, Tensor]:
        """`[columns, ...]` per edge type (attributes, masks), cut to the columns of `edge_index` for `hops`."""
        return {edge_type: value[: self.columns(edge_type, hops)] for edge_type, value in values.items()}

    def edge_index(self, hops: int, edge_index: Mapping[EdgeTypeTuple, Tensor]) -> Dict[EdgeTypeTuple, Tensor]:
        """Integers `[2, columns]` per edge type, for the next of `hops` layers: joins rows of `nodes(hops, ...)`."""
        return {edge_type: self.ends(edge_type, index, hops, hops) for edge_type, index in edge_index.items()}

    def trim(
        self, hops: int, x_dict: Mapping[str, Tensor], edge_index_dict: Mapping[EdgeTypeTuple, Tensor]
    ) -> Tuple[Dict[str, Tensor], Dict[EdgeTypeTuple, Tensor]]:
        """What the next of `hops` layers needs: `nodes` and `edge_index` in one call."""
        return self.nodes(hops, x_dict), self.edge_index(hops, edge_index_dict)

    def ends(self, edge_type: EdgeTypeTuple, index: Tensor, hops: int, hops_into: int) -> Tensor:
        """`edge_index` of one type. A layer that takes its destinations' own features apart needs to compute those
        rows only that the layers after it need, which is what `hops_into = hops - 1` is for."""
        sources, destinations = index[:, : self.columns(edge_type, hops)].unbind(dim=0)
        return torch.stack(
            (self._within(edge_type[0], hops, sources), self._within(edge_type[2], hops_into, destinations))
        )

    def _within(self, node_type: str, hops: int, index: Tensor) -> Tensor:
        rows = self.rows(node_type, hops)
        if rows == self._all_rows[node_type]:
            return index
        return index.clamp(max=rows - 1)

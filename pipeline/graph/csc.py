"""Compressed sparse columns: for every edge type and destination node, its in-neighbors.

All edge types lie end to end in a few flat arrays, because a numba kernel takes arrays and nothing else.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.jit import njit


class PackedGraph(NamedTuple):
    """T node types, E edge types. Node ids are per type; joint ids add `node_offset[type]`.

    Attributes:
        node_offset: int64 [T + 1], where each type's nodes start in arrays over all nodes.
        src_type, dst_type: int64 [E].
        indptr_offset: int64 [E], where each edge type's pointers start in `indptr`.
        edge_offset: int64 [E + 1], where each edge type's edges start in `row` and `e_id`.
        indptr: int64 [sum of (destination nodes + 1)], relative to `edge_offset`.
        row: int32 [edges], source node of each edge, grouped by destination.
        e_id: int32 [edges], position of each edge in the source graph's `edge_index`.
    """

    node_offset: np.ndarray
    src_type: np.ndarray
    dst_type: np.ndarray
    indptr_offset: np.ndarray
    edge_offset: np.ndarray
    indptr: np.ndarray
    row: np.ndarray
    e_id: np.ndarray

    @property
    def num_node_types(self) -> int:
        return len(self.node_offset) - 1

    @property
    def num_edge_types(self) -> int:
        return len(self.src_type)


def pack_graph(
    num_nodes: Sequence[int], edge_types: Sequence[tuple[int, int]], edge_index: Sequence[np.ndarray]
) -> PackedGraph:
    """Pack edge lists [2, num_edges] (source row, destination row) of (source type, destination type) pairs.

    Edges into one destination keep their order, so packing is deterministic.
    """
    node_offset = np.concatenate([[0], np.cumsum(num_nodes)]).astype(np.int64)
    sizes = [edges.shape[1] for edges in edge_index]
    edge_offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    pointers = [num_nodes[dst] + 1 for _, dst in edge_types]
    indptr_offset = np.concatenate([[0], np.cumsum(pointers)]).astype(np.int64)[:-1]
    indptr = np.zeros(int(np.sum(pointers)), np.int64)
    row = np.empty(edge_offset[-1], np.int32)
    e_id = np.empty(edge_offset[-1], np.int32)
    for e, edges in enumerate(edge_index):
        start, stop = edge_offset[e], edge_offset[e + 1]
        first = indptr_offset[e]
        _sort_by_destination(edges[0], edges[1], indptr[first : first + pointers[e]], row[start:stop], e_id[start:stop])
    return PackedGraph(
        node_offset,
        np.array([src for src, _ in edge_types], np.int64),
        np.array([dst for _, dst in edge_types], np.int64),
        indptr_offset,
        edge_offset,
        indptr,
        row,
        e_id,
    )


@njit(cache=True, nogil=True)
def _sort_by_destination(src, dst, indptr, row, e_id):
    """Counting sort of edges (src, dst) [num_edges] by dst into indptr [nodes + 1], row and e_id [num_edges]."""
    for i in range(dst.size):
        indptr[dst[i] + 1] += 1
    for v in range(1, indptr.size):
        indptr[v] += indptr[v - 1]
    for i in range(dst.size):
        slot = indptr[dst[i]]
        row[slot] = src[i]
        e_id[slot] = i
        indptr[dst[i]] += 1
    for v in range(indptr.size - 1, 0, -1):
        indptr[v] = indptr[v - 1]
    indptr[0] = 0

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
        time: int64 [edges], when each edge and its source are both there, ascending within a destination; ALWAYS where
            an edge type knows no times. Empty where none does.
        weight: float64 [edges], of each edge of a destination the sum of its weight and those before it. Empty where no
            edge type has weights; 1, 2, 3, ... in one that has none.
    """

    node_offset: np.ndarray
    src_type: np.ndarray
    dst_type: np.ndarray
    indptr_offset: np.ndarray
    edge_offset: np.ndarray
    indptr: np.ndarray
    row: np.ndarray
    e_id: np.ndarray
    time: np.ndarray
    weight: np.ndarray

    @property
    def num_node_types(self) -> int:
        return len(self.node_offset) - 1

    @property
    def num_edge_types(self) -> int:
        return len(self.src_type)


def pack_graph(
    num_nodes: Sequence[int],
    edge_types: Sequence[tuple[int, int]],
    edge_index: Sequence[np.ndarray],
    times: Sequence[np.ndarray | None] = (),
    weights: Sequence[np.ndarray | None] = (),
) -> PackedGraph:
    """Pack edge lists [2, num_edges] (source row, destination row) of (source type, destination type) pairs.

    Edges into one destination keep their order, or that of their times; so packing is deterministic. An edge of weight
    0 is left out: it is never drawn.

    Args:
        times: of each edge type int64 [num_edges], or None. weights: float64 [num_edges] likewise.
    """
    times = list(times) or [None] * len(edge_types)
    weights = list(weights) or [None] * len(edge_types)
    kept = [None if weight is None else np.flatnonzero(weight > 0) for weight in weights]
    sizes = [edges.shape[1] if ids is None else len(ids) for edges, ids in zip(edge_index, kept, strict=True)]
    node_offset = np.concatenate([[0], np.cumsum(num_nodes)]).astype(np.int64)
    edge_offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    pointers = [num_nodes[dst] + 1 for _, dst in edge_types]
    packed = PackedGraph(
        node_offset=node_offset,
        src_type=np.array([src for src, _ in edge_types], np.int64),
        dst_type=np.array([dst for _, dst in edge_types], np.int64),
        indptr_offset=np.concatenate([[0], np.cumsum(pointers)]).astype(np.int64)[:-1],
        edge_offset=edge_offset,
        indptr=np.zeros(int(np.sum(pointers)), np.int64),
        row=np.empty(edge_offset[-1], np.int32),
        e_id=np.empty(edge_offset[-1], np.int32),
        time=np.full(edge_offset[-1] if any(time is not None for time in times) else 0, ALWAYS),
        weight=np.empty(edge_offset[-1] if any(weight is not None for weight in weights) else 0),
    )
    for e, edges in enumerate(edge_index):
        _pack_type(packed, e, pointers[e], edges, times[e], weights[e], kept[e])
    return packed


ALWAYS = np.int64(-(2**63))  # the time of what is there at all times


def _pack_type(
    packed: PackedGraph,
    e: int,
    pointers: int,
    edges: np.ndarray,
    time: np.ndarray | None,
    weight: np.ndarray | None,
    kept: np.ndarray | None,
) -> None:
    """Fill in edge type e: its edges, of which those in `kept` are there, in the order of their times."""
    start, stop = packed.edge_offset[e], packed.edge_offset[e + 1]
    first = packed.indptr_offset[e]
    indptr, row, e_id = packed.indptr[first : first + pointers], packed.row[start:stop], packed.e_id[start:stop]
    order = kept
    if time is not None:
        order = np.argsort(time if kept is None else time[kept], kind="stable")
        order = order if kept is None else kept[order]
    src, dst = edges if order is None else (edges[0][order], edges[1][order])
    _sort_by_destination(src, dst, indptr, row, e_id)
    if order is not None:
        e_id[:] = order[e_id]
    if time is not None:
        packed.time[start:stop] = time[e_id]
    if len(packed.weight):
        _add_up(indptr, np.ones(len(e_id)) if weight is None else weight[e_id], packed.weight[start:stop])


@njit(cache=True, nogil=True)
def _add_up(indptr, values, sums):
    """Of each destination the sum of the values [num_edges] up to each edge."""
    for v in range(indptr.size - 1):
        total = 0.0
        for i in range(indptr[v], indptr[v + 1]):
            total += values[i]
            sums[i] = total


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

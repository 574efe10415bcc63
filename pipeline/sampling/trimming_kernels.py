"""The numba kernels that trim a batch which is over a budget. The letters and arguments are those of `kernels`."""

import numpy as np

from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.draws import below, mix

DROPPED = -1  # in new_id: trimmed away
REACHED = -2  # in new_id: a kept edge leads to it, not numbered yet


@njit(cache=True, nogil=True)
def trim_batch(graph, key, work, node_limit, edge_limit, trim_nodes, trim_edges):
    """Drop nodes and edges of the batch in `work` beyond the limits (int64 [T], [E]), in place.

    Hops are admitted from the seeds outwards, so what is dropped is farthest; within the hop that does not fit
    whole, a random subset stays, drawn from (key, hop, type). Edges of a dropped node go with it, and so does a
    node that no kept edge leads to. Seeds always stay. `local_id` must have been reset before.
    """
    num_hops = work.edge_end.shape[1]
    num_node_types, num_edge_types = work.node_end.shape[0], work.edge_end.shape[0]
    old_node_end, old_edge_end = work.node_end.copy(), work.edge_end.copy()
    kept_nodes, kept_edges = work.node_end[:, 0].copy(), np.zeros(num_edge_types, np.int64)
    for t in range(num_node_types):
        offset = graph.node_offset[t]
        for i in range(old_node_end[t, -1]):
            work.new_id[offset + i] = i if i < old_node_end[t, 0] else DROPPED
    for h in range(num_hops):
        hop_key = mix(key ^ mix(np.uint64(h + 1)))
        _mark_reached(graph, work, old_node_end, old_edge_end, h)
        if trim_nodes:
            for t in range(num_node_types):
                room = node_limit[t] - kept_nodes[t]
                _keep_some_nodes(graph, work, t, old_node_end[t, h], old_node_end[t, h + 1], room, hop_key)
        for e in range(num_edge_types):
            room = edge_limit[e] - kept_edges[e] if trim_edges else np.int64(1) << 62
            kept_edges[e] = _keep_some_edges(graph, work, e, old_edge_end, h, kept_edges[e], room, hop_key)
            work.edge_end[e, h] = kept_edges[e]
        _number_reached(graph, work, old_node_end, kept_edges, h, kept_nodes)


@njit(cache=True, nogil=True, inline="always")
def hop_start(ends, row, h):
    """Where hop h begins in `ends` [rows, H], the ends of all."""
    return ends[row, h - 1] if h > 0 else 0


@njit(cache=True, nogil=True)
def _mark_reached(graph, work, node_end, edge_end, h):
    """Mark nodes of hop h + 1 that an edge joins to a kept node. Nodes dropped at an earlier hop stay dropped."""
    for e in range(edge_end.shape[0]):
        src_type = graph.src_type[e]
        src_offset, dst_offset = graph.node_offset[src_type], graph.node_offset[graph.dst_type[e]]
        for slot in range(work.slot_offset[e] + hop_start(edge_end, e, h), work.slot_offset[e] + edge_end[e, h]):
            is_new = work.src[slot] >= node_end[src_type, h]
            if is_new and work.new_id[dst_offset + work.dst[slot]] >= 0:
                work.new_id[src_offset + work.src[slot]] = REACHED


@njit(cache=True, nogil=True)
def _keep_some_nodes(graph, work, t, first, last, room, hop_key):
    """Of the reached nodes first..last of type t keep at most `room`, each subset equally likely."""
    offset = graph.node_offset[t]
    left = 0
    for i in range(first, last):
        if work.new_id[offset + i] == REACHED:
            left += 1
    state = mix(hop_key ^ np.uint64(2 * t))
    for i in range(first, last):
        if work.new_id[offset + i] != REACHED:
            continue
        if left > room:
            state, draw = below(state, left)
            if draw >= room:
                work.new_id[offset + i] = DROPPED
            else:
                room -= 1
        else:
            room -= 1
        left -= 1


@njit(cache=True, nogil=True)
def _keep_some_edges(graph, work, e, edge_end, h, kept, room, hop_key):
    """Move the edges of hop h + 1 whose ends are both kept to slots from `kept` on, at most `room` of them.

    Source ids stay old ones until `_number_reached`. Returns the new number of kept edges.
    """
    src_offset, dst_offset = graph.node_offset[graph.src_type[e]], graph.node_offset[graph.dst_type[e]]
    base = work.slot_offset[e]
    left = 0
    for slot in range(base + hop_start(edge_end, e, h), base + edge_end[e, h]):
        if work.new_id[src_offset + work.src[slot]] != DROPPED and work.new_id[dst_offset + work.dst[slot]] >= 0:
            left += 1
    state = mix(hop_key ^ np.uint64(2 * e + 1))
    for slot in range(base + hop_start(edge_end, e, h), base + edge_end[e, h]):
        if work.new_id[src_offset + work.src[slot]] == DROPPED or work.new_id[dst_offset + work.dst[slot]] < 0:
            continue
        take = True
        if left > room:
            state, draw = below(state, left)
            take = draw < room
        left -= 1
        if take:
            room -= 1
            work.src[base + kept] = work.src[slot]
            work.dst[base + kept] = work.new_id[dst_offset + work.dst[slot]]
            work.e_id[base + kept] = work.e_id[slot]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _number_reached(graph, work, old_node_end, kept_edges, h, kept_nodes):
    """Give the nodes of hop h + 1 that kept edges lead to their new local ids, in order, and drop the others.

    The kept edges of this hop then get the new ids of their sources.
    """
    for t in range(old_node_end.shape[0]):
        offset = graph.node_offset[t]
        for i in range(old_node_end[t, h], old_node_end[t, h + 1]):
            work.new_id[offset + i] = DROPPED
    for e in range(kept_edges.size):
        src_offset = graph.node_offset[graph.src_type[e]]
        base = work.slot_offset[e]
        for slot in range(base + hop_start(work.edge_end, e, h), base + kept_edges[e]):
            if work.new_id[src_offset + work.src[slot]] == DROPPED:
                work.new_id[src_offset + work.src[slot]] = REACHED
    for t in range(old_node_end.shape[0]):
        offset = graph.node_offset[t]
        for i in range(old_node_end[t, h], old_node_end[t, h + 1]):
            if work.new_id[offset + i] == REACHED:
                work.new_id[offset + i] = kept_nodes[t]
                work.nodes[offset + kept_nodes[t]] = work.nodes[offset + i]
                work.origin[offset + kept_nodes[t]] = work.origin[offset + i]
                kept_nodes[t] += 1
        work.node_end[t, h + 1] = kept_nodes[t]
    for e in range(kept_edges.size):
        src_offset = graph.node_offset[graph.src_type[e]]
        base = work.slot_offset[e]
        for slot in range(base + hop_start(work.edge_end, e, h), base + kept_edges[e]):
            work.src[slot] = work.new_id[src_offset + work.src[slot]]


@njit(cache=True, nogil=True)
def exceeds(work, node_limit, edge_limit):
    for t in range(node_limit.size):
        if work.node_end[t, -1] > node_limit[t]:
            return True
    for e in range(edge_limit.size):  # noqa: SIM110, numba has no any()
        if work.edge_end[e, -1] > edge_limit[e]:
            return True
    return False

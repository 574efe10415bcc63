"""The numba kernels of disjoint trees: each seed of a batch has a sample of its own, and a node may be in several.

A batch is its seeds' samples side by side, hop by hop: first all seeds, then the nodes of hop 1 of the first seed, of
the second, ... So a batch is exactly as large as its seeds' samples together, and where a node of a tree lies follows
from the sizes of the trees before it. The letters and arguments are those of `kernels`.
"""

import numpy as np

from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.draws import mix
from heteroshards.pipeline.sampling.kernels import LARGEST, forget_batch, sample_batch, write_counts, write_padded
from heteroshards.pipeline.sampling.trimming_kernels import exceeds, hop_start, trim_batch


@njit(cache=True, nogil=True)
def count_trees(graph, seed_type, seeds, rows, times, num_seeds, keys, fanouts, how, work, num_nodes, num_edges):
    """Sample the trees of B batches and only count them.

    Args:
        seeds: int32 [B, S], nodes. rows: int32 [B, S], what tells seeds apart in draws. times: int64 [B, S].

    Writes num_nodes int32 [B, T, H + 1] and num_edges int32 [B, E, H], per hop.
    """
    num_nodes[:] = 0
    num_edges[:] = 0
    tree_nodes, tree_edges = np.empty(num_nodes.shape[1:], np.int32), np.empty(num_edges.shape[1:], np.int32)
    for b in range(seeds.shape[0]):
        for i in range(num_seeds[b]):
            one = slice(i, i + 1)
            sample_batch(graph, seed_type, seeds[b, one], rows[b, one], times[b, i], keys[b], fanouts, how, work, False)
            write_counts(work, tree_nodes, tree_edges)
            forget_batch(graph, work)
            _add(num_nodes[b], tree_nodes)
            _add(num_edges[b], tree_edges)


@njit(cache=True, nogil=True)
def _add(total, counts):
    """Add int32 counts, up to the largest that there is."""
    for i in range(total.shape[0]):
        for h in range(total.shape[1]):
            total[i, h] = min(np.int64(total[i, h]) + counts[i, h], LARGEST)


@njit(cache=True, nogil=True)
def _join_trees(graph, seed_type, seeds, rows, times, num_seeds, key, fanouts, how, work, joined, joined_offset):
    """Sample each seed's tree into `work`, and put them side by side into `joined`, whose types lie at `joined_offset`.

    In two passes, because a hop begins behind the hops before it of all trees. `joined.origin` is which seed a node
    belongs to.
    """
    num_types, num_hops = joined.node_end.shape[0], fanouts.shape[0]
    joined.node_end[:] = 0
    joined.edge_end[:] = 0
    for i in range(num_seeds):
        one = slice(i, i + 1)
        sample_batch(graph, seed_type, seeds[one], rows[one], times[i], key, fanouts, how, work, False)
        forget_batch(graph, work)
        joined.node_end[:] = joined.node_end + work.node_end
        joined.edge_end[:] = joined.edge_end + work.edge_end
    next_node, next_edge = np.zeros(joined.node_end.shape, np.int64), np.zeros(joined.edge_end.shape, np.int64)
    next_node[:, 1:] = joined.node_end[:, :-1]
    next_edge[:, 1:] = joined.edge_end[:, :-1]
    for i in range(num_seeds):
        one = slice(i, i + 1)
        sample_batch(graph, seed_type, seeds[one], rows[one], times[i], key, fanouts, how, work, True)
        forget_batch(graph, work)
        for e in range(graph.src_type.size):
            _join_edges(graph, e, num_hops, next_node, next_edge, work, joined)
        for t in range(num_types):
            for h in range(num_hops + 1):
                first = hop_start(work.node_end, t, h)
                count = work.node_end[t, h] - first
                start = joined_offset[t] + next_node[t, h]
                for j in range(count):
                    joined.nodes[start + j] = work.nodes[graph.node_offset[t] + first + j]
                    joined.origin[start + j] = i
                next_node[t, h] += count


@njit(cache=True, nogil=True)
def _join_edges(graph, e, num_hops, next_node, next_edge, work, joined):
    """Append a tree's edges of one type to each hop. A node's place is that in its tree, moved as its hop is moved."""
    src_type, dst_type = graph.src_type[e], graph.dst_type[e]
    for h in range(num_hops):
        first = hop_start(work.edge_end, e, h)
        count = work.edge_end[e, h] - first
        out = joined.slot_offset[e] + next_edge[e, h]
        for j in range(count):
            slot = work.slot_offset[e] + first + j
            joined.src[out + j] = _moved(work.src[slot], work.node_end, src_type, next_node)
            joined.dst[out + j] = _moved(work.dst[slot], work.node_end, dst_type, next_node)
            joined.e_id[out + j] = work.e_id[slot]
        next_edge[e, h] += count


@njit(cache=True, nogil=True, inline="always")
def _moved(local, node_end, t, next_node):
    """Where node `local` of type t of a tree lies in the batch."""
    h = 0
    while local >= node_end[t, h]:
        h += 1
    return local - hop_start(node_end, t, h) + next_node[t, h]


@njit(cache=True, nogil=True)
def count_trimmed_trees(
    graph, seed_type, seeds, rows, times, num_seeds, keys, fanouts, how, work, joined, as_joined, node_limit,
    edge_limit, trim_nodes, trim_edges, num_nodes, num_edges,
):  # fmt: skip
    """As `count_trees`, after trimming to the limits. `as_joined` is the graph with the offsets of `joined`."""
    for b in range(seeds.shape[0]):
        _join_trees(
            graph, seed_type, seeds[b], rows[b], times[b], num_seeds[b], keys[b], fanouts, how, work, joined,
            as_joined.node_offset,
        )  # fmt: skip
        key = mix(keys[b] ^ np.uint64(rows[b, 0]))
        trim_batch(as_joined, key, joined, node_limit, edge_limit, trim_nodes, trim_edges)
        write_counts(joined, num_nodes[b], num_edges[b])


@njit(cache=True, nogil=True)
def pad_trees(
    graph, seed_type, seeds, rows, times, num_seeds, keys, fanouts, how, work, joined, as_joined, node_limit,
    edge_limit, trim_nodes, trim_edges, out,
):  # fmt: skip
    """As `kernels.pad_batches`, with a tree for each seed."""
    num_batches = seeds.shape[0]
    for b in range(num_batches):
        _join_trees(
            graph, seed_type, seeds[b], rows[b], times[b], num_seeds[b], keys[b], fanouts, how, work, joined,
            as_joined.node_offset,
        )  # fmt: skip
        if (trim_nodes or trim_edges) and exceeds(joined, node_limit, edge_limit):
            key = mix(keys[b] ^ np.uint64(rows[b, 0]))
            trim_batch(as_joined, key, joined, node_limit, edge_limit, trim_nodes, trim_edges)
        write_padded(as_joined, joined, as_joined.node_offset, node_limit, edge_limit, b, num_batches, out)

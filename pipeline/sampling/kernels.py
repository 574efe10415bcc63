"""The numba kernels: sample, trace, count and pad; trimming is in `trimming_kernels`.

Arrays in, preallocated arrays out; no objects, no I/O, no global state.

Letters: T node types, E edge types, H hops, B batches, S seed rows, N rows per type, M columns per edge type.
Arrays over all types are flat; `*_offset` says where a type's part starts. The arguments are `csc.PackedGraph`,
`workspace.Workspace` and `workspace.Padded`.
"""

import numpy as np

from heteroshards.pipeline.graph.csc import ALWAYS
from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.draws import mix, pick, pick_weighted
from heteroshards.pipeline.sampling.trimming_kernels import exceeds, hop_start, trim_batch

LARGEST = 2**31 - 1  # counts are int32
PAD_ID = -1  # of pad rows and pad edges
OUTSIDE = -1  # in local_id: not in the batch

# Numba counts references to every array of a tuple at each call that could raise, which for a batch of few seeds takes
# most of the time. What is called for every edge type or node of a batch is therefore inlined; pick, which never
# changes, from its source (without the compiler there is nothing else).
_pick = njit(nogil=True, inline="always")(getattr(pick, "py_func", pick))


@njit(cache=True, nogil=True, inline="always")
def _pair(node, origin):
    """Two 31-bit ids as one."""
    return np.uint64(node) | np.uint64(origin) << np.uint64(32)


@njit(cache=True, nogil=True)
def sample_batch(graph, seed_type, seeds, origins, time, key, fanouts, how, work, keep_edges):
    """Sample the neighborhood of one batch of distinct seeds into `work`, hop by hop.

    Args:
        graph: PackedGraph. seeds: int32 [num seeds]. origins: int32 [num seeds], what tells seeds apart in draws: their
            nodes, or rows of the seed table where a node may be asked about twice. time: int64, what is later is not
            there; has no meaning where the graph has no times. key: uint64 of the batch. fanouts: int64 [H, E].
        how: Draw. keep_edges: also store edges (their slots must suffice), not only count them.

    Every node is expanded once per batch. The neighbors drawn for it depend on (key, edge type, node, origin) alone,
    its origin being the seed of the batch that leads to it first. A seed is in one batch of a round, so no two batches
    of a round share a draw, although they share a key; and what a seed alone brings is what it is the origin of.
    """
    num_hops = fanouts.shape[0]
    num_node_types = graph.node_offset.size - 1
    num_edge_types = graph.src_type.size
    work.node_end[:] = 0
    work.edge_end[:] = 0
    offset = graph.node_offset[seed_type]
    for i in range(seeds.size):
        work.nodes[offset + i] = seeds[i]
        work.local_id[offset + seeds[i]] = i
        work.origin[offset + i] = origins[i]
    work.node_end[seed_type, 0] = seeds.size
    for h in range(num_hops):
        for t in range(num_node_types):
            work.node_end[t, h + 1] = work.node_end[t, h]
        for e in range(num_edge_types):
            work.edge_end[e, h] = work.edge_end[e, h - 1] if h > 0 else 0
            if fanouts[h, e] != 0:
                _expand(graph, e, h, time, key, fanouts[h, e], how, work, keep_edges)


@njit(cache=True, nogil=True, inline="always")
def _expand(graph, e, h, time, key, fanout, how, work, keep_edges):
    """Sample in-neighbors along edge type e for the nodes first met at hop h."""
    src_type, dst_type = graph.src_type[e], graph.dst_type[e]
    src_offset, dst_offset = graph.node_offset[src_type], graph.node_offset[dst_type]
    indptr_offset, edge_offset = graph.indptr_offset[e], graph.edge_offset[e]
    first = work.node_end[dst_type, h - 1] if h > 0 else 0
    num_src = work.node_end[src_type, h + 1]
    start = slot = work.slot_offset[e] + work.edge_end[e, h]
    type_key = mix(key ^ np.uint64(e))
    is_noted = work.seen.size > 0
    hides = work.is_open.size > 0 and h == work.edge_end.shape[1] - 1
    for i in range(first, work.node_end[dst_type, h]):
        node = work.nodes[dst_offset + i]
        begin = graph.indptr[indptr_offset + node]
        degree = graph.indptr[indptr_offset + node + 1] - begin
        whole = begin
        if graph.time.size > 0:
            begin, degree = _visible(graph.time, edge_offset, begin, degree, time, fanout, how)
        count = degree
        drawn = fanout >= 0 and degree > 0 and (how.replace or degree > fanout)
        if drawn:
            if hides and work.is_open[dst_offset + node] > 0:
                continue
            count = fanout
            state = mix(type_key ^ _pair(node, work.origin[dst_offset + i]))
            _draw(graph.weight, edge_offset + begin, begin == whole, degree, count, state, how.replace, work.picks)
        for j in range(count):
            edge = edge_offset + begin + (work.picks[j] if drawn else j)
            if is_noted:
                work.seen[edge] = 1
            if keep_edges:
                work.src[slot], work.dst[slot], work.e_id[slot] = graph.row[edge], i, graph.e_id[edge]
            else:
                num_src = _number_source(work, graph.row[edge], work.origin[dst_offset + i], src_offset, num_src)
            slot += 1
    if keep_edges:  # in a loop of its own, so that neither waits for the other's memory
        num_src = _number_sources(work, start, slot, src_offset, dst_offset, num_src)
    work.node_end[src_type, h + 1] = num_src
    work.edge_end[e, h] += slot - start


@njit(cache=True, nogil=True, inline="always")
def _draw(weights, start, is_first, degree, count, state, replace, picks):
    """Write `count` positions from [0, degree) to picks, by weight where there are weights."""
    if weights.size > 0:
        pick_weighted(state, weights, start, is_first, degree, count, replace, picks)
    else:
        _pick(state, degree, count, replace, picks)


@njit(cache=True, nogil=True, inline="always")
def _visible(times, edge_offset, begin, degree, time, fanout, how):
    """Of the edges begin, ... of a destination, whose times ascend, those that may be drawn: not later than `time`, in
    the window, and of these only the latest where those are wanted.

    Returns where they begin, and how many they are. Of an edge type without times all are, as if nobody had asked.
    """
    first = begin
    last = begin + _num_before(times, edge_offset + begin, degree, time, True)
    if last == first or times[edge_offset + first] == ALWAYS:
        return first, last - first
    if how.window >= 0:
        first += _num_before(times, edge_offset + first, last - first, time - how.window, False)
    if how.is_last and 0 <= fanout < last - first:
        first = last - fanout
    return first, last - first


@njit(cache=True, nogil=True, inline="always")
def _num_before(times, start, count, time, is_included):
    """How many of the ascending times start, ..., start + count - 1 are before a time, or with it."""
    low, high = start, start + count
    while low < high:
        middle = (low + high) // 2
        if times[middle] < time or (is_included and times[middle] == time):
            low = middle + 1
        else:
            high = middle
    return low - start


@njit(cache=True, nogil=True, inline="always")
def _number_source(work, source, origin, src_offset, num_src):
    """Number a node as the next one of its type, `num_src`, unless it is in the batch. Returns how many there are."""
    if work.local_id[src_offset + source] == OUTSIDE:
        work.local_id[src_offset + source] = num_src
        work.nodes[src_offset + num_src] = source
        work.origin[src_offset + num_src] = origin
        num_src += 1
    return num_src


@njit(cache=True, nogil=True, inline="always")
def _number_sources(work, start, stop, src_offset, dst_offset, num_src):
    """Number the sources of edges that were stored as nodes, new ones from `num_src` on. Returns how many there are."""
    for slot in range(start, stop):
        source, origin = work.src[slot], work.origin[dst_offset + work.dst[slot]]
        num_src = _number_source(work, source, origin, src_offset, num_src)
        work.src[slot] = work.local_id[src_offset + source]
    return num_src


@njit(cache=True, nogil=True)
def forget_batch(graph, work):
    """Reset `local_id` for the nodes of the batch in `work`."""
    for t in range(graph.node_offset.size - 1):
        offset = graph.node_offset[t]
        for i in range(work.node_end[t, -1]):
            work.local_id[offset + work.nodes[offset + i]] = OUTSIDE


@njit(cache=True, nogil=True)
def count_reached(graph, seed_type, seeds, key, fanouts, how, work, reached):
    """Add to `reached`, int32 [all nodes], how many of the seeds (int32 [N]), each alone, lead to a node."""
    for i in range(seeds.size):
        alone = seeds[i : i + 1]
        sample_batch(graph, seed_type, alone, alone, 0, key, fanouts, how, work, False)
        for t in range(graph.node_offset.size - 1):
            offset = graph.node_offset[t]
            for j in range(work.node_end[t, -1]):
                reached[offset + work.nodes[offset + j]] += 1
        forget_batch(graph, work)


@njit(cache=True, nogil=True)
def trace_seeds(graph, seed_type, seeds, key, fanouts, how, work, first, elements, kinds, weights):
    """List what each seed (int32 [N]) brings into a batch: the elements of its own sample under `key`.

    An element is a node (kind: its type, weight 1), or the expansion of a node along an edge type (kind: T + edge
    type, weight: edges drawn), told apart by hop where the fanouts of an edge type differ.

    The neighbors drawn at the last hop for a node that is open (`work.is_open`) are one more element of its expansion
    (kind: their type, weight: how many): which they are depends on the batch, and several seeds that lead to the node
    bring them once.

    Writes first int64 [N + 1], where each seed's elements start, and, as far as there is room, elements int64, kinds
    and weights int32 [first[N]].
    """
    num_node_types, num_pointers, num_hops = graph.node_offset.size - 1, graph.indptr.size, fanouts.shape[0]
    told_apart = np.zeros(fanouts.shape, np.int64)
    for h in range(1, fanouts.shape[0]):
        for e in range(fanouts.shape[1]):
            told_apart[h, e] = h if np.any(fanouts[:, e] != fanouts[0, e]) else 0
    n = 0
    for i in range(seeds.size):
        alone = seeds[i : i + 1]
        sample_batch(graph, seed_type, alone, alone, 0, key, fanouts, how, work, False)
        for t in range(num_node_types):
            offset, count = graph.node_offset[t], work.node_end[t, -1]
            for j in range(min(count, elements.size - n)):
                elements[n + j], kinds[n + j], weights[n + j] = offset + work.nodes[offset + j], t, 1
            n += count
        for e in range(graph.src_type.size):
            dst_type = graph.dst_type[e]
            offset = graph.node_offset[dst_type]
            for h in range(num_hops):
                start = graph.node_offset[-1] + told_apart[h, e] * num_pointers + graph.indptr_offset[e]
                for j in range(hop_start(work.node_end, dst_type, h), work.node_end[dst_type, h]):
                    node = work.nodes[offset + j]
                    count = _num_drawn(graph, e, node, fanouts[h, e], how.replace)
                    if count > 0:
                        if n < elements.size:
                            elements[n], kinds[n], weights[n] = start + node, num_node_types + e, count
                        n += 1
                    is_hidden = work.is_open.size > 0 and h == num_hops - 1 and work.is_open[offset + node] > 0
                    if is_hidden and _is_drawn(graph, e, node, fanouts[h, e], how.replace):
                        if n < elements.size:
                            elements[n], weights[n] = start + num_hops * num_pointers + node, count
                            kinds[n] = graph.src_type[e]
                        n += 1
        forget_batch(graph, work)
        first[i + 1] = n


@njit(cache=True, nogil=True, inline="always")
def _degree(graph, e, node):
    begin = graph.indptr_offset[e] + node
    return graph.indptr[begin + 1] - graph.indptr[begin]


@njit(cache=True, nogil=True, inline="always")
def _is_drawn(graph, e, node, fanout, replace):
    """Whether `_expand` draws some neighbors of a node, instead of taking all or none."""
    degree = _degree(graph, e, node)
    return fanout > 0 and degree > 0 and (replace or degree > fanout)


@njit(cache=True, nogil=True, inline="always")
def _num_drawn(graph, e, node, fanout, replace):
    """How many neighbors `_expand` takes of one node."""
    if _is_drawn(graph, e, node, fanout, replace):
        return np.int64(fanout)
    return _degree(graph, e, node) if fanout != 0 else np.int64(0)


@njit(cache=True, nogil=True)
def count_batches(graph, seed_type, seeds, num_seeds, keys, fanouts, how, work, num_nodes, num_edges):
    """Sample B batches (seeds int32 [B, S], num_seeds int64 [B], keys uint64 [B]) and only count them.

    Writes num_nodes int32 [B, T, H + 1] and num_edges int32 [B, E, H], per hop.
    """
    for b in range(seeds.shape[0]):
        batch = seeds[b, : num_seeds[b]]
        sample_batch(graph, seed_type, batch, batch, 0, keys[b], fanouts, how, work, False)
        write_counts(work, num_nodes[b], num_edges[b])
        forget_batch(graph, work)


@njit(cache=True, nogil=True)
def write_counts(work, num_nodes, num_edges):
    for t in range(num_nodes.shape[0]):
        for h in range(num_nodes.shape[1]):
            num_nodes[t, h] = min(work.node_end[t, h] - hop_start(work.node_end, t, h), LARGEST)
    for e in range(num_edges.shape[0]):
        for h in range(num_edges.shape[1]):
            num_edges[e, h] = min(work.edge_end[e, h] - hop_start(work.edge_end, e, h), LARGEST)


@njit(cache=True, nogil=True)
def count_trimmed_batches(
    graph, seed_type, seeds, num_seeds, keys, fanouts, how, work, node_limit, edge_limit, trim_nodes, trim_edges,
    num_nodes, num_edges,
):  # fmt: skip
    """As `count_batches`, after trimming to the limits."""
    for b in range(seeds.shape[0]):
        batch = seeds[b, : num_seeds[b]]
        sample_batch(graph, seed_type, batch, batch, 0, keys[b], fanouts, how, work, True)
        forget_batch(graph, work)
        trim_batch(graph, mix(keys[b] ^ np.uint64(seeds[b, 0])), work, node_limit, edge_limit, trim_nodes, trim_edges)
        write_counts(work, num_nodes[b], num_edges[b])


@njit(cache=True, nogil=True)
def pad_batches(
    graph, seed_type, seeds, num_seeds, keys, fanouts, how, work, node_limit, edge_limit, trim_nodes, trim_edges,
    out,
):  # fmt: skip
    """Sample B batches, trim those over the limits, and write them padded to `out`.

    Limits are budgets less the pad slot, so the last row of every type is padding, and every pad edge joins the
    last rows of its source and destination type.
    """
    num_batches = seeds.shape[0]
    for b in range(num_batches):
        batch = seeds[b, : num_seeds[b]]
        sample_batch(graph, seed_type, batch, batch, 0, keys[b], fanouts, how, work, True)
        forget_batch(graph, work)
        if (trim_nodes or trim_edges) and exceeds(work, node_limit, edge_limit):
            trim_batch(
                graph, mix(keys[b] ^ np.uint64(seeds[b, 0])), work, node_limit, edge_limit, trim_nodes, trim_edges
            )
        write_padded(graph, work, graph.node_offset, node_limit, edge_limit, b, num_batches, out)


@njit(cache=True, nogil=True)
def write_padded(graph, work, node_offset, node_limit, edge_limit, b, num_batches, out):
    """Write the batch in `work`, whose types' nodes lie at `node_offset`, as the b-th of the output, and its pads."""
    for t in range(node_limit.size):
        rows = node_limit[t] + 1
        start = num_batches * out.row_offset[t] + b * rows
        _write_row(out.n_id, start, rows, work.nodes, node_offset[t], work.node_end[t, -1], PAD_ID)
        if out.tree.size > 0:
            _write_row(out.tree, start, rows, work.origin, node_offset[t], work.node_end[t, -1], PAD_ID)
    for e in range(edge_limit.size):
        columns, first, count = edge_limit[e] + 1, work.slot_offset[e], work.edge_end[e, -1]
        start = num_batches * out.column_offset[e] + b * columns
        _write_row(out.e_id, start, columns, work.e_id, first, count, PAD_ID)
        start += num_batches * out.column_offset[e] + b * columns
        _write_row(out.edge_index, start, columns, work.src, first, count, node_limit[graph.src_type[e]])
        start += columns
        _write_row(out.edge_index, start, columns, work.dst, first, count, node_limit[graph.dst_type[e]])


@njit(cache=True, nogil=True, inline="always")
def _write_row(out, start, size, values, first, count, pad):
    """Write `count` of the values to a row of `size` of the output, and the pad behind them."""
    for i in range(count):
        out[start + i] = values[first + i]
    for i in range(count, size):
        out[start + i] = pad

"""What a store's arrays hold, shard by shard: ids, padding, statistics, seeds and labels.

Letters: K batches of a shard, N rows and M columns of a type, H hops.
"""

from functools import partial
from itertools import pairwise

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.sampling.batches import Sizes, limiters
from heteroshards.pipeline.verify.coverage import Place, SeedCoverage
from heteroshards.pipeline.verify.trees import (
    check_edge_times,
    check_ends,
    check_node_times,
    check_seed_times,
    check_trees,
)
from heteroshards.pipeline.verify.view import ShardView
from heteroshards.schemas import layout
from heteroshards.schemas.attributes import UNKNOWN_CODE, AttributeSchema
from heteroshards.schemas.graph import EdgeTypeSchema, NodeTypeSchema
from heteroshards.schemas.targets import TargetSpec
from heteroshards.schemas.tensors import ID_PAD


def check_shard(view: ShardView, coverage: SeedCoverage, graph: HeteroGraph | None) -> None:
    """Everything that can be said of one shard; with the source graph also whether ids and values agree with it."""
    for node in view.manifest.graph.node_types:
        _check_nodes(view, node)
        if graph is not None:
            check_node_times(view, node, graph)
    for edge in view.manifest.graph.edge_types:
        if _check_edges(view, edge):
            _check_hops(view, edge)
        if graph is not None:
            _check_source_edges(view, edge, graph)
            check_edge_times(view, edge, graph)
    _check_unreached(view)
    _check_limiter(view)
    _check_seeds(view)
    _check_rounds(view, coverage)
    if graph is not None:
        check_seed_times(view, graph)
        _check_inline(view, graph)


def _check_unreached(view: ShardView) -> None:
    """Types that models leave out, because no batch has any, are in no batch."""
    left, what = view.manifest.unreached, "a batch has what the manifest says that none has"
    for kind, names, ends in (("num_nodes", left.nodes, view.node_ends), ("num_edges", left.edges, view.edge_ends)):
        for name in names:
            view.require(layout.stats_path(view.part.path, kind), ends(name)[:, -1] == 0, what, name)


def _check_real_first(view: ShardView, path: str, mask: np.ndarray, counts: np.ndarray, limit: int) -> None:
    """The mask is True in the first rows, in as many as the statistics say, and leaves a pad slot."""
    view.require(path, mask == (np.arange(mask.shape[1]) < mask.sum(axis=1)[:, None]), "real rows do not come first")
    view.require(path, mask.sum(axis=1) == counts, "the statistics count another number", mask.sum(axis=1), counts)
    what = "real rows leave no room for padding"
    view.require(path, mask.sum(axis=1) <= limit, what, mask.sum(axis=1), f"at most {limit}")


def _check_ids(view: ShardView, path: str, ids: np.ndarray, mask: np.ndarray, num: int, is_unique: bool) -> None:
    """Real ids lie in range (and occur once per batch), pads are -1."""
    view.require(path, (ids == ID_PAD) | mask, f"a pad row is not {ID_PAD}")
    view.require(path, ((ids >= 0) & (ids < num)) | ~mask, f"a global id lies outside 0..{num - 1}")
    if is_unique:
        ordered = np.sort(np.where(mask, ids, ID_PAD), axis=1)
        is_new = (np.diff(ordered, axis=1) != 0) | (ordered[:, 1:] == ID_PAD)
        view.require(path, is_new, "a global id occurs twice in a batch")


def _check_inline_values(view: ShardView, path: str, attribute: AttributeSchema, mask: np.ndarray) -> None:
    """Rows of inline features that hold nothing hold the pad value, and codes are those that there are."""
    if path in view.arrays:
        values = view.arrays[path]
        pad = np.asarray(UNKNOWN_CODE if attribute.is_codes else view.manifest.pad_value, values.dtype)
        is_pad = (values == pad) | (np.isnan(values) & np.isnan(pad))
        view.require(path, is_pad | mask[..., None], f"a pad row is not {pad}")
        if attribute.is_codes:
            in_range = (values >= UNKNOWN_CODE) & (values < np.array(attribute.cardinalities))
            view.require(path, in_range, f"a code lies outside its {list(attribute.cardinalities)} values")


def _check_nodes(view: ShardView, node: NodeTypeSchema) -> None:
    path = layout.node_path(view.part.path, node.name, "n_id")
    mask, n_id, ends = view.node(node.name, "mask"), view.node(node.name, "n_id"), view.node_ends(node.name)
    budget = view.part.budget
    mask_path = layout.node_path(view.part.path, node.name, "mask")
    _check_real_first(view, mask_path, mask, ends[:, -1], budget.num_nodes[node.name] - 1)
    is_disjoint = view.manifest.sampling.is_disjoint
    _check_ids(view, path, n_id, mask, node.num_nodes, is_unique=not is_disjoint)
    if is_disjoint:
        check_trees(view, node, n_id, mask)
    for attribute in node.attributes:
        _check_inline_values(view, layout.node_path(view.part.path, node.name, attribute.name), attribute, mask)
    most = np.array(budget.hop_nodes[node.name]) - 1
    stats = layout.stats_path(view.part.path, "num_nodes")
    view.require(stats, ends <= most, f"'{node.name}' exceeds a hop's capacity", ends, f"at most {most.tolist()}")
    is_seed_type = node.name == view.manifest.graph.seed_type
    seeds = view.stats("num_seeds") if is_seed_type else np.zeros(len(ends), int)
    if not view.is_full:
        view.require(stats, ends[:, 0] == seeds, f"hop 0 of '{node.name}' is not the seeds", ends[:, 0], seeds)


def _check_edges(view: ShardView, edge: EdgeTypeSchema) -> bool:
    """Returns whether local ids lie in range, so that more can be said of them."""
    budget, name, key = view.part.budget, view.part.path, edge.key
    path, mask_path = layout.edge_path(name, key, "edge_index"), layout.edge_path(name, key, "mask")
    edge_index, mask, ends = view.edge(key, "edge_index"), view.edge(key, "mask"), view.edge_ends(key)
    _check_real_first(view, mask_path, mask, ends[:, -1], budget.num_edges[key] - 1)
    rows = np.array([budget.num_nodes[edge.src], budget.num_nodes[edge.dst]])[:, None]
    in_range = (edge_index >= 0) & (edge_index < rows)
    view.require(path, in_range, f"a local id lies outside its budget of {rows[:, 0].tolist()} rows")
    real = np.stack([view.node(node, "mask").sum(axis=1) for node in (edge.src, edge.dst)], axis=1)[..., None]
    view.require(path, (edge_index < real) | ~mask[:, None], "a real edge joins a pad row")
    view.require(path, (edge_index == rows - 1) | mask[:, None], "a pad edge does not join the last rows")
    if view.manifest.sampling.is_disjoint:
        check_ends(view, edge, edge_index, mask)
    if (id_path := layout.edge_path(name, key, "e_id")) in view.arrays:
        is_unique = not (view.manifest.sampling.replace or view.manifest.sampling.is_disjoint)
        _check_ids(view, id_path, view.arrays[id_path], mask, edge.num_edges, is_unique)
    for attribute in edge.attributes:
        _check_inline_values(view, layout.edge_path(name, key, attribute.name), attribute, mask)
    most = np.array(budget.hop_edges[key]) - 1
    what = f"'{key}' exceeds a hop's capacity"
    view.require(layout.stats_path(name, "num_edges"), ends <= most, what, ends, f"at most {most.tolist()}")
    return bool(in_range.all())


def _check_hops(view: ShardView, edge: EdgeTypeSchema) -> None:
    """Edges of hop h lead from nodes of hops 0..h to nodes first met at hop h - 1."""
    if view.is_full:
        return
    edge_index, mask, ends = view.edge(edge.key, "edge_index"), view.edge(edge.key, "mask"), view.edge_ends(edge.key)
    hop = (np.arange(mask.shape[1])[None, :, None] >= ends[:, None, :-1]).sum(axis=2)  # 0 for edges into the seeds
    dst_ends = np.concatenate([np.zeros((len(ends), 1), int), view.node_ends(edge.dst)], axis=1)
    first, last = (np.take_along_axis(dst_ends, hop + i, axis=1) for i in (0, 1))
    src_end = np.take_along_axis(view.node_ends(edge.src), hop + 1, axis=1)
    src, dst = edge_index[:, 0], edge_index[:, 1]
    holds = (dst >= first) & (dst < last) & (src < src_end)
    path = layout.edge_path(view.part.path, edge.key, "edge_index")
    view.require(path, holds | ~mask, "edges are not grouped by hop")


def _check_limiter(view: ShardView) -> None:
    """The type that fills a batch's budget most is the one that the counts say."""
    counts = Sizes(view.stats("num_nodes"), view.stats("num_edges"))
    expected, found = limiters(counts, view.part.budget, view.manifest.graph), view.stats("limiter")
    path = layout.stats_path(view.part.path, "limiter")
    view.require(path, found == expected, "the limiter is not the one of the counts", found, expected)


def _check_seeds(view: ShardView) -> None:
    name, seed_type = view.part.path, view.manifest.graph.seed_type
    n_id, rows, mask = (view.seeds(tensor) for tensor in ("n_id", "row", "mask"))
    paths = {tensor: layout.seed_path(name, tensor) for tensor in ("n_id", "row", "mask")}
    _check_real_first(view, paths["mask"], mask, view.stats("num_seeds"), view.part.budget.max_seeds)
    num_nodes, is_table = view.manifest.graph.node(seed_type).num_nodes, view.manifest.graph.task.is_table
    _check_ids(view, paths["n_id"], n_id, mask, num_nodes, is_unique=not is_table)
    _check_ids(view, paths["row"], rows, mask, sum(split.num_seeds for split in view.manifest.splits), is_unique=True)
    for target in view.manifest.graph.task.targets:
        _check_target(view, target, mask)
    first_rows = view.node(seed_type, "n_id")[:, : n_id.shape[1]]
    path = layout.node_path(name, seed_type, "n_id")
    view.require(path, (first_rows == n_id) | ~mask, "the first rows are not the seeds")


def _check_target(view: ShardView, target: TargetSpec, mask: np.ndarray) -> None:
    """Pad rows hold pads, and every real seed of a scored split has an answer that can be."""
    path, values = layout.target_path(view.part.path, target.name), view.target(target.name)
    is_real = mask.reshape(mask.shape + (1,) * (values.ndim - mask.ndim))
    view.require(path, target.is_pad(values) | is_real, f"a pad row is not {target.pad_value:g}")
    can_be = target.is_valid(values)
    if view.split.name == layout.PREDICT or target.shape or len(view.manifest.graph.task.targets) > 1:
        can_be |= target.is_pad(values)
    view.require(path, can_be | ~is_real, f"a label lies outside {target.limits}")


def _check_rounds(view: ShardView, coverage: SeedCoverage) -> None:
    """Every batch is of the round that the manifest puts it in; its seeds count for that round."""
    positions = view.start + np.arange(view.num_batches)
    expected = np.searchsorted(view.part.round_starts, positions, side="right") - 1
    rounds = view.stats("round")
    path = layout.stats_path(view.part.path, "round")
    view.require(path, rounds == expected, "a batch is not of its round", rounds, expected)
    cuts = [0, *(np.flatnonzero(np.diff(expected)) + 1).tolist(), view.num_batches]
    for start, stop in pairwise(cuts):
        mask = view.seeds("mask")[start:stop]
        place = Place(view.part.path, view.split.name, (view.start + start, view.start + stop))
        rows, ids = (view.seeds(tensor)[start:stop][mask] for tensor in ("row", "n_id"))
        targets = {name: view.target(name)[start:stop][mask] for name in coverage.targets}
        coverage.see(int(expected[start]), rows, ids, targets, place)


def _check_source_edges(view: ShardView, edge: EdgeTypeSchema, graph: HeteroGraph) -> None:
    """An edge's global ends are those of the source graph's edge with its id."""
    path = layout.edge_path(view.part.path, edge.key, "e_id")
    if path not in view.arrays or edge.num_edges == 0:
        return
    e_id, mask, edge_index = view.arrays[path], view.edge(edge.key, "mask"), view.edge(edge.key, "edge_index")
    source = graph.edge_index[edge.key][:, np.clip(e_id, 0, edge.num_edges - 1)]
    for end, name in enumerate((edge.src, edge.dst)):
        n_id = view.node(name, "n_id")
        ends = view.at(n_id, edge_index[:, end])
        view.require(path, (ends == source[end]) | ~mask, "an edge joins other nodes than in the source graph")


def _check_inline(view: ShardView, graph: HeteroGraph) -> None:
    """Features copied into batches are those of their ids."""
    part = view.part.path
    places = [(partial(layout.node_path, part, name), "n_id", name) for name in graph.schema.node_names]
    places += [(partial(layout.edge_path, part, key), "e_id", key) for key in graph.schema.edge_keys]
    every = [
        (path_of(name), path_of(ids), table)
        for path_of, ids, of in places
        for name, table in graph.features[of].items()
    ]
    for path, id_path, table in every:
        ids = view.arrays.get(id_path)
        if path in view.arrays and ids is not None and len(table):
            is_same = view.arrays[path] == table[np.clip(ids, 0, len(table) - 1)]
            is_same |= np.isnan(view.arrays[path])
            view.require(path, is_same | (ids == ID_PAD)[..., None], "features are not those of their id")

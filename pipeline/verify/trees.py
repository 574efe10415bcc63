"""What disjoint trees and times promise: no seed sees what is another's, or what is later than its own time."""

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.graph.seeds import take_rows
from heteroshards.pipeline.verify.view import ShardView
from heteroshards.schemas import layout
from heteroshards.schemas.graph import EdgeTypeSchema, NodeTypeSchema
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.tensors import ID_PAD, NO_TIME


def check_trees(view: ShardView, node: NodeTypeSchema, n_id: np.ndarray, mask: np.ndarray) -> None:
    """Each node belongs to a seed, and is there once for it; the first rows of the seed type are the seeds."""
    path, tree = layout.node_path(view.part.path, node.name, "tree"), view.node(node.name, "tree")
    num_seeds = view.stats("num_seeds")[:, None]
    view.require(path, (tree == ID_PAD) | mask, f"a pad row is not {ID_PAD}")
    view.require(path, ((tree >= 0) & (tree < num_seeds)) | ~mask, "a node belongs to no seed of its batch")
    pairs = np.sort(np.where(mask, tree.astype(np.int64) * (node.num_nodes + 1) + n_id, -1), axis=1)
    view.require(path, (np.diff(pairs, axis=1) != 0) | (pairs[:, 1:] < 0), "a seed has a node twice")
    if node.name == view.manifest.graph.seed_type:
        rows = np.arange(tree.shape[1])
        view.require(path, (tree == rows) | (rows >= num_seeds), "the first rows are not the seeds' own")


def check_ends(view: ShardView, edge: EdgeTypeSchema, edge_index: np.ndarray, mask: np.ndarray) -> None:
    """An edge joins nodes of one seed."""
    ends = enumerate((edge.src, edge.dst))
    trees = [view.at(view.node(name, "tree"), edge_index[:, end]) for end, name in ends]
    path = layout.edge_path(view.part.path, edge.key, "edge_index")
    view.require(path, (trees[0] == trees[1]) | ~mask, "an edge joins nodes of two seeds")


def check_seed_times(view: ShardView, graph: HeteroGraph) -> None:
    """Seeds ask when the source says."""
    if graph.seeds.times is not None:
        path, rows = layout.seed_path(view.part.path, "time"), view.seeds("row")
        times = _times_of(graph.seeds.times, rows)
        view.require(path, view.seeds("time") == times, "a seed asks at another time")


def check_node_times(view: ShardView, node: NodeTypeSchema, graph: HeteroGraph) -> None:
    """No node is later than its seed, but the seed itself; and ages are what is between them."""
    if not node.has_age:
        return
    n_id, tree, mask = (view.node(node.name, name) for name in ("n_id", "tree", "mask"))
    own, asked = _times_of(graph.times[node.name], n_id), view.at(view.seeds("time"), tree)
    is_seed = np.zeros(mask.shape, bool)
    if node.name == view.manifest.graph.seed_type:
        is_seed = np.arange(mask.shape[1]) < view.stats("num_seeds")[:, None]
    path = layout.node_path(view.part.path, node.name, "n_id")
    view.require(path, (own <= asked) | ~mask | is_seed, "a node is later than its seed")
    path = layout.node_path(view.part.path, node.name, "age")
    ages = np.where(mask, (asked - own) / graph.day, 0).astype(np.float32)
    view.require(path, view.node(node.name, "age") == ages, "an age is not what is between a node and its seed")


def check_edge_times(view: ShardView, edge: EdgeTypeSchema, graph: HeteroGraph) -> None:
    """No edge is later than its seed, as far as the store says which edges they are."""
    path, times = layout.edge_path(view.part.path, edge.key, "e_id"), graph.times.get(edge.key)
    if times is None or path not in view.arrays:
        return
    e_id, mask, edge_index = view.arrays[path], view.edge(edge.key, "mask"), view.edge(edge.key, "edge_index")
    asked = view.at(view.seeds("time"), view.at(view.node(edge.dst, "tree"), edge_index[:, 1]))
    view.require(path, (_times_of(times, e_id) <= asked) | ~mask, "an edge is later than its seed")


def _times_of(times: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """int64: of each id its time; NO_TIME of pads, and of what does not exist, which is a finding of others."""
    return take_rows(times, np.where((ids >= 0) & (ids < len(times)), ids, ID_PAD), NO_TIME)


def proven(manifest: Manifest, graph: HeteroGraph) -> list[str]:
    """What a sound store has been shown to keep, beside its source."""
    lines = ["every seed is in every round once, with what the source knows of it"]
    skipped = sum(split.num_seeds_skipped for split in manifest.splits)
    if skipped:
        lines[0] += f"; but {skipped} that were skipped with their batches"
    if manifest.sampling.is_disjoint:
        lines.append("every seed has a sample of its own")
    if graph.seeds.times is not None:
        untold = [key for key in manifest.graph.edge_keys if key in graph.times and not _has_ids(manifest, key)]
        lines.append("no node and no edge is later than its seed")
        if untold:
            lines[-1] = (
                f"no node is later than its seed (e_id is not stored of {', '.join(untold)}: not shown of edges)"
            )
    return lines


def _has_ids(manifest: Manifest, key: str) -> bool:
    return any(spec.name == "e_id" and spec.owner in (key, "") for spec in manifest.tensors)

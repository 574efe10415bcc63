"""What a store's arrays hold, shard by shard: ids, padding, statistics, seeds and labels.

Letters: K batches of a shard, N rows and M columns of a type, H hops.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.grouping.split_plan import shards_of
from heteroshards.pipeline.sampling.batches import Sizes, limiters
from heteroshards.pipeline.verify.coverage import Place, SeedCoverage
from heteroshards.pipeline.verify.files import chunk_file
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.schemas import layout
from heteroshards.schemas.errors import CorruptChunkError
from heteroshards.schemas.graph import EdgeTypeSchema, NodeTypeSchema
from heteroshards.schemas.listing import PackedTensor, packed_tensors
from heteroshards.schemas.manifest import Manifest, Part, SplitInfo
from heteroshards.schemas.store.chunks import decode_chunk
from heteroshards.schemas.targets import TargetSpec
from heteroshards.schemas.tensors import ID_PAD, TensorSpec


@dataclass(frozen=True)
class Chunks:
    """Decoded chunks of a store, without the damaged ones."""

    store: Path
    manifest: Manifest
    damaged: set[str]

    @cached_property
    def packed(self) -> dict[str, PackedTensor]:
        """Tensors that are no arrays of their own."""
        return packed_tensors(self.manifest)

    def is_sound(self, spec: TensorSpec, index: int) -> bool:
        return chunk_file(self.manifest, spec, index) not in self.damaged

    def rows(self, spec: TensorSpec, index: int) -> np.ndarray:
        """The real rows of one chunk: [at most chunk_rows, ...]."""
        data = (self.store / chunk_file(self.manifest, spec, index)).read_bytes()
        values = decode_chunk(spec, data, lambda num_bytes: np.empty(num_bytes, np.uint8)).view(spec.dtype)
        return values.reshape(spec.chunks)[: spec.shape[0] - index * spec.chunk_rows]

    def slice(self, spec: TensorSpec, start: int, stop: int) -> np.ndarray | None:
        """Rows start..stop, over as many chunks as it takes; None where one of them is damaged."""
        first, last = start // spec.chunk_rows, (stop - 1) // spec.chunk_rows
        if not all(self.is_sound(spec, index) for index in range(first, last + 1)):
            return None
        rows = np.concatenate([self.rows(spec, index) for index in range(first, last + 1)])
        return rows[start - first * spec.chunk_rows : stop - first * spec.chunk_rows]


@dataclass(frozen=True)
class ShardView:
    """The arrays of one shard and the way to report what is wrong with them.

    Attributes:
        start: the shard's first batch, in its part.
        arrays: tensor path -> [K, ...].
    """

    manifest: Manifest
    split: SplitInfo
    part: Part
    start: int
    arrays: dict[str, np.ndarray]
    findings: Findings

    @property
    def num_batches(self) -> int:
        return len(self.stats("num_seeds"))

    @property
    def is_full(self) -> bool:
        return self.manifest.sampling.mode == "full"

    def node(self, name: str, tensor: str) -> np.ndarray:
        return self.arrays[layout.node_path(self.part.path, name, tensor)]

    def edge(self, key: str, tensor: str) -> np.ndarray:
        return self.arrays[layout.edge_path(self.part.path, key, tensor)]

    def seeds(self, tensor: str) -> np.ndarray:
        return self.arrays[layout.seed_path(self.part.path, tensor)]

    def target(self, name: str) -> np.ndarray:
        return self.arrays[layout.target_path(self.part.path, name)]

    def stats(self, name: str) -> np.ndarray:
        return self.arrays[layout.stats_path(self.part.path, name)]

    def node_ends(self, name: str) -> np.ndarray:
        """int64 [K, H + 1]: nodes of hops 0..h, as the statistics have it."""
        return self.stats("num_nodes")[:, self.manifest.graph.node_index[name]].cumsum(axis=1, dtype=np.int64)

    def edge_ends(self, key: str) -> np.ndarray:
        """int64 [K, H]: edges of hops 1..h."""
        return self.stats("num_edges")[:, self.manifest.graph.edge_keys.index(key)].cumsum(axis=1, dtype=np.int64)

    def require(self, path: str, holds: np.ndarray, what: str, actual: Any = None, limit: Any = None) -> None:
        """One finding for all batches (bool [K, ...]) in which something does not hold.

        `actual` and `limit` are values, or arrays [K] of which the first bad batch's is shown.
        """
        bad = np.flatnonzero(~holds.reshape(len(holds), -1).all(axis=1))
        if len(bad) == 0:
            return
        actual, limit = (v[bad[0]] if isinstance(v, np.ndarray) else v for v in (actual, limit))
        where = (self.start + int(bad[0]), self.start + int(bad[-1]) + 1)
        self.findings.add(path, what, _plain(actual), _plain(limit), self.split.name, where)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def shards(chunks: Chunks, split: SplitInfo, part: Part, findings: Findings) -> Iterator[ShardView | None]:
    """A part's shards, one at a time; None for one with a damaged chunk, which cannot be looked into."""
    manifest = chunks.manifest
    specs = [spec for spec in manifest.tensors if spec.part == part.path]
    size = min(manifest.chunk_batches, part.num_batches)
    for shard in shards_of(part.path, part.num_batches, size):
        arrays = {}
        for spec in specs:
            try:
                rows = chunks.slice(spec, shard.start, shard.stop)
            except CorruptChunkError as error:
                batches = (shard.start, shard.stop)
                findings.add(spec.path, "a chunk cannot be decoded", error, None, split.name, batches)
                rows = None
            if rows is None:
                break
            arrays[spec.path] = rows
        is_whole = len(arrays) == len(specs)
        by_type = _by_type(arrays, chunks.packed) if is_whole else {}
        yield ShardView(manifest, split, part, shard.start, by_type, findings) if is_whole else None


def _by_type(arrays: dict[str, np.ndarray], packed: dict[str, PackedTensor]) -> dict[str, np.ndarray]:
    """Stored arrays as a store with an array per type has them."""
    places = {path: tensor.columns for path, tensor in packed.items() if tensor.columns.path in arrays}
    found = {path: arrays[at.path][..., at.start : at.stop] for path, at in places.items()}
    joined = {at.path for at in places.values()}
    return found | {path: rows for path, rows in arrays.items() if path not in joined}


def check_shard(view: ShardView, coverage: SeedCoverage, graph: HeteroGraph | None) -> None:
    """Everything that can be said of one shard; with the source graph also whether ids and values agree with it."""
    for node in view.manifest.graph.node_types:
        _check_nodes(view, node)
    for edge in view.manifest.graph.edge_types:
        if _check_edges(view, edge):
            _check_hops(view, edge)
        if graph is not None:
            _check_source_edges(view, edge, graph)
    _check_unreached(view)
    _check_limiter(view)
    _check_seeds(view)
    _check_rounds(view, coverage)
    if graph is not None:
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


def _check_pads(view: ShardView, path: str, mask: np.ndarray) -> None:
    """Rows of inline features that hold nothing hold the pad value."""
    if path in view.arrays:
        values = view.arrays[path]
        pad = np.asarray(view.manifest.pad_value, values.dtype)
        is_pad = (values == pad) | (np.isnan(values) & np.isnan(pad))
        view.require(path, is_pad | mask[..., None], f"a pad row is not {view.manifest.pad_value}")


def _check_nodes(view: ShardView, node: NodeTypeSchema) -> None:
    path = layout.node_path(view.part.path, node.name, "n_id")
    mask, n_id, ends = view.node(node.name, "mask"), view.node(node.name, "n_id"), view.node_ends(node.name)
    budget = view.part.budget
    mask_path = layout.node_path(view.part.path, node.name, "mask")
    _check_real_first(view, mask_path, mask, ends[:, -1], budget.num_nodes[node.name] - 1)
    _check_ids(view, path, n_id, mask, node.num_nodes, is_unique=True)
    _check_pads(view, layout.node_path(view.part.path, node.name, "x"), mask)
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
    if (id_path := layout.edge_path(name, key, "e_id")) in view.arrays:
        is_unique = not view.manifest.sampling.replace
        _check_ids(view, id_path, view.arrays[id_path], mask, edge.num_edges, is_unique)
    _check_pads(view, layout.edge_path(name, key, "edge_attr"), mask)
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
    _check_ids(view, paths["n_id"], n_id, mask, view.manifest.graph.node(seed_type).num_nodes, is_unique=True)
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
        ends = np.take_along_axis(n_id, np.clip(edge_index[:, end], 0, n_id.shape[1] - 1), axis=1)
        view.require(path, (ends == source[end]) | ~mask, "an edge joins other nodes than in the source graph")


def _check_inline(view: ShardView, graph: HeteroGraph) -> None:
    """Features copied into batches are those of their ids."""
    part = view.part.path
    tables = [(partial(layout.node_path, part, name), "n_id", "x", x) for name, x in graph.features.items()]
    tables += [(partial(layout.edge_path, part, key), "e_id", "edge_attr", x) for key, x in graph.edge_attr.items()]
    for path_of, id_name, name, table in tables:
        path, ids = path_of(name), view.arrays.get(path_of(id_name))
        if path in view.arrays and ids is not None and len(table):
            is_same = view.arrays[path] == table[np.clip(ids, 0, len(table) - 1)]
            is_same |= np.isnan(view.arrays[path])
            view.require(path, is_same | (ids == ID_PAD)[..., None], "features are not those of their id")

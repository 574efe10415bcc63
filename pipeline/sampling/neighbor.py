"""Neighbor sampling of batches with PyG's directional semantics, by the kernels, one worker each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.graph.csc import PackedGraph
from heteroshards.pipeline.graph.seeds import take_rows
from heteroshards.pipeline.sampling import kernels
from heteroshards.pipeline.sampling.batches import PaddedBatches, Sizes
from heteroshards.pipeline.sampling.kernels import OUTSIDE
from heteroshards.pipeline.sampling.workspace import Draw, Workspace
from heteroshards.schemas.budget import Budget, OverSizePolicy
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import ID_PAD


@dataclass(frozen=True)
class SampledBatch:
    """One unpadded batch.

    Attributes:
        n_id: node type -> int64 [nodes], global ids: seeds first, then in order of discovery.
        edge_index: edge type key -> int64 [2, edges], local ids, grouped by hop.
        e_id: edge type key -> int64 [edges], global ids.
        num_nodes: node type -> nodes of hop 0..H. num_edges: edge type key -> edges of hop 1..H.
    """

    n_id: dict[str, np.ndarray]
    edge_index: dict[str, np.ndarray]
    e_id: dict[str, np.ndarray]
    num_nodes: dict[str, list[int]]
    num_edges: dict[str, list[int]]


class NeighborSampler:
    """Samples, counts and pads batches in which a node is once, whichever seeds lead to it. Holds one worker's scratch,
    so give each thread its own.

    Every result is a pure function of the graph, the spec and each batch's (seeds, key). Seeds are rows of a seed
    table, -1 in pads.

    Args:
        graph: all edge types, packed.
        schema: names and order of types.
        spec: fanouts, and how neighbors are drawn.
        oversize: whether batches over a budget are trimmed, and of what.
        ids: int32, the node of each row of the seed table; None: row i is node i.
    """

    def __init__(
        self,
        graph: PackedGraph,
        schema: GraphSchema,
        spec: SamplingSpec,
        oversize: OverSizePolicy = "error",
        ids: np.ndarray | None = None,
    ) -> None:
        self.graph = graph
        self.schema = schema
        self.seed_type = schema.node_index[schema.seed_type]
        self._ids = ids
        self.how = Draw(spec.replace, spec.strategy == "last", np.int64(-1 if spec.window is None else spec.window))
        self.trim_nodes = oversize in ("trim_nodes", "trim_nodes_and_edges")
        self.trim_edges = oversize in ("trim_edges", "trim_nodes_and_edges")
        self.fanouts = np.array([spec.fanouts[key] for key in schema.edge_keys], np.int64).reshape(-1, spec.num_hops).T
        self.fanouts = np.ascontiguousarray(self.fanouts)
        num_nodes = int(graph.node_offset[-1])
        self._work = Workspace(
            local_id=np.full(num_nodes, OUTSIDE, np.int32),
            nodes=np.empty(num_nodes, np.int32),
            origin=np.empty(num_nodes, np.int32),
            new_id=np.empty(num_nodes if self.trims else 0, np.int32),
            src=np.empty(0, np.int32),
            dst=np.empty(0, np.int32),
            e_id=np.empty(0, np.int32),
            slot_offset=np.zeros(graph.num_edge_types + 1, np.int64),
            node_end=np.zeros((graph.num_node_types, spec.num_hops + 1), np.int64),
            edge_end=np.zeros((graph.num_edge_types, spec.num_hops), np.int64),
            picks=np.empty(self._most_picks(), np.int64),
            seen=np.empty(0, np.uint8),
            is_open=np.empty(0, np.uint8),
        )

    @property
    def trims(self) -> bool:
        """Whether batches over a budget are trimmed."""
        return self.trim_nodes or self.trim_edges

    def _most_picks(self) -> int:
        """The longest draw: without replacement never more than the largest degree."""
        most = max(1, int(self.fanouts.max(initial=1)))
        if self.how.replace:
            return most
        degrees = np.diff(self.graph.indptr)  # negative between two edge types
        return min(most, max(1, int(degrees.max(initial=1))))

    def _batch_arguments(self, seeds: np.ndarray, keys: np.ndarray) -> tuple[object, ...]:
        num_seeds = (seeds >= 0).sum(axis=1)
        return self.graph, self.seed_type, self.nodes(seeds), num_seeds, keys, self.fanouts, self.how, self._work

    def nodes(self, seeds: np.ndarray) -> np.ndarray:
        """int32: the nodes of some seeds, -1 in pads."""
        return seeds if self._ids is None else take_rows(self._ids, seeds, ID_PAD)

    def _empty_sizes(self, num_batches: int) -> Sizes:
        return Sizes(
            np.empty((num_batches, *self._work.node_end.shape), np.int32),
            np.empty((num_batches, *self._work.edge_end.shape), np.int32),
        )

    def count(self, seeds: np.ndarray, keys: np.ndarray, seen: np.ndarray | None = None) -> Sizes:
        """Sizes of the batches with these seeds (int32 [B, S], -1 pads) and keys (uint64 [B]), untrimmed.

        Args:
            seen: uint8 [all edges], as the packed graph has them; 1 is written for every edge that is sampled.
        """
        sizes = self._empty_sizes(len(seeds))
        *arguments, work = self._batch_arguments(seeds, keys)
        if seen is not None:
            work = self._work._replace(seen=seen)
        with np.errstate(over="ignore"):
            kernels.count_batches(*arguments, work, sizes.num_nodes, sizes.num_edges)
        return sizes

    def count_reached(self, seeds: np.ndarray, key: np.uint64) -> np.ndarray:
        """int32 [all nodes]: how many of the seeds (int32 [N]) lead to a node before the last hop, each alone."""
        reached = np.zeros(int(self.graph.node_offset[-1]), np.int32)
        shorter = self._work._replace(
            node_end=np.ascontiguousarray(self._work.node_end[:, 1:]),
            edge_end=np.ascontiguousarray(self._work.edge_end[:, 1:]),
        )
        arguments = (self.graph, self.seed_type, self.nodes(seeds), key, self.fanouts[:-1], self.how, shorter)
        with np.errstate(over="ignore"):
            kernels.count_reached(*arguments, reached)
        return reached

    def trace(
        self, seeds: np.ndarray, key: np.uint64, expected: int = 0, is_open: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """What each seed (int32 [N]) alone brings into a batch whose draws have this key.

        Args:
            expected: elements that it will be at most; when it is more, seeds are sampled twice.
            is_open: uint8 [all nodes], 1 where another seed of the batch may decide what is drawn; see
                `kernels.trace_seeds`.

        Returns:
            first int64 [N + 1] and, seed after seed, elements int64, kinds and weights int32 [first[N]]; see
            `kernels.trace_seeds`.
        """
        first = np.zeros(len(seeds) + 1, np.int64)
        work = self._work if is_open is None else self._work._replace(is_open=is_open)
        arguments = (self.graph, self.seed_type, self.nodes(seeds), key, self.fanouts, self.how, work, first)
        room, num = -1, expected
        with np.errstate(over="ignore"):
            while num > room:
                room = num
                elements, kinds, weights = (np.empty(room, dtype) for dtype in (np.int64, np.int32, np.int32))
                kernels.trace_seeds(*arguments, elements, kinds, weights)
                num = int(first[-1])
        return first, elements[:num], kinds[:num], weights[:num]

    def reserve_edges(self, max_edges: np.ndarray) -> None:
        """Make room for batches of up to `max_edges` (int64 [E]) edges per type, untrimmed."""
        if np.all(np.diff(self._work.slot_offset) >= max_edges):
            return
        offset = np.concatenate([[0], np.cumsum(np.maximum(max_edges, np.diff(self._work.slot_offset)))])
        slots = int(offset[-1])
        self._work = self._work._replace(
            slot_offset=offset.astype(np.int64),
            src=np.empty(slots, np.int32),
            dst=np.empty(slots, np.int32),
            e_id=np.empty(slots, np.int32),
        )

    def count_trimmed(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> Sizes:
        """Sizes after trimming to the budget. `reserve_edges` must have been called for the untrimmed sizes."""
        sizes = self._empty_sizes(len(seeds))
        limits = self._limits(budget)
        with np.errstate(over="ignore"):
            kernels.count_trimmed_batches(
                *self._batch_arguments(seeds, keys),
                *limits,
                self.trim_nodes,
                self.trim_edges,
                sizes.num_nodes,
                sizes.num_edges,
            )
        return sizes

    def pad(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> PaddedBatches:
        """The batches, padded to the budget. `reserve_edges` must have been called for the untrimmed sizes."""
        padded = PaddedBatches.empty(len(seeds), self.schema, budget)
        with np.errstate(over="ignore"):
            kernels.pad_batches(
                *self._batch_arguments(seeds, keys),
                *self._limits(budget),
                self.trim_nodes,
                self.trim_edges,
                padded.flat,
            )
        return padded

    def _limits(self, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
        nodes = np.array([budget.num_nodes[name] - 1 for name in self.schema.node_names], np.int64)
        edges = np.array([budget.num_edges[key] - 1 for key in self.schema.edge_keys], np.int64)
        return nodes, edges

    def sample(self, seeds: np.ndarray, key: np.uint64) -> SampledBatch:
        """One unpadded batch of distinct `seeds` (integers [S])."""
        row, keys = np.asarray(seeds, np.int32).reshape(1, -1), np.array([key], np.uint64)
        sizes = self.count(row, keys)
        self.reserve_edges(sizes.edge_totals[0])
        with np.errstate(over="ignore"):
            nodes = self.nodes(row)[0]
            kernels.sample_batch(
                self.graph, self.seed_type, nodes, nodes, 0, keys[0], self.fanouts, self.how, self._work, True
            )
            kernels.forget_batch(self.graph, self._work)
        return self._unpack(sizes)

    def _unpack(self, sizes: Sizes) -> SampledBatch:
        n_id, edge_index, e_id = {}, {}, {}
        for t, name in enumerate(self.schema.node_names):
            start = self.graph.node_offset[t]
            n_id[name] = self._work.nodes[start : start + sizes.node_totals[0, t]].astype(np.int64)
        for e, key in enumerate(self.schema.edge_keys):
            part = slice(self._work.slot_offset[e], self._work.slot_offset[e] + sizes.edge_totals[0, e])
            edge_index[key] = np.stack([self._work.src[part], self._work.dst[part]]).astype(np.int64)
            e_id[key] = self._work.e_id[part].astype(np.int64)
        num_nodes: Mapping[str, np.ndarray] = dict(zip(self.schema.node_names, sizes.num_nodes[0], strict=True))
        num_edges: Mapping[str, np.ndarray] = dict(zip(self.schema.edge_keys, sizes.num_edges[0], strict=True))
        return SampledBatch(
            n_id,
            edge_index,
            e_id,
            {name: counts.tolist() for name, counts in num_nodes.items()},
            {key: counts.tolist() for key, counts in num_edges.items()},
        )

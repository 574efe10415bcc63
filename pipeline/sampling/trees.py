"""Neighbor sampling with a tree for each seed: what one seed sees, no other seed of its batch changes."""

import numpy as np

from heteroshards.pipeline.graph.csc import PackedGraph
from heteroshards.pipeline.graph.seeds import SeedTable, take_rows
from heteroshards.pipeline.sampling import tree_kernels as kernels
from heteroshards.pipeline.sampling.batches import PaddedBatches, Sizes
from heteroshards.pipeline.sampling.neighbor import NeighborSampler
from heteroshards.pipeline.sampling.workspace import Workspace
from heteroshards.schemas.budget import Budget, OverSizePolicy
from heteroshards.schemas.graph import GraphSchema
from heteroshards.schemas.sampling import SamplingSpec


class TreeSampler(NeighborSampler):
    """As `NeighborSampler`, with disjoint trees. A seed sees what is not later than its time, where seeds have one.

    Args:
        seeds: the table; its row number tells a seed apart in draws, for a node may be asked about more than once.
    """

    def __init__(
        self,
        graph: PackedGraph,
        schema: GraphSchema,
        spec: SamplingSpec,
        oversize: OverSizePolicy,
        seeds: SeedTable,
    ) -> None:
        super().__init__(graph, schema, spec, oversize, seeds.ids)
        self._times = seeds.times
        self._joined: Workspace | None = None
        self._joined_offset = np.zeros(1, np.int64)

    def _tree_arguments(self, seeds: np.ndarray, keys: np.ndarray) -> tuple[object, ...]:
        times = np.zeros(seeds.shape, np.int64) if self._times is None else take_rows(self._times, seeds, 0)
        num_seeds = (seeds >= 0).sum(axis=1)
        rows = np.ascontiguousarray(seeds, np.int32)
        return (self.graph, self.seed_type, self.nodes(rows), rows, times, num_seeds, keys, self.fanouts, self.how)

    def count(self, seeds: np.ndarray, keys: np.ndarray, seen: np.ndarray | None = None) -> Sizes:
        sizes = self._empty_sizes(len(seeds))
        work = self._work if seen is None else self._work._replace(seen=seen)
        with np.errstate(over="ignore"):
            kernels.count_trees(*self._tree_arguments(seeds, keys), work, sizes.num_nodes, sizes.num_edges)
        return sizes

    def _trees_and_room(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> tuple[object, ...]:
        """Arguments of the kernels that put trees side by side."""
        edges = np.diff(self._work.slot_offset)
        nodes = np.bincount(self.graph.src_type, edges, minlength=self.graph.num_node_types).astype(np.int64)
        nodes[self.seed_type] += seeds.shape[1]  # every other node of a batch has an edge of its own that led to it
        if (
            self._joined is None
            or len(self._joined.src) < len(self._work.src)
            or np.any(np.diff(self._joined_offset) < nodes)
        ):
            self._joined_offset = np.concatenate([[0], np.cumsum(nodes)]).astype(np.int64)
            self._joined = self._room_for(int(self._joined_offset[-1]))
        as_joined = self.graph._replace(node_offset=self._joined_offset)
        trees = self._tree_arguments(seeds, keys)
        return (*trees, self._work, self._joined, as_joined, *self._limits(budget), self.trim_nodes, self.trim_edges)

    def _room_for(self, num_nodes: int) -> Workspace:
        """Scratch for a batch of so many nodes, and as many edges as there is room for already."""
        work = self._work
        return work._replace(
            nodes=np.empty(num_nodes, np.int32),
            origin=np.empty(num_nodes, np.int32),
            new_id=np.empty(num_nodes if self.trims else 0, np.int32),
            src=np.empty_like(work.src),
            dst=np.empty_like(work.dst),
            e_id=np.empty_like(work.e_id),
            node_end=np.zeros_like(work.node_end),
            edge_end=np.zeros_like(work.edge_end),
        )

    def count_trimmed(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> Sizes:
        sizes = self._empty_sizes(len(seeds))
        with np.errstate(over="ignore"):
            arguments = self._trees_and_room(seeds, keys, budget)
            kernels.count_trimmed_trees(*arguments, sizes.num_nodes, sizes.num_edges)
        return sizes

    def pad(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> PaddedBatches:
        padded = PaddedBatches.empty(len(seeds), self.schema, budget, with_trees=True)
        with np.errstate(over="ignore"):
            kernels.pad_trees(*self._trees_and_room(seeds, keys, budget), padded.flat)
        return padded

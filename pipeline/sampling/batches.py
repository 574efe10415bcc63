"""Containers that sampling hands on: sizes of batches, and batches padded to a budget."""

from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.sampling.workspace import Padded
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.graph import GraphSchema


@dataclass(frozen=True)
class Sizes:
    """Real counts of B batches per type and hop.

    Attributes:
        num_nodes: int32 [B, node types, H + 1], nodes first met at each hop (0 = seeds).
        num_edges: int32 [B, edge types, max(H, 1)], edges of each hop (1 = into the seeds).
    """

    num_nodes: np.ndarray
    num_edges: np.ndarray

    @property
    def node_totals(self) -> np.ndarray:
        """int64 [B, node types]."""
        return self.num_nodes.sum(axis=2, dtype=np.int64)

    @property
    def edge_totals(self) -> np.ndarray:
        """int64 [B, edge types]."""
        return self.num_edges.sum(axis=2, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.num_nodes)

    def __getitem__(self, index: slice | np.ndarray) -> "Sizes":
        return Sizes(self.num_nodes[index], self.num_edges[index])

    @staticmethod
    def concatenate(parts: list["Sizes"]) -> "Sizes":
        return Sizes(np.concatenate([p.num_nodes for p in parts]), np.concatenate([p.num_edges for p in parts]))


def limiters(sizes: Sizes, budget: Budget, schema: GraphSchema) -> np.ndarray:
    """int32 [B]: the type that closed each batch, a position among first the node types, then the edge types.

    It is the one whose real count is nearest to its budget less the pad slot, by real / (budget - 1) in float64; ties
    go to the first. A type whose budget is its pad slot alone counts as empty.
    """
    real = np.concatenate([sizes.node_totals, sizes.edge_totals], axis=1)
    rows = [budget.num_nodes[name] for name in schema.node_names] + [budget.num_edges[key] for key in schema.edge_keys]
    return (real / np.maximum(np.array(rows) - 1, 1)).argmax(axis=1).astype(np.int32)


@dataclass(frozen=True)
class PaddedBatches:
    """B batches padded to one budget; each tensor is a contiguous block of one flat array.

    `n_id`, `e_id` and `edge_index` give the blocks by type, without a copy.
    """

    n_id_flat: np.ndarray
    e_id_flat: np.ndarray
    edge_index_flat: np.ndarray
    row_offset: np.ndarray
    column_offset: np.ndarray
    num_batches: int
    schema: GraphSchema
    tree_flat: np.ndarray

    @staticmethod
    def empty(num_batches: int, schema: GraphSchema, budget: Budget, with_trees: bool = False) -> "PaddedBatches":
        """Room for so many batches; `with_trees` also for which seed each node belongs to."""
        rows = np.cumsum([0] + [budget.num_nodes[name] for name in schema.node_names]).astype(np.int64)
        columns = np.cumsum([0] + [budget.num_edges[key] for key in schema.edge_keys]).astype(np.int64)
        return PaddedBatches(
            np.empty(num_batches * rows[-1], np.int32),
            np.empty(num_batches * columns[-1], np.int32),
            np.empty(2 * num_batches * columns[-1], np.int32),
            rows,
            columns,
            num_batches,
            schema,
            np.empty(num_batches * rows[-1] if with_trees else 0, np.int32),
        )

    @property
    def flat(self) -> Padded:
        """All tensors, as the kernels fill them."""
        return Padded(
            self.n_id_flat,
            self.e_id_flat,
            self.edge_index_flat,
            self.row_offset,
            self.column_offset,
            self.tree_flat,
        )

    def _block(self, flat: np.ndarray, offset: np.ndarray, index: int, factor: int = 1) -> np.ndarray:
        scale = factor * self.num_batches
        return flat[scale * offset[index] : scale * offset[index + 1]]

    def n_id(self, node_type: str) -> np.ndarray:
        """int32 [B, rows], -1 in pad rows."""
        block = self._block(self.n_id_flat, self.row_offset, self.schema.node_index[node_type])
        return block.reshape(self.num_batches, -1)

    def tree(self, node_type: str) -> np.ndarray:
        """int32 [B, rows]: which seed of its batch a node belongs to where trees are disjoint, -1 in pad rows."""
        block = self._block(self.tree_flat, self.row_offset, self.schema.node_index[node_type])
        return block.reshape(self.num_batches, -1)

    def e_id(self, edge_key: str) -> np.ndarray:
        """int32 [B, columns], -1 in pad columns."""
        block = self._block(self.e_id_flat, self.column_offset, self.schema.edge_keys.index(edge_key))
        return block.reshape(self.num_batches, -1)

    def edge_index(self, edge_key: str) -> np.ndarray:
        """int32 [B, 2, columns]; pad columns join the last rows of both types."""
        block = self._block(self.edge_index_flat, self.column_offset, self.schema.edge_keys.index(edge_key), 2)
        return block.reshape(self.num_batches, 2, -1)

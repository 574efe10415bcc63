"""The whole graph as one batch per split, behind the same interface as the neighbor sampler."""

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.sampling.batches import PaddedBatches, Sizes
from heteroshards.schemas.budget import Budget


class WholeGraph:
    """Pads the whole graph: seeds first, then every other node by ascending id; edges in their own order."""

    def __init__(self, graph: HeteroGraph) -> None:
        self.graph = graph
        self.schema = graph.schema

    def count(self, seeds: np.ndarray, keys: np.ndarray) -> Sizes:
        """Sizes of the batches with these seeds: everything counts as hop 0 (nodes) and hop 1 (edges)."""
        nodes = np.array([[[node.num_nodes] for node in self.schema.node_types]], np.int32)
        edges = np.array([[[edge.num_edges] for edge in self.schema.edge_types]], np.int32).reshape(1, -1, 1)
        return Sizes(nodes.repeat(len(seeds), axis=0), edges.repeat(len(seeds), axis=0))

    def pad(self, seeds: np.ndarray, keys: np.ndarray, budget: Budget) -> PaddedBatches:
        """The batches, padded to the budget."""
        padded = PaddedBatches.empty(len(seeds), self.schema, budget)
        for b, row in enumerate(self.graph.seeds.nodes(seeds)):
            local = {}
            for node in self.schema.node_types:
                first = row[row >= 0] if node.name == self.schema.seed_type else row[:0]
                order = np.concatenate([first, np.setdiff1d(np.arange(node.num_nodes, dtype=np.int32), first)])
                local[node.name] = np.empty(node.num_nodes, np.int32)
                local[node.name][order] = np.arange(node.num_nodes, dtype=np.int32)
                padded.n_id(node.name)[b] = -1
                padded.n_id(node.name)[b, : node.num_nodes] = order
            for edge in self.schema.edge_types:
                edges, out = self.graph.edge_index[edge.key], padded.edge_index(edge.key)[b]
                out[0, : edge.num_edges] = local[edge.src][edges[0]]
                out[1, : edge.num_edges] = local[edge.dst][edges[1]]
                out[0, edge.num_edges :] = budget.num_nodes[edge.src] - 1
                out[1, edge.num_edges :] = budget.num_nodes[edge.dst] - 1
                padded.e_id(edge.key)[b] = -1
                padded.e_id(edge.key)[b, : edge.num_edges] = np.arange(edge.num_edges, dtype=np.int32)
        return padded

    def reserve_edges(self, max_edges: np.ndarray) -> None:
        """Nothing is drawn, so nothing needs room."""

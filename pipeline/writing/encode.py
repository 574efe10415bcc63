"""From padded batches to the arrays of a store: chunk by chunk, nothing kept."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.graph.seeds import take_rows
from heteroshards.pipeline.grouping.split_plan import BatchBlock, Shard
from heteroshards.pipeline.sampling.batches import PaddedBatches, limiters
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.writing.writer import Checksums
from heteroshards.schemas import layout
from heteroshards.schemas.attributes import CODE_DTYPE, UNKNOWN_CODE
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.listing import PackedTensor, packed_tensors
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.tensors import ID_PAD, NO_TIME, TensorSpec


class ChunkWriter(Protocol):
    """Where encoded chunks go: `StoreWriter`, or what only measures them."""

    manifest: Manifest
    specs: dict[str, TensorSpec]

    def write_chunk(self, path: str, index: int, rows: np.ndarray) -> tuple[int, int]: ...


@dataclass(frozen=True)
class Encoder:
    """Turns shards into chunks of a store.

    Attributes:
        writer: of the store; its manifest says which tensors there are.
    """

    graph: HeteroGraph
    writer: ChunkWriter

    def write_shard(self, sampler: Sampler, shard: Shard, block: BatchBlock, budget: Budget) -> Checksums:
        """Sample, pad and write one shard of batches."""
        padded = sampler.pad(block.seeds, block.keys, budget)
        checksums: Checksums = {}
        for path, rows in self.tensors(shard.part, padded, block):
            checksums[path] = {shard.chunk: self.writer.write_chunk(path, shard.chunk, rows)}
        return checksums

    def tensors(self, part: str, padded: PaddedBatches, block: BatchBlock) -> Iterator[tuple[str, np.ndarray]]:
        """(path, [K, ...]) of every per-batch array that the manifest lists."""
        packed: dict[str, list[np.ndarray]] = {}
        for path, rows in self._tensors_by_type(part, padded, block):
            if path in self._packed:
                packed.setdefault(self._packed[path].columns.path, []).append(rows)
            else:
                yield path, rows
        for path, members in packed.items():
            yield path, np.concatenate(members, axis=-1)

    @cached_property
    def _packed(self) -> dict[str, PackedTensor]:
        return packed_tensors(self.writer.manifest)

    def _tensors_by_type(self, part: str, padded: PaddedBatches, block: BatchBlock) -> Iterator[tuple[str, np.ndarray]]:
        listed = {*self.writer.specs, *self._packed}
        for node in self.graph.schema.node_types:
            n_id = padded.n_id(node.name)
            yield layout.node_path(part, node.name, "n_id"), n_id
            yield layout.node_path(part, node.name, "mask"), n_id != ID_PAD
            if (path := layout.node_path(part, node.name, "tree")) in listed:
                yield path, padded.tree(node.name)
            if node.has_age:
                path, tree = layout.node_path(part, node.name, "age"), padded.tree(node.name)
                yield path, self.graph.ages(node.name, n_id, tree, block.seeds)
            for name, table in self.graph.features[node.name].items():
                if (path := layout.node_path(part, node.name, name)) in listed:
                    yield path, self._gather(table, n_id)
        for edge in self.graph.schema.edge_types:
            e_id = padded.e_id(edge.key)
            yield layout.edge_path(part, edge.key, "edge_index"), padded.edge_index(edge.key)
            yield layout.edge_path(part, edge.key, "mask"), e_id != ID_PAD
            if (path := layout.edge_path(part, edge.key, "e_id")) in listed:
                yield path, e_id
            for name, table in self.graph.features[edge.key].items():
                if (path := layout.edge_path(part, edge.key, name)) in listed:
                    yield path, self._gather(table, e_id)
        is_seed = block.seeds != ID_PAD
        yield layout.seed_path(part, "n_id"), self.graph.seeds.nodes(block.seeds)
        yield layout.seed_path(part, "row"), block.seeds
        yield layout.seed_path(part, "mask"), is_seed
        if self.graph.seeds.times is not None:
            yield layout.seed_path(part, "time"), take_rows(self.graph.seeds.times, block.seeds, NO_TIME)
        for target in self.graph.schema.task.targets:
            yield layout.target_path(part, target.name), self.graph.seeds.answers(target, block.seeds)

    def _gather(self, table: np.ndarray, ids: np.ndarray) -> np.ndarray:
        pad = UNKNOWN_CODE if table.dtype == CODE_DTYPE else self.writer.manifest.pad_value
        if len(table) == 0:
            return np.full((*ids.shape, table.shape[1]), pad, table.dtype)
        rows = table[ids]
        rows[ids == ID_PAD] = pad
        return rows

    def write_table(self, spec: TensorSpec, chunks: Iterable[int] | None = None) -> Checksums:
        """Write one feature table: the whole one, or some of its chunks."""
        return {spec.path: self._write_rows(spec, table_of(self.graph, spec), chunks)}

    def stats(self, part: str, fitted: Fitted) -> dict[str, np.ndarray]:
        """path -> [batches, ...]: the ledger of all batches of the part that lies at `part`."""
        arrays = {
            "num_seeds": fitted.plan.num_seeds(),
            "round": fitted.plan.rounds(),
            "limiter": limiters(fitted.sizes, self.writer.manifest.budgets[fitted.shape], self.graph.schema),
            "num_nodes": fitted.sizes.num_nodes,
            "num_nodes_trimmed": fitted.trimmed.num_nodes,
            "num_edges": fitted.sizes.num_edges,
            "num_edges_trimmed": fitted.trimmed.num_edges,
        }
        return {layout.stats_path(part, name): array for name, array in arrays.items()}

    def write_stats(self, part: str, fitted: Fitted) -> Checksums:
        """Write the ledger of a part."""
        rows = self.stats(part, fitted)
        return {path: self._write_rows(self.writer.specs[path], array) for path, array in rows.items()}

    def _write_rows(
        self, spec: TensorSpec, rows: np.ndarray, chunks: Iterable[int] | None = None
    ) -> dict[int, tuple[int, int]]:
        step, chunks = spec.chunk_rows, range(spec.num_chunks) if chunks is None else chunks
        return {i: self.writer.write_chunk(spec.path, i, rows[i * step : (i + 1) * step]) for i in chunks}


def table_of(graph: HeteroGraph, spec: TensorSpec) -> np.ndarray:
    """What a table of a store holds, [nodes or edges of its type, ...]."""
    if spec.name == layout.ORIGINAL_ID:
        return graph.original_ids[spec.owner].astype(spec.dtype)
    return np.ascontiguousarray(graph.features[spec.owner][spec.name])

"""What there is to write of a store, as named, independent pieces."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from heteroshards.pipeline.executors.threads import Workers
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.grouping.split_plan import shards_of
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sizing.estimate import Fitted
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.writer import Checksums
from heteroshards.schemas import layout
from heteroshards.schemas.manifest import Manifest, Part

SHARDS_PER_PARTITION = 16
SAMPLING_COST = 4  # a byte of a batch takes about as long as so many of a table


@dataclass(frozen=True)
class Planned:
    """A store of which everything is decided and nothing written.

    Attributes:
        workers: samplers of the graph, with room for its largest batch.
        manifest: the store's, unfinished. fitted: split -> what will be written of it, part by part.
        most_edges: int64 [edge types], of the largest batch, untrimmed.
    """

    workers: Workers[Sampler]
    graph: HeteroGraph
    manifest: Manifest
    fitted: dict[str, list[Fitted]]
    most_edges: np.ndarray

    @cached_property
    def parts(self) -> dict[str, Fitted]:
        """Where batches lie in the store -> what will be written there."""
        return {
            layout.part_path(split, fit.shape, len(parts)): fit for split, parts in self.fitted.items() for fit in parts
        }


@dataclass(frozen=True)
class Partition:
    """A named, independent piece of a store, as plain data: whoever has what was planned can write it, see `write`.

    Attributes:
        kind: a feature `table`, the `ledger` of a part, or some `shards` of one.
        place: the path of the table, or of the part.
        first, end: of shards: their numbers are first to end - 1.
        cost: how long it takes, in bytes of a table.
    """

    name: str
    kind: Literal["table", "ledger", "shards"]
    place: str
    first: int = 0
    end: int = 0
    cost: int = 0
    num_batches: int = 0


def partitions_of_store(manifest: Manifest) -> dict[str, Partition]:
    """Everything there is to write, by name, in an order that never changes."""
    found = list(_tables(manifest))
    for part in manifest.all_parts():
        found += _of_part(manifest, part)
    return {partition.name: partition for partition in found}


def _tables(manifest: Manifest) -> Iterator[Partition]:
    for spec in manifest.tensors:
        if spec.role in layout.TABLES:
            yield Partition(spec.path.replace("/", "-"), "table", spec.path, cost=spec.num_bytes)


def _of_part(manifest: Manifest, part: Part) -> Iterator[Partition]:
    name = part.path.replace("/", "-")
    yield Partition(f"stats-{name}", "ledger", part.path)
    size = min(manifest.chunk_batches, part.num_batches)
    num_shards = -(-part.num_batches // size)
    num_bytes = sum(spec.num_bytes for spec in manifest.tensors if spec.part == part.path)
    cost = SAMPLING_COST * num_bytes // part.num_batches
    for index, first in enumerate(range(0, num_shards, SHARDS_PER_PARTITION)):
        end = min(first + SHARDS_PER_PARTITION, num_shards)
        num_batches = min(end * size, part.num_batches) - first * size
        yield Partition(f"{name}-{index:06d}", "shards", part.path, first, end, cost * num_batches, num_batches)


def write(partition: Partition, parts: Mapping[str, Fitted], encoder: Encoder, sampler: Sampler) -> Checksums:
    """Write a partition; returns the checksums of its chunks.

    Args:
        parts: see `Planned.parts`.
    """
    if partition.kind == "table":
        return encoder.write_table(encoder.writer.specs[partition.place])
    fit = parts[partition.place]
    if partition.kind == "ledger":
        return encoder.write_stats(partition.place, fit)
    manifest, checksums = encoder.writer.manifest, Checksums()
    num_batches = fit.plan.num_batches
    size = min(manifest.chunk_batches, num_batches)
    for shard in shards_of(partition.place, num_batches, size, partition.first, partition.end):
        block = fit.plan.block(shard.start, shard.stop)
        for path, chunks in encoder.write_shard(sampler, shard, block, manifest.budgets[fit.shape]).items():
            checksums.setdefault(path, {}).update(chunks)
    return checksums

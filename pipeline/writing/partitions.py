"""What there is to write of a store, as named, independent pieces."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.executors.threads import Workers
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.grouping.split_plan import Shard, SplitPlan, partitions_of, shards_of
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sizing.estimate import Fitted
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.writer import Checksums, StoreWriter
from heteroshards.schemas import layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.manifest import Manifest

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


@dataclass(frozen=True)
class Partition:
    """A named, independent piece of a store. `write` returns the checksums of its chunks; `cost` is how long it takes,
    in bytes of a table."""

    write: Callable[[Sampler], Checksums]
    cost: int = 0
    num_batches: int = 0


def partitions_of_store(planned: Planned, writer: StoreWriter) -> dict[str, Partition]:
    """Everything there is to write, by name, in an order that never changes."""
    return dict(_partitions(Encoder(planned.graph, writer), planned.fitted))


def _partitions(encoder: Encoder, fitted: dict[str, list[Fitted]]) -> Iterator[tuple[str, Partition]]:
    manifest = encoder.writer.manifest
    for spec in manifest.tensors:
        if layout.section_of(spec.path) == layout.FEATURES:
            name = spec.path.replace("/", "-")
            yield name, Partition(lambda _, spec=spec: encoder.write_table(spec), spec.num_bytes)  # type: ignore[misc]
    for split, parts in fitted.items():
        for fit in parts:
            yield from _part_partitions(encoder, layout.part_path(split, fit.shape, len(parts)), fit)


def _part_partitions(encoder: Encoder, part: str, fit: Fitted) -> Iterator[tuple[str, Partition]]:
    manifest, name, num_batches = encoder.writer.manifest, part.replace("/", "-"), fit.plan.num_batches
    yield f"stats-{name}", Partition(lambda _: encoder.write_stats(part, fit))
    shards = list(shards_of(part, num_batches, min(manifest.chunk_batches, num_batches)))
    num_bytes = sum(spec.num_bytes for spec in manifest.tensors if spec.path.startswith(f"{part}/"))
    cost = SAMPLING_COST * num_bytes // num_batches
    for index, run in enumerate(partitions_of(shards, SHARDS_PER_PARTITION)):
        yield f"{name}-{index:06d}", _shard_partition(encoder, fit.plan, manifest.budgets[fit.shape], run, cost)


def _shard_partition(
    encoder: Encoder, plan: SplitPlan, budget: Budget, shards: list[Shard], cost_per_batch: int
) -> Partition:
    def write(sampler: Sampler) -> Checksums:
        checksums: Checksums = {}
        for shard in shards:
            written = encoder.write_shard(sampler, shard, plan.block(shard.start, shard.stop), budget)
            for path, chunks in written.items():
                checksums.setdefault(path, {}).update(chunks)
        return checksums

    num_batches = sum(shard.stop - shard.start for shard in shards)
    return Partition(write, cost_per_batch * num_batches, num_batches)

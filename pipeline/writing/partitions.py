"""What there is to write of a store, as named, independent pieces."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from heteroshards.pipeline.executors.executor import Executor
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.grouping.split_plan import shards_of
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.writer import Checksums, StoreWriter
from heteroshards.schemas import layout
from heteroshards.schemas.manifest import Manifest, Part
from heteroshards.schemas.store import locks

SHARDS_PER_PARTITION = 16
SAMPLING_COST = 4  # a byte of a batch takes about as long as so many of a table


@dataclass(frozen=True)
class Planned:
    """A store of which everything is decided and nothing written.

    Attributes:
        workers: of the graph.
        manifest: the store's, unfinished. fitted: split -> what will be written of it, part by part.
        most_edges: int64 [edge types], of the largest batch, untrimmed.
    """

    workers: Executor
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


class WriteJob(NamedTuple):
    """A partition, the store that it is of (`path` in the end), and what its part is made of; None for tables."""

    partition: Partition
    path: Path
    manifest: Manifest
    fit: Fitted | None
    most_edges: np.ndarray


def write(worker: Worker, job: WriteJob) -> int:
    """Write a partition, unless it is there already; returns its batches. Many processes may do so at once."""
    place, name = (job.path, job.manifest.fingerprint), job.partition.name
    writer = worker.keep(("writer", place), lambda: StoreWriter(job.path, job.manifest))
    encoder = worker.keep(("encoder", place), lambda: Encoder(worker.graph, writer))
    with _alone(writer.work, name):
        if not writer.is_finished(name):
            writer.finish_partition(name, _chunks(worker, encoder, job))
    return job.partition.num_batches


@contextmanager
def _alone(work: Path, name: str) -> Iterator[None]:
    """One writer per partition: a second one, killed, could leave a torn chunk behind a finished record."""
    with locks.locked(work / "partitions" / f".{name}.lock", waiting=lambda: None):
        yield


def _chunks(worker: Worker, encoder: Encoder, job: WriteJob) -> Checksums:
    """Write the chunks of a partition; returns their checksums."""
    partition, fit = job.partition, job.fit
    if fit is None:
        return encoder.write_table(encoder.writer.specs[partition.place])
    if partition.kind == "ledger":
        return encoder.write_stats(partition.place, fit)
    checksums, num_batches = Checksums(), fit.plan.num_batches
    size, budget = min(job.manifest.chunk_batches, num_batches), job.manifest.budgets[fit.shape]
    worker.sampler.reserve_edges(job.most_edges)
    for shard in shards_of(partition.place, num_batches, size, partition.first, partition.end):
        block = fit.plan.block(shard.start, shard.stop)
        for path, chunks in encoder.write_shard(worker.sampler, shard, block, budget).items():
            checksums.setdefault(path, {}).update(chunks)
    return checksums

"""Bytes on disk before anything is written: real chunks are encoded as `prepare` encodes them, and thrown away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.executors.executor import Executor
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.grouping.split_plan import BatchBlock, Shard, shards_of
from heteroshards.pipeline.sizing.counting import Counted
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.writer import Checksums, encode_chunk
from heteroshards.schemas import layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.tensors import TensorSpec, checksum_tensor

MAX_SHARDS = 8
MAX_TABLE_CHUNKS = 16


@dataclass(frozen=True)
class PartForecast:
    """Chunk files of one part of a store: "features", a split's batches, "stats" of all splits, or "checksums".

    `is_exact` unless only some of its chunks were encoded, or only some of its batches counted.
    """

    name: str
    stored_bytes: int
    uncompressed_bytes: int
    num_files: int
    is_exact: bool


@dataclass(frozen=True)
class DiskForecast:
    """Bytes of all chunk files; files of metadata, small beside them, are not counted."""

    stored_bytes: int
    uncompressed_bytes: int
    num_files: int
    parts: tuple[PartForecast, ...]


class _Scale:
    """Takes chunks as a store's writer does, and only weighs them."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.specs = {spec.path: spec for spec in manifest.tensors}

    def write_chunk(self, path: str, index: int, rows: np.ndarray) -> tuple[int, int]:
        return 0, len(encode_chunk(self.specs[path], rows))


@dataclass(frozen=True)
class _Weighed:
    """A tensor of which some chunks were encoded, `rows` times as long in the end as it was counted."""

    spec: TensorSpec
    chunk_bytes: Mapping[int, int]
    rows: float = 1.0

    def forecast(self) -> tuple[int, int, int, bool]:
        """stored bytes, uncompressed bytes, files, and whether they are exact."""
        num_chunks, last = self.spec.num_chunks, self.spec.num_chunks - 1
        inner = [size for index, size in self.chunk_bytes.items() if index != last]
        stored = self.chunk_bytes[last] + (float(np.mean(inner)) * last if inner else 0.0)
        is_exact = len(self.chunk_bytes) == num_chunks and self.rows == 1.0
        return (
            round(stored * self.rows),
            round(self.spec.num_bytes * self.rows),
            max(1, round(num_chunks * self.rows)),
            is_exact,
        )


def measure_disk(
    counted: Counted,
    graph: HeteroGraph,
    manifest: Manifest,
    fitted: Mapping[str, Sequence[Fitted]],
    num_batches: Mapping[str, int],
) -> DiskForecast:
    """Encode some shards of every split, some chunks of every table and all statistics.

    Args:
        manifest: of the counted batches.
        fitted: split -> its parts of counted batches, after the over-size policy.
        num_batches: split -> batches of the whole job.
    """
    encoder = Encoder(graph, _Scale(manifest))
    tables = [spec for spec in manifest.tensors if spec.role in layout.TABLES]
    parts = [_part("features", _tables(counted.workers, encoder, tables))] if tables else []
    stats = []
    for name, fits in fitted.items():
        rows = num_batches[name] / sum(fit.plan.num_batches for fit in fits)
        tensors = []
        for fit in fits:
            path = layout.part_path(name, fit.shape, len(fits))
            tensors += _batches(counted, encoder, path, fit, rows)
            stats += [_weighed(encoder, path, chunks, rows) for path, chunks in encoder.write_stats(path, fit).items()]
        parts.append(_part(name, tensors))
    parts.append(_part("stats", stats))
    num_chunks = sum(part.num_files for part in parts)
    checksums = checksum_tensor(num_chunks).num_bytes
    is_whole = all(num_batches[name] == sum(fit.plan.num_batches for fit in fits) for name, fits in fitted.items())
    parts.append(PartForecast("checksums", checksums, checksums, 1, is_whole))
    return DiskForecast(
        stored_bytes=sum(part.stored_bytes for part in parts),
        uncompressed_bytes=sum(part.uncompressed_bytes for part in parts),
        num_files=sum(part.num_files for part in parts),
        parts=tuple(parts),
    )


class _TableJob(NamedTuple):
    """One chunk of a table to weigh."""

    manifest: Manifest
    spec: TensorSpec
    chunk: int


def _weigh_table(worker: Worker, job: _TableJob) -> Checksums:
    return _scale_of(worker, job.manifest).write_table(job.spec, [job.chunk])


def _tables(workers: Executor, encoder: Encoder, specs: list[TensorSpec]) -> list[_Weighed]:
    manifest = encoder.writer.manifest
    jobs = [_TableJob(manifest, spec, index) for spec in specs for index in spread(spec.num_chunks, MAX_TABLE_CHUNKS)]
    found = _merged(workers.map(_weigh_table, jobs))
    return [_weighed(encoder, path, chunks) for path, chunks in found.items()]


class _ShardJob(NamedTuple):
    """One shard to weigh."""

    manifest: Manifest
    shard: Shard
    block: BatchBlock
    budget: Budget
    most_edges: np.ndarray


def _weigh_shard(worker: Worker, job: _ShardJob) -> Checksums:
    worker.sampler.reserve_edges(job.most_edges)
    return _scale_of(worker, job.manifest).write_shard(worker.sampler, job.shard, job.block, job.budget)


def _scale_of(worker: Worker, manifest: Manifest) -> Encoder:
    return worker.keep(("scale", manifest.fingerprint), lambda: Encoder(worker.graph, _Scale(manifest)))


def _batches(counted: Counted, encoder: Encoder, path: str, fit: Fitted, rows: float) -> list[_Weighed]:
    manifest, plan = encoder.writer.manifest, fit.plan
    shards = list(shards_of(path, plan.num_batches, min(manifest.chunk_batches, plan.num_batches)))
    jobs = [
        _ShardJob(manifest, shard, plan.block(shard.start, shard.stop), manifest.budgets[fit.shape], counted.most_edges)
        for shard in (shards[i] for i in spread(len(shards), MAX_SHARDS))
    ]
    found = _merged(counted.workers.map(_weigh_shard, jobs))
    return [_weighed(encoder, path, chunks, rows) for path, chunks in found.items()]


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread, the last one among them.

    >>> spread(3, 8), spread(10, 4)
    ([0, 1, 2], [0, 3, 6, 9])
    """
    return sorted({round(i) for i in np.linspace(count - 1, 0, min(count, most))})


def _merged(parts: Iterator[Checksums]) -> Checksums:
    found: Checksums = {}
    for part in parts:
        for path, chunks in part.items():
            found.setdefault(path, {}).update(chunks)
    return found


def _weighed(encoder: Encoder, path: str, chunks: Mapping[int, tuple[int, int]], rows: float = 1.0) -> _Weighed:
    return _Weighed(encoder.writer.specs[path], {index: size for index, (_, size) in chunks.items()}, rows)


def _part(name: str, tensors: list[_Weighed]) -> PartForecast:
    stored, uncompressed, files, is_exact = zip(*(tensor.forecast() for tensor in tensors), strict=True)
    return PartForecast(name, sum(stored), sum(uncompressed), sum(files), all(is_exact))

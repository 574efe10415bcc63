"""Bytes on disk before anything is written: real chunks are encoded as `prepare` encodes them, and thrown away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from heteroshards.pipeline.executors.threads import Workers
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.grouping.split_plan import Shard, shards_of
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sizing.estimate import Fitted
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.writer import Checksums, encode_chunk
from heteroshards.schemas import layout
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
    workers: Workers[Sampler],
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
    parts = [_part("features", _tables(workers, encoder, tables))] if tables else []
    stats = []
    for name, fits in fitted.items():
        rows = num_batches[name] / sum(fit.plan.num_batches for fit in fits)
        tensors = []
        for fit in fits:
            path = layout.part_path(name, fit.shape, len(fits))
            tensors += _batches(workers, encoder, path, fit, rows)
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


def _tables(workers: Workers[Sampler], encoder: Encoder, specs: list[TensorSpec]) -> list[_Weighed]:
    jobs = [(spec, index) for spec in specs for index in spread(spec.num_chunks, MAX_TABLE_CHUNKS)]

    def weigh(_: Sampler, job: tuple[TensorSpec, int]) -> Checksums:
        return encoder.write_table(job[0], [job[1]])

    found = _merged(workers.map(weigh, jobs))
    return [_weighed(encoder, path, chunks) for path, chunks in found.items()]


def _batches(workers: Workers[Sampler], encoder: Encoder, path: str, fit: Fitted, rows: float) -> list[_Weighed]:
    manifest, num_batches = encoder.writer.manifest, fit.plan.num_batches
    shards = list(shards_of(path, num_batches, min(manifest.chunk_batches, num_batches)))

    def weigh(sampler: Sampler, shard: Shard) -> Checksums:
        return encoder.write_shard(sampler, shard, fit.plan.block(shard.start, shard.stop), manifest.budgets[fit.shape])

    found = _merged(workers.map(weigh, [shards[i] for i in spread(len(shards), MAX_SHARDS)]))
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

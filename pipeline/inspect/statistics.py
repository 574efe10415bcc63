"""What a store says of its own padding, read from its ledger, its manifest and its checksums alone."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heteroshards.pipeline.inspect.ledger import Ledger, LedgerReader
from heteroshards.schemas.inputs import device_bytes, usual_inputs
from heteroshards.schemas.layout import purpose_of
from heteroshards.schemas.manifest import Manifest, Part, SplitInfo

MAX_BINS = 64
MAX_POINTS = 200
QUANTILES = (0.5, 0.95)


@dataclass(frozen=True)
class Histogram:
    """Batches by real count: bin i holds counts i * width to (i + 1) * width - 1; the last one holds budget - 1."""

    width: int
    num_batches: list[int]


@dataclass(frozen=True)
class TypeUse:
    """How one node or edge type fills its budget, over the batches of a part.

    Attributes:
        kind: "nodes" or "edges".
        budget: rows (columns) per batch, the pad slot included.
        mean, p50, p95, max: real rows per batch.
        fill: real over budget, of all batches.
        num_real, num_padded, num_trimmed: rows of all batches; padded + real = budget * batches.
        padded_mean: pad rows per batch.
        mean_by_hop, num_trimmed_by_hop: real rows per batch, and rows dropped from all batches, hop by hop.
        share_trimmed: share of batches from which rows of this type were dropped.
        share_limiter: share of batches that this type closed.
        row_bytes: bytes of one row as a device receives it, see `schemas.inputs.device_bytes`.
        bytes_per_batch, wasted_bytes_per_batch: of all rows of this type, and of pad rows (the mean).
    """

    kind: str
    name: str
    budget: int
    mean: float
    p50: float
    p95: float
    max: int
    fill: float
    num_real: int
    num_padded: int
    num_trimmed: int
    padded_mean: float
    mean_by_hop: list[float]
    num_trimmed_by_hop: list[int]
    share_trimmed: float
    share_limiter: float
    row_bytes: int
    bytes_per_batch: int
    wasted_bytes_per_batch: float
    histogram: Histogram


@dataclass(frozen=True)
class Curve:
    """Fill of the batches in order: least, mean and greatest of each run of `batches_per_point` batches."""

    batches_per_point: int
    least: list[float]
    mean: list[float]
    greatest: list[float]


@dataclass(frozen=True)
class Totals:
    """Sums over batches, and what follows from them.

    Attributes:
        num_seed_rows: real seeds, one row each; a seed counts once per round.
        node_fill, edge_fill, seed_fill: real rows over all rows, of all types together.
        bytes, wasted_bytes: of all batches as a device receives them: of all rows, and of pad rows.
        bytes_per_seed: `bytes` over `num_seed_rows`.
    """

    num_batches: int
    num_seed_rows: int
    node_fill: float
    edge_fill: float
    seed_fill: float
    bytes: int
    wasted_bytes: int
    bytes_per_seed: float


@dataclass(frozen=True)
class PartUse:
    """Batches of one split under one budget.

    Attributes:
        name: their folder in the store.
        max_seeds: seed rows per batch.
        seed_row_bytes: bytes of one of them (label and mask) as a device receives it.
    """

    name: str
    max_seeds: int
    seed_row_bytes: int
    totals: Totals
    node_fill: Curve
    edge_fill: Curve
    types: list[TypeUse]


@dataclass(frozen=True)
class SplitUse:
    """One split: `num_seeds` distinct seeds, each once per round unless its batch was skipped.

    `edge_draws`: edge type -> edges sampled in the first round, and how many of them differ.
    """

    name: str
    num_seeds: int
    num_rounds: int
    num_batches_skipped: int
    num_seeds_skipped: int
    edge_draws: dict[str, dict[str, int]]
    totals: Totals
    parts: list[PartUse]


@dataclass(frozen=True)
class DiskUse:
    """Chunk files of one part of the store: "features", a split's batches, "stats" (all ledgers) or "checksums"."""

    name: str
    num_files: int
    stored_bytes: int
    uncompressed_bytes: int
    compression_ratio: float


@dataclass(frozen=True)
class StoreUse:
    """A whole store. Metadata files, small beside chunks, are not counted in `disk`.

    `sharing` says which splits share their budgets, `certificates` hold the values of each
    `schemas.budget.Certificate`, `notes` what was said about the graph.
    """

    path: str
    fingerprint: str
    features: str
    grouping: str
    budget_mode: str
    sharing: list[list[str]]
    certificates: list[dict[str, Any]]
    notes: list[str]
    totals: Totals
    splits: list[SplitUse]
    disk: list[DiskUse]
    disk_total: DiskUse


def store_use(path: Path) -> StoreUse:
    """Padding statistics of a finished store.

    Raises:
        StoreError, StoreIncompleteError: there is no finished store, or one without such a ledger.
        CorruptChunkError: the ledger or the checksums are damaged; nothing is reported then.
    """
    reader = LedgerReader(path)
    manifest = reader.manifest
    splits = [_split_use(reader, split) for split in manifest.splits]
    disk = _disk_use(reader)
    certificates = [budget.certificate for budget in manifest.budgets if budget.certificate]
    return StoreUse(
        path=str(path),
        fingerprint=manifest.fingerprint,
        features=manifest.features,
        grouping=manifest.sampling.grouping,
        budget_mode=manifest.budgets[0].mode,
        sharing=_sharing(manifest),
        certificates=[certificate.model_dump(mode="json") for certificate in certificates],
        notes=[note.line for note in manifest.notes],
        totals=_totals([part for split in splits for part in split.parts]),
        splits=splits,
        disk=disk,
        disk_total=_disk("total", [(d.num_files, d.stored_bytes, d.uncompressed_bytes) for d in disk]),
    )


def _sharing(manifest: Manifest) -> list[list[str]]:
    """Splits by purpose where that decides their budgets, else all together."""
    names = [split.name for split in manifest.splits]
    train, others = (set(manifest.shapes_for(purpose)) for purpose in ("train", "inference"))
    if train & others or not (train and others):
        return [names]
    return [[name for name in names if (purpose_of(name) == "train") == is_train] for is_train in (True, False)]


def _split_use(reader: LedgerReader, split: SplitInfo) -> SplitUse:
    manifest = reader.manifest
    parts = [part_use(manifest, part, reader.read(part)) for part in manifest.parts(split)]
    return SplitUse(
        name=split.name,
        num_seeds=split.num_seeds,
        num_rounds=split.num_rounds,
        num_batches_skipped=split.num_batches_skipped,
        num_seeds_skipped=split.num_seeds_skipped,
        edge_draws={key: draws.model_dump() for key, draws in split.edge_draws.items()},
        totals=_totals(parts),
        parts=parts,
    )


def part_use(manifest: Manifest, part: Part, ledger: Ledger) -> PartUse:
    """Statistics of the batches under one budget."""
    graph, budget = manifest.graph, part.budget
    found = device_bytes(usual_inputs(manifest.reached, budget))
    nodes = [(name, budget.num_nodes[name], found.get(("nodes", name), 0)) for name in graph.node_names]
    edges = [(key, budget.num_edges[key], found.get(("edges", key), 0)) for key in graph.edge_keys]
    seed_row_bytes = found["seeds", ""] // budget.max_seeds
    closed = np.bincount(ledger.limiter, minlength=len(nodes) + len(edges)) / part.num_batches
    num_nodes, num_edges = ledger.num_nodes.sum(axis=2), ledger.num_edges.sum(axis=2)
    types = _types("nodes", nodes, num_nodes, ledger.num_nodes, ledger.num_nodes_trimmed, closed[: len(nodes)])
    types += _types("edges", edges, num_edges, ledger.num_edges, ledger.num_edges_trimmed, closed[len(nodes) :])
    seeds = (int(ledger.num_seeds.sum(dtype=np.int64)), budget.max_seeds * part.num_batches)
    return PartUse(
        name=part.path,
        max_seeds=budget.max_seeds,
        seed_row_bytes=seed_row_bytes,
        totals=_sum_up(part.num_batches, seeds, seed_row_bytes, types, [part.num_batches] * len(types)),
        node_fill=_curve(num_nodes, sum(budget.num_nodes.values())),
        edge_fill=_curve(num_edges, sum(budget.num_edges.values())),
        types=types,
    )


def _types(
    kind: str,
    types: Sequence[tuple[str, int, int]],
    real: np.ndarray,
    real_by_hop: np.ndarray,
    trimmed_by_hop: np.ndarray,
    closed: np.ndarray,
) -> list[TypeUse]:
    """One entry per (name, budget, bytes of all its rows); `real` is [B, types], `*_by_hop` are [B, types, hops]."""
    num_batches, use = len(real), []
    means = real_by_hop.mean(axis=0)
    dropped = trimmed_by_hop.sum(axis=0, dtype=np.int64)
    shares = trimmed_by_hop.any(axis=2).mean(axis=0)
    for i, (name, budget, num_bytes) in enumerate(types):
        counts = np.ascontiguousarray(real[:, i])
        num_real = int(counts.sum(dtype=np.int64))
        num_padded = budget * num_batches - num_real
        p50, p95 = np.quantile(counts, QUANTILES)
        use.append(
            TypeUse(
                kind=kind,
                name=name,
                budget=budget,
                mean=num_real / num_batches,
                p50=float(p50),
                p95=float(p95),
                max=int(counts.max()),
                fill=num_real / (budget * num_batches),
                num_real=num_real,
                num_padded=num_padded,
                num_trimmed=int(dropped[i].sum()),
                padded_mean=num_padded / num_batches,
                mean_by_hop=means[i].tolist(),
                num_trimmed_by_hop=dropped[i].tolist(),
                share_trimmed=float(shares[i]),
                share_limiter=float(closed[i]),
                row_bytes=num_bytes // budget,
                bytes_per_batch=num_bytes,
                wasted_bytes_per_batch=num_bytes // budget * num_padded / num_batches,
                histogram=_histogram(counts, budget),
            )
        )
    return use


def _histogram(counts: np.ndarray, budget: int) -> Histogram:
    width = -(-budget // MAX_BINS)
    return Histogram(width, np.bincount(counts // width, minlength=-(-budget // width)).tolist())


def _curve(real: np.ndarray, rows: int) -> Curve:
    """Fill per batch, at most MAX_POINTS points; `real` is [B, types], `rows` the budgets' sum (0 without types)."""
    fill = real.sum(axis=1) / max(1, rows)
    step = -(-len(fill) // MAX_POINTS)
    starts = np.arange(0, len(fill), step)
    mean = np.add.reduceat(fill, starts) / np.diff(starts, append=len(fill))
    least, greatest = np.minimum.reduceat(fill, starts), np.maximum.reduceat(fill, starts)
    return Curve(step, least.tolist(), mean.tolist(), greatest.tolist())


def _totals(parts: Iterable[PartUse]) -> Totals:
    parts = list(parts)
    seeds = sum(p.totals.num_seed_rows for p in parts), sum(p.max_seeds * p.totals.num_batches for p in parts)
    types = [(use, part.totals.num_batches) for part in parts for use in part.types]
    num_batches = sum(part.totals.num_batches for part in parts)
    seed_row_bytes = parts[0].seed_row_bytes  # the same in all
    return _sum_up(num_batches, seeds, seed_row_bytes, [use for use, _ in types], [count for _, count in types])


def _sum_up(
    num_batches: int, seeds: tuple[int, int], seed_row_bytes: int, types: list[TypeUse], batches: list[int]
) -> Totals:
    """`seeds` are (real, all) rows; `batches` says in how many batches each entry of `types` occurs."""
    total = sum(use.bytes_per_batch * count for use, count in zip(types, batches, strict=True))
    total += seed_row_bytes * seeds[1]
    return Totals(
        num_batches=num_batches,
        num_seed_rows=seeds[0],
        node_fill=_fill(types, "nodes"),
        edge_fill=_fill(types, "edges"),
        seed_fill=seeds[0] / seeds[1],
        bytes=total,
        wasted_bytes=sum(use.row_bytes * use.num_padded for use in types) + seed_row_bytes * (seeds[1] - seeds[0]),
        bytes_per_seed=total / max(1, seeds[0]),
    )


def _fill(types: Iterable[TypeUse], kind: str) -> float:
    of_kind = [use for use in types if use.kind == kind]
    return sum(use.num_real for use in of_kind) / max(1, sum(use.num_real + use.num_padded for use in of_kind))


def _disk_use(reader: LedgerReader) -> list[DiskUse]:
    parts: dict[str, list[tuple[int, int, int]]] = {}
    splits = reader.manifest.splits_by_part()
    for spec in reader.manifest.tensors:
        name = "stats" if spec.role == "stats" else splits.get(spec.part, spec.part)
        parts.setdefault(name, []).append((spec.num_chunks, reader.stored_bytes(spec), spec.num_bytes))
    ledgers, size = parts.pop("stats"), 8 * reader.manifest.num_chunks
    parts.update(stats=ledgers, checksums=[(1, size, size)])
    return [_disk(name, files) for name, files in parts.items()]


def _disk(name: str, files: Iterable[tuple[int, int, int]]) -> DiskUse:
    """Sum up (chunk files, bytes on disk, bytes uncompressed)."""
    num_files, stored, uncompressed = (sum(column) for column in zip(*files, strict=True))
    return DiskUse(name, num_files, stored, uncompressed, uncompressed / max(1, stored))


def as_json(use: StoreUse) -> dict[str, Any]:
    """Plain values, for `inspect --json`; the keys are the fields of `StoreUse` and of what it holds."""
    return asdict(use)

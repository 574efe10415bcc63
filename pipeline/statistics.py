"""What a store says of its own padding, read from its statistics alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.writer import read_attributes
from schemas import layout
from schemas.errors import StoreError, StoreIncompleteError
from schemas.manifest import Manifest, parse_manifest


@dataclass(frozen=True)
class TypeUse:
    """How one node or edge type fills its budget, over the batches of a split."""

    kind: str
    name: str
    budget: int
    mean: float
    p50: float
    p95: float
    max: int
    fill: float
    share_trimmed: float


@dataclass(frozen=True)
class SplitUse:
    """One split, or its part of one shape. Fills are real over capacity, summed over types."""

    name: str
    num_batches: int
    num_rounds: int
    num_seeds: int
    num_batches_skipped: int
    num_seeds_skipped: int
    node_fill: float
    edge_fill: float
    seed_fill: float
    types: list[TypeUse]


@dataclass(frozen=True)
class StoreUse:
    """A whole store: bytes on disk by part, and one entry per split."""

    path: str
    fingerprint: str
    features: str
    num_files: int
    bytes: dict[str, int]
    splits: list[SplitUse]


def open_manifest(path: Path) -> Manifest:
    """The manifest of a finished store.

    Raises:
        StoreError: there is no store, or an unfinished one.
    """
    attributes = read_attributes(path)
    if layout.MANIFEST_ATTRIBUTE not in attributes:
        hint = "Run `make prepare` first, or name a store with --store."
        raise StoreError("there is no store", where=str(path), hint=hint)
    manifest = parse_manifest(attributes[layout.MANIFEST_ATTRIBUTE], str(path))
    if not manifest.complete:
        raise StoreIncompleteError("the store was not finished", where=str(path), hint="Run `make prepare` again.")
    return manifest


def store_use(path: Path) -> StoreUse:
    """Padding statistics of a finished store."""
    import zarr

    manifest = open_manifest(path)
    root = zarr.open_group(str(path), mode="r")
    splits = []
    for split, part in [(info, part) for info in manifest.splits for part in manifest.parts(info)]:
        stats = {name: np.asarray(root[layout.stats_path(part.path, name)]) for name in STATS}
        nodes = _use("nodes", manifest.graph.node_names, part.budget.num_nodes, stats)
        edges = _use("edges", manifest.graph.edge_keys, part.budget.num_edges, stats)
        splits.append(
            SplitUse(
                name=part.path,
                num_batches=part.num_batches,
                num_rounds=split.num_rounds,
                num_seeds=split.num_seeds,
                num_batches_skipped=split.num_batches_skipped,
                num_seeds_skipped=split.num_seeds_skipped,
                node_fill=_fill(nodes),
                edge_fill=_fill(edges),
                seed_fill=float(stats["num_seeds"].mean() / manifest.max_seeds),
                types=nodes + edges,
            )
        )
    sizes, num_files = _disk_use(path)
    return StoreUse(str(path), manifest.fingerprint, manifest.features, num_files, sizes, splits)


STATS = ("num_seeds", "num_nodes", "num_nodes_trimmed", "num_edges", "num_edges_trimmed")


def _use(kind: str, names: Sequence[str], budget: dict[str, int], stats: dict[str, np.ndarray]) -> list[TypeUse]:
    real = stats[f"num_{kind}"].sum(axis=2)
    trimmed = stats[f"num_{kind}_trimmed"].sum(axis=2)
    use = []
    for i, name in enumerate(names):
        counts = real[:, i]
        use.append(
            TypeUse(
                kind=kind,
                name=name,
                budget=budget[name],
                mean=float(counts.mean()),
                p50=float(np.quantile(counts, 0.5)),
                p95=float(np.quantile(counts, 0.95)),
                max=int(counts.max()),
                fill=float(counts.mean() / budget[name]),
                share_trimmed=float((trimmed[:, i] > 0).mean()),
            )
        )
    return use


def _fill(types: list[TypeUse]) -> float:
    return sum(use.mean for use in types) / max(1, sum(use.budget for use in types))


def _disk_use(path: Path) -> tuple[dict[str, int], int]:
    sizes: dict[str, int] = {}
    num_files = 0
    for file in path.rglob("*"):
        if file.is_file():
            part = file.relative_to(path).parts
            name = part[0] if len(part) > 1 else "metadata"
            sizes[name] = sizes.get(name, 0) + file.stat().st_size
            num_files += 1
    return sizes, num_files


def as_json(use: StoreUse) -> dict[str, Any]:
    """Plain values, for `inspect --json`."""
    from dataclasses import asdict

    return asdict(use)

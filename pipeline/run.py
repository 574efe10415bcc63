"""`prepare`: count every batch, fix the budget, then sample again and write. Reads top to bottom."""

import hashlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.budgets import resolve_budgets
from pipeline.certificate import certainty_lines
from pipeline.counting import Progress, count_all, fit_all, sampler_factory
from pipeline.datasets import SourceGraph, from_data
from pipeline.estimate import Fitted, with_hop_capacities
from pipeline.files import read_attributes
from pipeline.graph import HeteroGraph, build_graph
from pipeline.jit import kernels_told
from pipeline.options import require_encodable, resolve_batch_options, resolve_sampling
from pipeline.partitions import Planned, write_store
from pipeline.reach import reach_notes, unreached, unreached_notes
from pipeline.workers import Workers
from pipeline.writer import discard_leftovers, locked
from schemas import FORMAT_VERSION, layout
from schemas.batch import (
    BatchOptions,
    TensorSpec,
    feature_tensors,
    inline_bytes,
    original_id_tensors,
    part_tensors,
    table_bytes,
)
from schemas.budget import Budget
from schemas.config import JobConfig
from schemas.errors import StoreError
from schemas.manifest import NUMBERING, EdgeDraws, Manifest, PartInfo, SplitInfo, Unreached, parse_manifest
from schemas.notes import Note
from schemas.packing import pack
from schemas.paths import as_path
from schemas.sampling import SamplingSpec
from schemas.seam import require, require_count, require_path, typed

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

FEATURE_CHUNK_BYTES = 4 * 2**20

Report = Callable[[str], None]


def _silent(*_: object) -> None:
    """Neither report nor progress."""


@dataclass(frozen=True)
class Outcome:
    """Where the store is, and whether it was there already."""

    path: Path
    manifest: Manifest
    was_found: bool


@typed("prepare", StoreError)
def prepare(
    data: "HeteroData",
    config: JobConfig,
    *,
    store: Path | str | None = None,
    workers: int = 1,
    force: bool = False,
    report: Report = _silent,
    progress: Progress = _silent,
) -> Path:
    """Write the store of a graph in memory, or find it when the same one was written before.

    Args:
        data: the graph; `config.dataset` names its seed type, label and split masks.
        config: sampling, budget and store options.
        store: folder to write; default `<config.store.root>/<config.name>-<fingerprint>`.
        workers: threads. They never change a byte of the store.
        force: write it even when it is there.
        report: called with lines worth reading.
        progress: called with (what, done, total) in batches.

    Returns:
        The store's folder.

    Raises:
        GraphError, ConfigError, BudgetError, StoreError: see schemas/errors.py. No store appears then.
    """
    require(config, JobConfig, "config")
    source = from_data(data, config.dataset, {"dataset": "a HeteroData in memory"})
    with kernels_told(report):
        outcome = prepare_source(
            source, config, store=store, workers=workers, force=force, report=report, progress=progress
        )
    return outcome.path


@typed("prepare", StoreError)
def prepare_source(
    source: SourceGraph,
    config: JobConfig,
    *,
    store: Path | str | None = None,
    workers: int = 1,
    force: bool = False,
    report: Report = _silent,
    progress: Progress = _silent,
) -> Outcome:
    """As `prepare`, for a graph that has been loaded; says whether the store was found."""
    require(source, SourceGraph, "source")
    require(config, JobConfig, "config")
    require_count(workers, "workers")
    graph = build_graph(source)
    spec = resolve_sampling(config.sampling, graph)
    content = graph.digest()
    fingerprint = fingerprint_of(config, spec, content)
    path = store_path(config, fingerprint) if store is None else require_path(store, "store")
    found = existing(path, fingerprint, force)
    if found:
        discard_leftovers(path)
        tell(graph, spec, report, only_warnings=True)
        return Outcome(path, found, was_found=True)
    require_place(path)
    tell(graph, spec, report)
    planned = plan_store(graph, config, spec, content, workers=workers, report=report, progress=progress)
    with writing(path, report):
        found = existing(path, fingerprint, force)
        if found:
            return Outcome(path, found, was_found=True)
        write_store(planned, path, progress)
    return Outcome(path, _read(path), was_found=False)


def notes_of(graph: HeteroGraph, spec: SamplingSpec) -> tuple[Note, ...]:
    """All that is to say about a graph that is sampled so."""
    return (*graph.told, *reach_notes(graph, spec))


def tell(graph: HeteroGraph, spec: SamplingSpec, report: Report, only_warnings: bool = False) -> None:
    """Report it, a line each."""
    for note in notes_of(graph, spec):
        if note.level == "warning" or not only_warnings:
            report(note.line)


def plan_store(
    graph: HeteroGraph,
    config: JobConfig,
    spec: SamplingSpec,
    content: str,
    *,
    workers: int = 1,
    report: Report = _silent,
    progress: Progress = _silent,
) -> Planned:
    """Count every batch and fix the budgets. `content` is the graph's digest."""
    pool = Workers(sampler_factory(graph, spec, config.budget.oversize), workers)
    counted = count_all(pool, graph, spec, config.budget, progress)
    budgets, shape_of = resolve_budgets(config.budget, graph.schema, counted.sizes, counted.max_seeds, spec.rng_seed)
    for line in certainty_lines(config.budget, budgets, shape_of):
        report(f"budget   {line}")
    fitted = fit_all(counted, budgets, shape_of, config.budget, graph.schema)
    _report_losses(fitted, report)
    for note in unreached_notes(unreached_by(graph, fitted)):
        report(note.line)
    options = resolve_batch_options(config.store, graph, budgets, spec.num_hops, fitted)
    fingerprint = fingerprint_of(config, spec, content)
    draws = counted.edge_draws
    manifest = make_manifest(config, graph, spec, budgets, fitted, draws, options, fingerprint, content)
    require_encodable(manifest.tensors)
    if options.inline_features:
        report(_blow_up(manifest))
    return Planned(pool, graph, manifest, fitted, counted.most_edges)


@contextmanager
def writing(path: Path, report: Report, is_shared: bool = False) -> Iterator[None]:
    """Be the only one to write a store, or one of those who share it; what the file system refuses is a StoreError."""
    try:
        with locked(path, lambda: report(f"waiting for another prepare of {path}"), is_shared, report):
            yield
    except OSError as error:
        hint = "Free space or mend access, and repeat the command: it goes on where it stopped."
        raise StoreError("the store cannot be written", actual=error, where=str(path), hint=hint) from error
    except MemoryError as error:
        hint = "Lower [store] chunk_batches or the budget, or use fewer --workers, each of which holds a shard."
        raise StoreError("a shard does not fit into memory", actual=error, where=str(path), hint=hint) from error


def fingerprint_of(config: JobConfig, spec: SamplingSpec, content: str) -> str:
    """Digest of everything that decides a byte of the store; `content` is the graph's digest."""
    store = config.store.model_dump(mode="json", exclude={"root"})
    parts = [FORMAT_VERSION, content, spec.model_dump(mode="json"), config.budget.model_dump(mode="json"), store]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def store_path(config: JobConfig, fingerprint: str) -> Path:
    """Where the store of a config lies unless a path is given."""
    return as_path(config.store.root) / f"{config.name}-{fingerprint[:12]}"


def _read(path: Path) -> Manifest:
    return parse_manifest(read_attributes(path).get(layout.MANIFEST_ATTRIBUTE), str(path))


def existing(path: Path, fingerprint: str, force: bool) -> Manifest | None:
    """The manifest of the very store that is wanted, None when it is to be written; anything else is in the way.

    `force` replaces stores, never what is no store.
    """
    try:
        if not path.exists():
            return None
        is_empty = path.is_dir() and not any(path.iterdir())
    except OSError as error:
        raise StoreError("the path cannot be used", actual=error, where=str(path)) from None
    if is_empty:
        return None
    if not path.is_dir() or layout.MANIFEST_ATTRIBUTE not in (_damaged(path) if force else read_attributes(path)):
        raise StoreError("the path is taken by something that is no store", where=str(path), hint="Choose another.")
    if force:
        return None
    manifest = _read(path)
    if manifest.fingerprint != fingerprint:
        hint = "Choose another --store, or --force to replace it."
        raise StoreError("the path holds a store of other data or another config", where=str(path), hint=hint)
    return manifest if manifest.complete else None


def require_place(path: Path) -> None:
    """Raise `StoreError` where no store can be written, before anything is counted."""
    try:
        is_link = path.is_symlink()
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        is_link = False
    except (OSError, ValueError) as error:  # ValueError: characters that no path can have
        hint = "Choose another [store] root or --store."
        raise StoreError("the path cannot be used", actual=error, where=repr(str(path)), hint=hint) from None
    if is_link and not path.exists():
        raise StoreError("the path is a link that leads nowhere", where=str(path), hint="Remove it, or choose another.")
    folder = path.parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise StoreError("the store's folder is below a file", where=str(folder), hint="Choose another [store] root.")
    if not os.access(folder, os.W_OK | os.X_OK):
        hint = "Mend its permissions, or choose another [store] root."
        actual = "no permission, or a read-only file system"
        raise StoreError("the folder cannot be written", actual=actual, where=str(folder), hint=hint)


def _damaged(path: Path) -> dict[str, Any]:
    """Attributes of what may be a damaged store of ours: one whose attributes cannot be read counts as a store."""
    try:
        return read_attributes(path)
    except StoreError:
        return {layout.MANIFEST_ATTRIBUTE: None}


def _with_hop_capacities(
    budgets: tuple[Budget, ...], graph: HeteroGraph, fitted: dict[str, list[Fitted]]
) -> tuple[Budget, ...]:
    """Each budget with the capacities up to each hop that its own batches need."""
    every = [fit for parts in fitted.values() for fit in parts]
    return tuple(
        with_hop_capacities(budget, graph.schema, [fit.sizes for fit in every if fit.shape == shape])
        for shape, budget in enumerate(budgets)
    )


def _report_losses(fitted: dict[str, list[Fitted]], report: Report) -> None:
    for name, fit in ((name, fit) for name, parts in fitted.items() for fit in parts):
        if fit.num_batches_skipped:
            report(
                f"warning: split '{name}': {fit.num_batches_skipped} batches over the budget are skipped, "
                f"and {fit.num_seeds_skipped} seeds with them"
            )
        nodes, edges = int(fit.trimmed.num_nodes.sum()), int(fit.trimmed.num_edges.sum())
        if nodes or edges:
            all_nodes = nodes + int(fit.sizes.num_nodes.sum())
            all_edges = edges + int(fit.sizes.num_edges.sum())
            report(
                f"warning: split '{name}': trimming drops {nodes / all_nodes:.2%} of the sampled nodes "
                f"and {edges / max(1, all_edges):.2%} of the sampled edges"
            )


def _tensors(
    graph: HeteroGraph,
    num_hops: int,
    budgets: tuple[Budget, ...],
    fitted: dict[str, list[Fitted]],
    options: BatchOptions,
) -> Iterator[TensorSpec]:
    """Every array that is to be written, in the manifest's order."""
    if not options.inline_features:
        yield from feature_tensors(graph.schema, options.feature_codecs, FEATURE_CHUNK_BYTES)
    yield from original_id_tensors(graph.schema, graph.original_ids, options.codec, FEATURE_CHUNK_BYTES)
    for name, parts in fitted.items():
        for fit in parts:
            path, num_batches = layout.part_path(name, fit.shape, len(parts)), fit.plan.num_batches
            chunk = options._replace(chunk_batches=min(options.chunk_batches, num_batches))
            tensors = part_tensors(graph.schema, budgets[fit.shape], num_hops, path, num_batches, chunk)
            yield from pack(path, tensors) if options.is_packed else tensors


def make_manifest(
    config: JobConfig,
    graph: HeteroGraph,
    spec: SamplingSpec,
    budgets: tuple[Budget, ...],
    fitted: dict[str, list[Fitted]],
    edge_draws: dict[str, dict[str, EdgeDraws]],
    options: BatchOptions,
    fingerprint: str,
    content: str,
) -> Manifest:
    """The manifest of the store that is to be written, every tensor listed; `content` is the graph's digest."""
    budgets = _with_hop_capacities(budgets, graph, fitted)
    splits = [
        SplitInfo(
            name=name,
            num_seeds=parts[0].plan.seeds_per_round,
            parts=tuple(PartInfo(shape=fit.shape, round_starts=fit.plan.round_starts()) for fit in parts),
            num_batches_skipped=sum(fit.num_batches_skipped for fit in parts),
            num_seeds_skipped=sum(fit.num_seeds_skipped for fit in parts),
            edge_draws=edge_draws[name],
        )
        for name, parts in fitted.items()
    ]
    return Manifest(
        format_version=FORMAT_VERSION,
        zarr_format=config.store.zarr_format,
        fingerprint=fingerprint,
        complete=False,
        graph=graph.schema,
        sampling=spec,
        budgets=budgets,
        splits=tuple(splits),
        features=config.store.features,
        layout="packed" if options.is_packed else "per_type",
        pad_value=options.pad_value,
        chunk_batches=options.chunk_batches,
        tensors=tuple(_tensors(graph, spec.num_hops, budgets, fitted, options)),
        checksums_crc32c=0,
        config=config.content(),
        source={**graph.description, "content_sha256": content, NUMBERING: graph.numbering()},
        provenance=provenance(),
        unreached=(left := unreached_by(graph, fitted)),
        notes=(*notes_of(graph, spec), *unreached_notes(left)),
    )


def unreached_by(graph: HeteroGraph, fitted: dict[str, list[Fitted]]) -> Unreached:
    """Types that nothing that will be written has."""
    return unreached(graph.schema, (fit.sizes for parts in fitted.values() for fit in parts))


def provenance() -> dict[str, Any]:
    """What wrote the store. No time and no host: the same job writes the same bytes."""
    import numcodecs
    import zarr

    versions = {"numpy": np.__version__, "zarr": zarr.__version__, "numcodecs": numcodecs.__version__}
    return {"program": "heteroshards", "python": platform.python_version(), **versions}


def _blow_up(manifest: Manifest) -> str:
    """How much larger inline features are than tables, in words."""
    inline, table = all_inline_bytes(manifest), table_bytes(manifest.graph)
    return (
        f"inline features take {inline / 2**20:,.0f} MiB before compression, "
        f"{inline / max(1, table):.1f} times the {table / 2**20:,.0f} MiB of tables"
    )


def all_inline_bytes(manifest: Manifest) -> int:
    """Bytes of the features of all rows of all batches of a store."""
    parts = [part for split in manifest.splits for part in manifest.parts(split)]
    return sum(part.num_batches * inline_bytes(manifest.graph, part.budget) for part in parts)

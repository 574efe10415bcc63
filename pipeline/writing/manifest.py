"""The manifest of a store that is to be written, and the fingerprint that names it."""

import hashlib
import json
import platform
from collections.abc import Iterator
from typing import Any

import numpy as np

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.sampling.reach import reach_notes, unreached, unreached_notes
from heteroshards.pipeline.sizing.budgets import with_hop_capacities
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.versions import versions
from heteroshards.schemas import FORMAT_VERSION, layout
from heteroshards.schemas.budget import Budget
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.manifest import NUMBERING, EdgeDraws, Manifest, PartInfo, SplitInfo, Unreached, dimensions_of
from heteroshards.schemas.notes import Note
from heteroshards.schemas.packing import pack
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import (
    BatchOptions,
    TensorSpec,
    feature_tensors,
    inline_bytes,
    original_id_tensors,
    part_tensors,
)

FEATURE_CHUNK_BYTES = 4 * 2**20


def fingerprint_of(config: JobConfig, spec: SamplingSpec, content: str) -> str:
    """Digest of everything that decides a byte of the store; `content` is the graph's digest."""
    store = config.store.model_dump(mode="json", exclude={"root"})
    choices = [spec.model_dump(mode="json"), config.budget.model_dump(mode="json"), store]
    parts = [FORMAT_VERSION, versions(), content, *choices]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


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
    tensors = tuple(_tensors(graph, spec.num_hops, budgets, fitted, options))
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
        dimensions=dimensions_of(tensors),
        tensors=tensors,
        checksums_crc32c=0,
        config=config.content(),
        source={**graph.description, "content_sha256": content, NUMBERING: graph.numbering()},
        provenance=provenance(),
        unreached=(left := unreached_by(graph, fitted)),
        notes=(*notes_of(graph, spec), *unreached_notes(left)),
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
            yield from pack(tensors) if options.is_packed else tensors


def _with_hop_capacities(
    budgets: tuple[Budget, ...], graph: HeteroGraph, fitted: dict[str, list[Fitted]]
) -> tuple[Budget, ...]:
    """Each budget with the capacities up to each hop that its own batches need."""
    every = [fit for parts in fitted.values() for fit in parts]
    return tuple(
        with_hop_capacities(budget, graph.schema, [fit.sizes for fit in every if fit.shape == shape])
        for shape, budget in enumerate(budgets)
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


def all_inline_bytes(manifest: Manifest) -> int:
    """Bytes of the features of all rows of all batches of a store."""
    parts = [part for split in manifest.splits for part in manifest.parts(split)]
    return sum(part.num_batches * inline_bytes(manifest.graph, part.budget) for part in parts)


def notes_of(graph: HeteroGraph, spec: SamplingSpec) -> tuple[Note, ...]:
    """All that is to say about a graph that is sampled so."""
    return (*graph.told, *reach_notes(graph, spec))

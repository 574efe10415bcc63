"""`prepare`: count every batch, fix the budget, then sample again and write. Reads top to bottom."""

import hashlib
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.certificate import certificate_line
from pipeline.datasets import SourceGraph, from_data
from pipeline.encode import Encoder, Sampler
from pipeline.estimate import Fitted, fit_split, given_sizes, parts_of, resolve_budgets, with_hop_capacities
from pipeline.files import read_attributes
from pipeline.full import WholeGraph
from pipeline.graph import HeteroGraph, build_graph
from pipeline.grouping import Limits, make_plans
from pipeline.options import resolve_batch_options, resolve_sampling
from pipeline.plan import Shard, SplitPlan, partitions_of, shards_of
from pipeline.sampler import NeighborSampler
from pipeline.shapes import Sizes
from pipeline.workers import Workers
from pipeline.writer import Checksums, StoreWriter, exclusive
from schemas import FORMAT_VERSION, layout
from schemas.batch import BatchOptions, TensorSpec, feature_tensors, original_id_tensors, part_tensors
from schemas.budget import Budget
from schemas.config import BudgetConfig, JobConfig
from schemas.errors import ConfigError, StoreError
from schemas.manifest import Manifest, PartInfo, SplitInfo, parse_manifest
from schemas.sampling import SamplingSpec

if TYPE_CHECKING:
    from torch_geometric.data import HeteroData

COUNT_BLOCK_SEEDS = 65536
SHARDS_PER_PARTITION = 16
FEATURE_CHUNK_BYTES = 4 * 2**20

Report = Callable[[str], None]
Progress = Callable[[str, int, int], None]


def _silent(*_: object) -> None:
    """Neither report nor progress."""


@dataclass(frozen=True)
class Outcome:
    """Where the store is, and whether it was there already."""

    path: Path
    manifest: Manifest
    was_found: bool


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
    source = from_data(data, config.dataset, {"dataset": "a HeteroData in memory"})
    return prepare_source(
        source, config, store=store, workers=workers, force=force, report=report, progress=progress
    ).path


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
    graph = build_graph(source, allow_nonfinite=config.dataset.feature_values == "allow")
    spec = resolve_sampling(config.sampling, graph)
    content = graph.digest()
    fingerprint = _fingerprint(config, spec, content)
    path = Path(store) if store else Path(config.store.root) / f"{config.name}-{fingerprint[:12]}"
    found = _existing(path, fingerprint, force)
    if found:
        return Outcome(path, found, was_found=True)
    workers_pool = Workers(_sampler_factory(graph, spec, config), workers)
    plans = _plan(workers_pool, graph, spec, config.budget)
    sizes = {name: _count(workers_pool, plan, progress) for name, plan in plans.items()}
    max_seeds = next(iter(plans.values())).max_seeds
    budgets, shape_of = resolve_budgets(config.budget, graph.schema, sizes, max_seeds, spec.rng_seed)
    if budgets[0].certificate:
        report(f"budget   {certificate_line(budgets[0].certificate)}")
    if len(budgets) == 1:
        fitted = _fit(workers_pool, plans, sizes, budgets[0], graph, config, report)
    else:
        _reserve(workers_pool, sizes)
        fitted = {name: parts_of(plan, sizes[name], shape_of[name]) for name, plan in plans.items()}
    budgets = _with_hop_capacities(budgets, graph, fitted)
    options = resolve_batch_options(config.store, graph, budgets, spec.num_hops, plans)
    manifest = _manifest(config, graph, spec, budgets, fitted, options, fingerprint, content)
    if options.inline_features:
        report(_blow_up(manifest, options))
    try:
        with exclusive(path, lambda: report(f"waiting for another prepare of {path}")):
            found = _existing(path, fingerprint, force)
            if found:
                return Outcome(path, found, was_found=True)
            _write(workers_pool, graph, manifest, fitted, path, progress)
    except OSError as error:
        hint = "Free space or mend access, and repeat the command: it goes on where it stopped."
        raise StoreError("the store cannot be written", actual=error, where=str(path), hint=hint) from error
    return Outcome(path, _read(path), was_found=False)


def _fingerprint(config: JobConfig, spec: SamplingSpec, content: str) -> str:
    """Digest of everything that decides a byte of the store."""
    store = config.store.model_dump(mode="json", exclude={"root"})
    parts = [FORMAT_VERSION, content, spec.model_dump(mode="json"), config.budget.model_dump(mode="json"), store]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> Manifest:
    return parse_manifest(read_attributes(path).get(layout.MANIFEST_ATTRIBUTE), str(path))


def _existing(path: Path, fingerprint: str, force: bool) -> Manifest | None:
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


def _damaged(path: Path) -> dict[str, Any]:
    """Attributes of what may be a damaged store of ours: one whose attributes cannot be read counts as a store."""
    try:
        return read_attributes(path)
    except StoreError:
        return {layout.MANIFEST_ATTRIBUTE: None}


def _sampler_factory(graph: HeteroGraph, spec: SamplingSpec, config: JobConfig) -> Callable[[], Sampler]:
    if spec.mode == "full":
        if config.budget.oversize != "error":
            raise ConfigError(
                f"[budget] oversize = '{config.budget.oversize}' has no meaning with [sampling] mode = 'full'"
            )
        return lambda: WholeGraph(graph)
    packed = graph.packed()
    return lambda: NeighborSampler(packed, graph.schema, spec, config.budget.oversize)


def _plan(
    workers: Workers[Sampler], graph: HeteroGraph, spec: SamplingSpec, budget: BudgetConfig
) -> dict[str, SplitPlan]:
    """Which seeds make which batch, in every split."""
    given, limits = given_sizes(budget, graph.schema), None
    if given:
        sizes = [*given[0].values(), *given[1].values()]
        names = graph.schema.node_names + graph.schema.edge_keys
        limits = Limits(np.array(sizes) - 1, names, is_strict=budget.oversize == "error")
    return make_plans(workers, {name: ids.astype(np.int32) for name, ids in graph.seeds.items()}, spec, limits)


def _count(workers: Workers[Sampler], plan: SplitPlan, progress: Progress) -> Sizes:
    """Untrimmed sizes of every batch of a split."""
    step = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds)
    ranges = [(start, min(start + step, plan.num_batches)) for start in range(0, plan.num_batches, step)]

    def count(sampler: Sampler, part: tuple[int, int]) -> Sizes:
        block = plan.block(*part)
        return sampler.count(block.seeds, block.keys)

    parts = []
    for (_, stop), sizes in zip(ranges, workers.map(count, ranges), strict=True):
        parts.append(sizes)
        progress(f"counting {plan.name}", stop, plan.num_batches)
    return Sizes.concatenate(parts)


def _fit(
    workers: Workers[Sampler],
    plans: dict[str, SplitPlan],
    sizes: dict[str, Sizes],
    budget: Budget,
    graph: HeteroGraph,
    config: JobConfig,
    report: Report,
) -> dict[str, list[Fitted]]:
    """Apply the over-size policy to every split: one part each."""
    _reserve(workers, sizes)

    def recount(plan: SplitPlan, positions: np.ndarray) -> Sizes:
        def count(sampler: Sampler, part: np.ndarray) -> Sizes:
            assert isinstance(sampler, NeighborSampler), "the whole graph is never trimmed"
            block = plan.keep(part).block(0, len(part))
            return sampler.count_trimmed(block.seeds, block.keys, budget)

        step = max(1, COUNT_BLOCK_SEEDS // plan.max_seeds)
        parts = [positions[start : start + step] for start in range(0, len(positions), step)]
        return Sizes.concatenate(list(workers.map(count, parts)))

    def count_alone(plan: SplitPlan, position: int) -> Sizes:
        block = plan.keep(np.array([position])).block(0, 1)
        seeds = block.seeds[block.seeds >= 0].reshape(-1, 1)
        return next(workers.map(lambda sampler, keys: sampler.count(seeds, keys), [block.keys.repeat(len(seeds))]))

    fitted = {}
    for name, plan in plans.items():
        fit = fit_split(plan, sizes[name], budget, config.budget, graph.schema, recount, count_alone)
        _report_losses(fit, report)
        fitted[name] = [fit]
    return fitted


def _reserve(workers: Workers[Sampler], sizes: dict[str, Sizes]) -> None:
    """Give every worker room for the largest batch."""
    most_edges = np.max([s.edge_totals.max(axis=0) for s in sizes.values()], axis=0)
    workers.each(lambda sampler: sampler.reserve_edges(most_edges) if isinstance(sampler, NeighborSampler) else None)


def _with_hop_capacities(
    budgets: tuple[Budget, ...], graph: HeteroGraph, fitted: dict[str, list[Fitted]]
) -> tuple[Budget, ...]:
    """Each budget with the capacities up to each hop that its own batches need."""
    every = [fit for parts in fitted.values() for fit in parts]
    return tuple(
        with_hop_capacities(budget, graph.schema, [fit.sizes for fit in every if fit.shape == shape])
        for shape, budget in enumerate(budgets)
    )


def _report_losses(fitted: Fitted, report: Report) -> None:
    name = fitted.plan.name
    if fitted.num_batches_skipped:
        report(
            f"warning: split '{name}': {fitted.num_batches_skipped} batches over the budget are skipped, "
            f"and {fitted.num_seeds_skipped} seeds with them"
        )
    nodes, edges = int(fitted.trimmed.num_nodes.sum()), int(fitted.trimmed.num_edges.sum())
    if nodes or edges:
        all_nodes = nodes + int(fitted.sizes.num_nodes.sum())
        all_edges = edges + int(fitted.sizes.num_edges.sum())
        report(
            f"warning: split '{name}': trimming drops {nodes / all_nodes:.2%} of the sampled nodes "
            f"and {edges / max(1, all_edges):.2%} of the sampled edges"
        )


def _manifest(
    config: JobConfig,
    graph: HeteroGraph,
    spec: SamplingSpec,
    budgets: tuple[Budget, ...],
    fitted: dict[str, list[Fitted]],
    options: BatchOptions,
    fingerprint: str,
    content: str,
) -> Manifest:
    tensors: list[TensorSpec] = []
    if not options.inline_features:
        tensors += feature_tensors(graph.schema, options.feature_codecs, FEATURE_CHUNK_BYTES)
    tensors += original_id_tensors(graph.schema, graph.original_ids, options.codec, FEATURE_CHUNK_BYTES)
    splits = []
    for name, parts in fitted.items():
        for fit in parts:
            path, num_batches = layout.part_path(name, fit.shape, len(budgets)), fit.plan.num_batches
            chunk = options._replace(chunk_batches=min(options.chunk_batches, num_batches))
            tensors += part_tensors(graph.schema, budgets[fit.shape], spec.num_hops, path, num_batches, chunk)
        splits.append(
            SplitInfo(
                name=name,
                num_seeds=parts[0].plan.seeds_per_round,
                parts=tuple(PartInfo(shape=fit.shape, round_starts=fit.plan.round_starts()) for fit in parts),
                num_batches_skipped=sum(fit.num_batches_skipped for fit in parts),
                num_seeds_skipped=sum(fit.num_seeds_skipped for fit in parts),
            )
        )
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
        pad_value=options.pad_value,
        chunk_batches=options.chunk_batches,
        tensors=tuple(tensors),
        checksums_crc32c=0,
        config=config.content(),
        source={**graph.description, "content_sha256": content},
        provenance=_provenance(),
    )


def _provenance() -> dict[str, Any]:
    """What wrote the store. No time and no host: the same job writes the same bytes."""
    import numcodecs
    import zarr

    versions = {"numpy": np.__version__, "zarr": zarr.__version__, "numcodecs": numcodecs.__version__}
    return {"program": "heteroshards", "python": platform.python_version(), **versions}


def _blow_up(manifest: Manifest, options: BatchOptions) -> str:
    """How much larger inline features are than tables, in words."""
    inline = sum(spec.num_bytes for spec in manifest.tensors if spec.path.endswith(("/x", "/edge_attr")))
    tables = feature_tensors(manifest.graph, options.feature_codecs, FEATURE_CHUNK_BYTES)
    table = sum(spec.num_bytes for spec in tables)
    return (
        f"inline features take {inline / 2**20:,.0f} MiB before compression, "
        f"{inline / max(1, table):.1f} times the {table / 2**20:,.0f} MiB of tables"
    )


def _write(
    workers: Workers[Sampler],
    graph: HeteroGraph,
    manifest: Manifest,
    fitted: dict[str, list[Fitted]],
    path: Path,
    progress: Progress,
) -> None:
    """Write every partition that is not there yet, then let the store appear."""
    writer = StoreWriter(path, manifest)
    writer.init()
    encoder = Encoder(graph, writer)
    partitions = dict(_partitions(encoder, fitted))
    total = sum(split.num_batches for split in manifest.splits)
    done = 0

    def write(sampler: Sampler, name: str) -> int:
        job = partitions[name]
        if not writer.is_finished(name):
            writer.finish_partition(name, job.write(sampler))
        return job.num_batches

    for num_batches in workers.map(write, partitions):
        done += num_batches
        progress("writing", done, total)
    writer.finalise(list(partitions))


@dataclass(frozen=True)
class _Partition:
    write: Callable[[Sampler], Checksums]
    num_batches: int = 0


def _partitions(encoder: Encoder, fitted: dict[str, list[Fitted]]) -> Iterator[tuple[str, _Partition]]:
    """Everything there is to write, as named, independent pieces."""
    manifest = encoder.writer.manifest
    for spec in manifest.tensors:
        if spec.path.startswith("features/"):
            name = spec.path.replace("/", "-")
            yield name, _Partition(lambda _, spec=spec: encoder.write_table(spec))  # type: ignore[misc]
    for split, parts in fitted.items():
        for fit in parts:
            yield from _part_partitions(encoder, layout.part_path(split, fit.shape, manifest.num_shapes), fit)


def _part_partitions(encoder: Encoder, part: str, fit: Fitted) -> Iterator[tuple[str, _Partition]]:
    manifest, name, num_batches = encoder.writer.manifest, part.replace("/", "-"), fit.plan.num_batches
    yield f"stats-{name}", _Partition(lambda _: encoder.write_stats(part, fit))
    shards = list(shards_of(part, num_batches, min(manifest.chunk_batches, num_batches)))
    for index, run in enumerate(partitions_of(shards, SHARDS_PER_PARTITION)):
        yield f"{name}-{index:06d}", _shard_partition(encoder, fit.plan, manifest.budgets[fit.shape], run)


def _shard_partition(encoder: Encoder, plan: SplitPlan, budget: Budget, shards: list[Shard]) -> _Partition:
    def write(sampler: Sampler) -> Checksums:
        checksums: Checksums = {}
        for shard in shards:
            written = encoder.write_shard(sampler, shard, plan.block(shard.start, shard.stop), budget)
            for path, chunks in written.items():
                checksums.setdefault(path, {}).update(chunks)
        return checksums

    return _Partition(write, sum(shard.stop - shard.start for shard in shards))

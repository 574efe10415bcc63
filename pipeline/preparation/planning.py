"""Everything about a store that is decided before a byte of it is written: budgets, batches, manifest."""

from dataclasses import dataclass
from pathlib import Path

from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.graph.hetero import HeteroGraph, build_graph
from heteroshards.pipeline.reporting import Progress, Report, silent
from heteroshards.pipeline.sampling.reach import unreached_notes
from heteroshards.pipeline.sampling.resolve import resolve_sampling
from heteroshards.pipeline.sizing.certificate import certainty_lines
from heteroshards.pipeline.sizing.counting import count_all, fit_all
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.sizing.sharing import resolve_budgets
from heteroshards.pipeline.sources import SourceGraph
from heteroshards.pipeline.writing.batch_options import require_encodable, resolve_batch_options
from heteroshards.pipeline.writing.manifest import (
    all_inline_bytes,
    fingerprint_of,
    make_manifest,
    notes_of,
    unreached_by,
)
from heteroshards.pipeline.writing.partitions import Planned
from heteroshards.pipeline.writing.place import store_path
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.sampling import SamplingSpec
from heteroshards.schemas.tensors import table_bytes


@dataclass(frozen=True)
class Request:
    """A store that is wanted: what follows from a graph and a config without counting.

    Attributes:
        content: digest of the graph.
        fingerprint: of the store.
        path: where it will lie.
    """

    graph: HeteroGraph
    config: JobConfig
    spec: SamplingSpec
    content: str
    fingerprint: str
    path: Path


def request_of(source: SourceGraph, config: JobConfig, store: Path | None = None) -> Request:
    """The store at `store`, or where stores of the config lie.

    Raises:
        GraphError, ConfigError: the graph or the config will not do.
    """
    graph = build_graph(source)
    spec, content = resolve_sampling(config, graph), graph.digest()
    fingerprint = fingerprint_of(config, spec, content)
    return Request(graph, config, spec, content, fingerprint, store or store_path(config, fingerprint))


def plan_store(request: Request, workers: int = 1, report: Report = silent, progress: Progress = silent) -> Planned:
    """Count every batch and fix the budgets."""
    graph, config, spec = request.graph, request.config, request.spec
    pool = make_executor(graph, spec, config.budget.oversize, workers)
    counted = count_all(pool, graph, spec, config.budget, progress)
    budgets, shape_of = resolve_budgets(config.budget, graph.schema, counted.sizes, counted.max_seeds, spec.rng_seed)
    for line in certainty_lines(config.budget, budgets, shape_of):
        report(f"budget   {line}")
    fitted = fit_all(counted, budgets, shape_of, config.budget, graph.schema)
    _report_losses(fitted, report)
    for note in unreached_notes(unreached_by(graph, fitted)):
        report(note.line)
    options = resolve_batch_options(config.store, graph, budgets, spec, fitted)
    digests = request.fingerprint, request.content
    manifest = make_manifest(config, graph, spec, budgets, fitted, counted.edge_draws, options, *digests)
    require_encodable(manifest.tensors)
    if options.inline_features:
        report(_blow_up(manifest))
    return Planned(pool, manifest, fitted, counted.most_edges)


def tell(request: Request, report: Report, only_warnings: bool = False) -> None:
    """Report what is to say about the graph, a line each."""
    for note in notes_of(request.graph, request.spec):
        if note.level == "warning" or not only_warnings:
            report(note.line)


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


def _blow_up(manifest: Manifest) -> str:
    """How much larger inline features are than tables, in words."""
    inline, table = all_inline_bytes(manifest), table_bytes(manifest.graph)
    return (
        f"inline features take {inline / 2**20:,.0f} MiB before compression, "
        f"{inline / max(1, table):.1f} times the {table / 2**20:,.0f} MiB of tables"
    )

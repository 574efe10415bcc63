"""`prepare`: count every batch, fix the budget, then sample again and write."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from heteroshards.pipeline.jit import kernels_told
from heteroshards.pipeline.preparation.planning import plan_store, request_of, tell
from heteroshards.pipeline.preparation.road import Preparation
from heteroshards.pipeline.reporting import Progress, Report, silent
from heteroshards.pipeline.sources import SourceGraph, from_data
from heteroshards.pipeline.writing.place import existing, read_manifest, require_place, writing
from heteroshards.pipeline.writing.writer import discard_leftovers
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import StoreError
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.seam import require, require_count, require_path, typed

if TYPE_CHECKING:
    from torch_geometric.data import Data, HeteroData


@dataclass(frozen=True)
class Outcome:
    """Where the store is, and whether it was there already."""

    path: Path
    manifest: Manifest
    was_found: bool


@typed("prepare", StoreError)
def prepare(
    data: "HeteroData | Data",
    config: JobConfig,
    *,
    store: Path | str | None = None,
    workers: int = 1,
    force: bool = False,
    report: Report = silent,
    progress: Progress = silent,
) -> Path:
    """Write the store of a graph in memory, or find it when the same one was written before.

    Args:
        data: the graph; `config.dataset` names its seed type, label and split masks. A `Data` has node type "node" and
            edge type ("node", "to", "node").
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
    source = from_data(data, config.dataset, {"dataset": f"a {type(data).__name__} in memory"}, config)
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
    report: Report = silent,
    progress: Progress = silent,
) -> Outcome:
    """As `prepare`, for a graph that has been loaded; says whether the store was found."""
    require(source, SourceGraph, "source")
    require(config, JobConfig, "config")
    require_count(workers, "workers")
    request = request_of(source, config, None if store is None else require_path(store, "store"))
    path = request.path
    found = existing(path, request.fingerprint, force)
    if found:
        discard_leftovers(path)
        tell(request, report, only_warnings=True)
        return Outcome(path, found, was_found=True)
    require_place(path)
    tell(request, report)
    planned = plan_store(request, workers, report, progress)
    with writing(path, report):
        found = existing(path, request.fingerprint, force)
        if found:
            return Outcome(path, found, was_found=True)
        preparation = Preparation(planned, path)
        preparation.init()
        preparation.write(list(preparation.partitions), progress)
        preparation.finalise()
    return Outcome(path, read_manifest(path), was_found=False)

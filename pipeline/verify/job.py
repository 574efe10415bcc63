"""The order of checks: bytes, schema, content, source data."""

from pathlib import Path

from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sources import SourceGraph
from heteroshards.pipeline.verify.content import check_shard
from heteroshards.pipeline.verify.coverage import SeedCoverage
from heteroshards.pipeline.verify.files import check_files
from heteroshards.pipeline.verify.findings import Findings, Verified
from heteroshards.pipeline.verify.schema import check_arrays, check_listing
from heteroshards.pipeline.verify.source import check_resampled, check_tables, matching_graph
from heteroshards.pipeline.verify.trees import proven
from heteroshards.pipeline.verify.view import Chunks, shards
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, StoreError
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.seam import require, require_count, require_path, typed

MAX_FINDINGS = 100


def _silent(*_: object) -> None:
    """No progress."""


@typed("verify", StoreError)
def verify(
    store: Path | str,
    source: SourceGraph | None = None,
    config: JobConfig | None = None,
    *,
    workers: int = 1,
    max_findings: int = MAX_FINDINGS,
    progress: Progress = _silent,
) -> Verified:
    """Check a finished store. Reads all of it and writes nothing; memory holds one shard, and the seeds.

    Args:
        store: the folder.
        source, config: the graph and the job that the store should be made from: then it is also compared with
            them. Both or neither.
        workers: threads of counting anew.
        max_findings: how many findings are kept; all are counted.
        progress: called with (what, done, total) in batches.

    Raises:
        StoreError: there is no store at the path.
        FormatVersionError: a program of another version wrote it.
    """
    require(source, (SourceGraph, type(None)), "source")
    require(config, (JobConfig, type(None)), "config")
    if (source is None) != (config is None):
        raise ConfigError("a store is compared with a graph and its job, or with neither", hint="Give both.")
    require_count(workers, "workers")
    require_count(max_findings, "max_findings")
    path, findings = require_path(store, "store"), Findings(max_findings)
    checked = check_files(path, findings)
    manifest, num_batches, num_resampled, graph = checked.manifest, 0, 0, None
    if manifest is not None:
        chunks = Chunks(path, manifest, checked.damaged)
        is_readable = check_listing(manifest, findings)
        check_arrays(chunks, findings)
        if source is not None and config is not None:
            graph = matching_graph(manifest, source, config, findings)
        if is_readable:
            num_batches = _check_content(chunks, graph, progress, findings)
        if is_readable and graph is not None and config is not None:
            check_tables(chunks, graph, findings)
            num_resampled = check_resampled(chunks, graph, config, workers, progress, findings)
    return Verified(
        path=path,
        fingerprint=_fingerprint(manifest),
        num_findings=findings.count,
        findings=tuple(findings.kept),
        num_files=checked.num_files,
        num_bytes=checked.num_bytes,
        num_batches=num_batches,
        num_resampled=num_resampled,
        proven=tuple(proven(manifest, graph)) if manifest and graph and not findings.count else (),
    )


def _fingerprint(manifest: Manifest | None) -> str | None:
    return manifest.fingerprint if manifest else None


def _check_content(chunks: Chunks, graph: HeteroGraph | None, progress: Progress, findings: Findings) -> int:
    """Look into every shard; returns the number of batches that could be read."""
    coverage, num_read = SeedCoverage(chunks.manifest, findings, graph), 0
    for split in chunks.manifest.splits:
        coverage.start_split(split)
        for part in chunks.manifest.parts(split):
            for view in shards(chunks, split, part, findings):
                if view is None:
                    coverage.miss()
                    continue
                check_shard(view, coverage, graph)
                num_read += view.num_batches
                progress(f"checking {split.name}", view.start + view.num_batches, part.num_batches)
        coverage.end_split(split)
    return num_read

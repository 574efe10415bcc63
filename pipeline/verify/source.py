"""A store against the data and config that it claims to be made from."""

from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.executors.worker import Worker
from heteroshards.pipeline.graph.hetero import HeteroGraph
from heteroshards.pipeline.preparation.planning import request_of
from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.sampling.rng import keyed, stream_root
from heteroshards.pipeline.sizing.counting import count_all, fit_all
from heteroshards.pipeline.sizing.fitting import Fitted
from heteroshards.pipeline.sizing.sharing import resolve_budgets
from heteroshards.pipeline.sources import SourceGraph
from heteroshards.pipeline.verify.findings import Findings
from heteroshards.pipeline.verify.view import Chunks
from heteroshards.pipeline.writing.encode import Encoder, table_of
from heteroshards.pipeline.writing.writer import StoreWriter
from heteroshards.schemas import layout
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.manifest import Manifest, Part, SplitInfo

RESAMPLED_BATCHES = 4


def matching_graph(
    manifest: Manifest, source: SourceGraph, config: JobConfig, findings: Findings
) -> HeteroGraph | None:
    """The source graph, when the store was made from it by this config; else None, and findings that say why not."""
    wanted = request_of(source, config)
    content, fingerprint = wanted.content, wanted.fingerprint
    if fingerprint == manifest.fingerprint:
        return wanted.graph if _has_splits(manifest, wanted.graph, findings) else None
    before = findings.count
    stored = str(manifest.source.get("content_sha256"))
    if content != stored:
        what = "the source data is not what the store was made from"
        findings.add("manifest", what, f"sha256 {content[:12]}", f"sha256 {stored[:12]}")
    for section in ("sampling", "budget", "store"):
        values, written = config.content()[section], manifest.config.get(section, {})
        for key in sorted({*values, *written}):
            if values.get(key) != written.get(key):
                what = f"[{section}] {key} is not what the store was made with"
                findings.add("manifest", what, values.get(key), written.get(key))
    if findings.count == before:
        findings.add("manifest", "the fingerprint is not that of data and config", manifest.fingerprint, fingerprint)
    return None


def _has_splits(manifest: Manifest, graph: HeteroGraph, findings: Findings) -> bool:
    """Whether the splits are the source's, in its order: rows of seeds are numbered through them."""
    stored = {split.name: split.num_seeds for split in manifest.splits}
    expected = {name: len(rows) for name, rows in graph.seeds.splits.items()}
    if list(stored.items()) != list(expected.items()):
        findings.add("manifest", "the splits and their seeds are not those of the source data", stored, expected)
        return False
    return True


def check_tables(chunks: Chunks, graph: HeteroGraph, findings: Findings) -> None:
    """Feature tables and original ids, chunk by chunk."""
    for spec in chunks.manifest.tensors:
        if spec.role not in layout.TABLES:
            continue
        expected = table_of(graph, spec)
        for index in range(spec.num_chunks):
            start = index * spec.chunk_rows
            if chunks.is_sound(spec, index):
                rows = chunks.rows(spec, index)
                if rows.tobytes() != expected[start : start + len(rows)].tobytes():
                    findings.add(spec.path, f"rows {start} to {start + len(rows) - 1} differ from the source data")


def check_resampled(
    chunks: Chunks, graph: HeteroGraph, config: JobConfig, workers: int, progress: Progress, findings: Findings
) -> int:
    """Count every batch anew and compare the statistics; sample a few batches per part anew and compare every byte.

    Plans, counts and batches come about exactly as in `prepare`.

    Returns:
        how many batches were sampled anew.
    """
    manifest = chunks.manifest
    pool = make_executor(graph, manifest.sampling, config.budget.oversize, workers)
    counted = count_all(pool, graph, manifest.sampling, config.budget, progress)
    schema, seed = graph.schema, manifest.sampling.rng_seed
    budgets, shape_of = resolve_budgets(config.budget, schema, counted.sizes, counted.max_seeds, seed)
    fitted = fit_all(counted, budgets, shape_of, config.budget, schema)
    jobs = [
        CompareJob(chunks, split, part, fit, counted.most_edges, findings.limit)
        for split in manifest.splits
        for part in manifest.parts(split)
        for fit in fitted[split.name]
        if fit.shape == part.shape
    ]
    num_resampled = 0
    for num_batches, found in pool.map(compare, jobs):
        num_resampled += num_batches
        findings.extend(found)
    return num_resampled


class CompareJob(NamedTuple):
    """A part of a store, and what it is to hold."""

    chunks: Chunks
    split: SplitInfo
    part: Part
    fit: Fitted
    most_edges: np.ndarray
    max_findings: int


def compare(worker: Worker, job: CompareJob) -> tuple[int, Findings]:
    """Compare statistics, and some batches that are sampled anew; returns how many, and what differs."""
    chunks, split, part, fit = job[:4]
    findings, manifest = Findings(job.max_findings), chunks.manifest
    if fit.plan.round_starts() != part.round_starts:
        what = "the rounds are not those of the plan"
        findings.add("manifest", what, part.round_starts, fit.plan.round_starts(), split.name)
        return 0, findings
    encoder = worker.keep("encoder", lambda: Encoder(worker.graph, StoreWriter(chunks.store, manifest)))
    _compare_stats(chunks, split, part, fit, encoder, findings)
    worker.sampler.reserve_edges(job.most_edges)
    batches = _choice(manifest, part)
    for batch in batches:
        _compare_batch(chunks, worker.sampler, split, part, fit, batch, encoder, findings)
    return len(batches), findings


def _choice(manifest: Manifest, part: Part) -> list[int]:
    """The first batch, the last, and some between, the same ones in every verification of a store."""
    root = stream_root(int(manifest.fingerprint[:8], 16), "verify", part.split, 0)
    order = np.argsort(keyed(root, np.arange(part.num_batches)), kind="stable")
    chosen = dict.fromkeys([0, part.num_batches - 1, *order.tolist()])
    return sorted(list(chosen)[:RESAMPLED_BATCHES])


def _compare_stats(
    chunks: Chunks, split: SplitInfo, part: Part, fit: Fitted, encoder: Encoder, findings: Findings
) -> None:
    for path, expected in encoder.stats(part.path, fit).items():
        spec = encoder.writer.specs[path]
        for index in range(spec.num_chunks):
            if chunks.is_sound(spec, index):
                rows, start = chunks.rows(spec, index), index * spec.chunk_rows
                differs = (rows != expected[start : start + len(rows)]).reshape(len(rows), -1).any(axis=1)
                bad = np.flatnonzero(differs)
                if len(bad):
                    batches = (start + int(bad[0]), start + int(bad[-1]) + 1)
                    what = "the statistics are not those of the batches sampled anew"
                    findings.add(path, what, None, None, split.name, batches)


def _compare_batch(
    chunks: Chunks,
    sampler: Sampler,
    split: SplitInfo,
    part: Part,
    fit: Fitted,
    batch: int,
    encoder: Encoder,
    findings: Findings,
) -> None:
    block = fit.plan.block(batch, batch + 1)
    padded = sampler.pad(block.seeds, block.keys, part.budget)
    for path, expected in encoder.tensors(part.path, padded, block):
        stored = chunks.slice(encoder.writer.specs[path], batch, batch + 1)
        if stored is not None and stored.tobytes() != np.ascontiguousarray(expected).tobytes():
            what = "the batch is not the one that is sampled from the source data"
            findings.add(path, what, None, None, split.name, (batch, batch + 1))

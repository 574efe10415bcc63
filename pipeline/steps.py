"""`prepare` in three steps, so that a job array can run the middle one: init, partition I, finalise.

`init` leaves in `<store>.partial` what makes a partition a pure function of the graph and its number:

    store/       the store's metadata, with the unfinished manifest
    plan.npz     which seeds make which batch, and how large each is
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import saved_plan
from pipeline.counting import Progress, reserve, sampler_factory
from pipeline.datasets import SourceGraph
from pipeline.encode import Sampler
from pipeline.files import read_attributes
from pipeline.graph import HeteroGraph, build_graph
from pipeline.options import resolve_sampling
from pipeline.partitions import Partition, Planned, partitions_of_store
from pipeline.run import (
    Report,
    existing,
    fingerprint_of,
    plan_store,
    provenance,
    require_place,
    store_path,
    tell,
    writing,
)
from pipeline.text import as_ranges
from pipeline.workers import Workers
from pipeline.writer import StoreWriter, work_folder
from schemas import layout, locks
from schemas.config import JobConfig
from schemas.errors import ConfigError, StoreError
from schemas.manifest import Manifest, parse_manifest
from schemas.seam import typed

PLAN = "plan.npz"


@dataclass(frozen=True)
class Steps:
    """Where a store that is prepared in steps stands.

    Attributes:
        path: where the store will be. manifest: of the store.
        missing: numbers of the partitions that are not written yet, of `num_partitions`.
        is_there: the store is finished.
    """

    path: Path
    manifest: Manifest
    num_partitions: int
    missing: tuple[int, ...]
    is_there: bool = False


@dataclass(frozen=True)
class _Source:
    """The graph, and what follows from it and the config without counting."""

    graph: HeteroGraph
    content: str
    fingerprint: str
    path: Path


@typed("prepare init", StoreError)
def init(
    source: SourceGraph, config: JobConfig, *, store: Path | None, workers: int, report: Report, progress: Progress
) -> Steps:
    """Count every batch, fix the budget, and lay the work folder out, or take over what was begun in it.

    Raises:
        GraphError, ConfigError, BudgetError, StoreError: as `prepare`.
    """
    known = _identify(source, config, store)
    found = existing(known.path, known.fingerprint, force=False)
    if found:
        return Steps(known.path, found, 0, (), is_there=True)
    require_place(known.path)
    spec = resolve_sampling(config.sampling, known.graph)
    tell(known.graph, spec, report)
    planned = plan_store(known.graph, config, spec, known.content, workers=workers, report=report, progress=progress)
    with writing(known.path, report):
        writer = StoreWriter(known.path, planned.manifest)
        writer.init()
        saved_plan.save(writer.work / PLAN, planned.fitted, planned.most_edges)
        return _stand(known.path, writer, partitions_of_store(planned, writer))


@typed("prepare partition", StoreError)
def write_partitions(
    source: SourceGraph,
    config: JobConfig,
    numbers: Sequence[int],
    *,
    store: Path | None,
    workers: int,
    report: Report,
    progress: Progress,
) -> Steps:
    """Write some partitions; those that are there already are left as they are. Many processes may do so at once.

    Raises:
        ConfigError: there is no partition of a number.
        StoreError: `init` has not run for this data, config and program, or the store cannot be written.
    """
    known = _identify(source, config, store)
    with writing(known.path, report, is_shared=True):
        planned = _saved(known, config, workers)
        writer = StoreWriter(known.path, planned.manifest)
        partitions = partitions_of_store(planned, writer)
        names = _named(numbers, list(partitions))

        def write(sampler: Sampler, name: str) -> int:
            with _alone(writer.work, name):
                if not writer.is_finished(name):
                    writer.finish_partition(name, partitions[name].write(sampler))
            return partitions[name].num_batches

        done, total = 0, sum(partitions[name].num_batches for name in names)
        for num_batches in planned.workers.map(write, names):
            done += num_batches
            progress("writing", done, total)
        return _stand(known.path, writer, partitions)


@typed("prepare finalise", StoreError)
def finalise(source: SourceGraph, config: JobConfig, *, store: Path | None, report: Report) -> Steps:
    """Check that every partition is written, and let the store appear.

    Raises:
        StoreError: naming every partition that is missing.
    """
    known = _identify(source, config, store)
    found = existing(known.path, known.fingerprint, force=False)
    if found:
        return Steps(known.path, found, 0, (), is_there=True)
    with writing(known.path, report):
        planned = _saved(known, config, 1)
        writer = StoreWriter(known.path, planned.manifest)
        partitions = partitions_of_store(planned, writer)
        stand = _stand(known.path, writer, partitions)
        if stand.missing:
            raise StoreError(
                f"{len(stand.missing)} of {stand.num_partitions} partitions are missing",
                actual=f"all but {as_ranges(stand.missing)}",
                where=str(writer.work),
                hint="Write them: `prepare partition` with these numbers, then finalise again.",
            )
        writer.finalise(list(partitions))
    return stand


def _identify(source: SourceGraph, config: JobConfig, store: Path | None) -> _Source:
    graph = build_graph(source)
    content = graph.digest()
    fingerprint = fingerprint_of(config, resolve_sampling(config.sampling, graph), content)
    path = store or store_path(config, fingerprint)
    return _Source(graph, content, fingerprint, path)


def _saved(known: _Source, config: JobConfig, workers: int) -> Planned:
    """What `init` left, when it is for this very store and these very versions."""
    work, again = work_folder(known.path), "Run `prepare init` first, with the same config."
    try:
        fitted, most_edges = saved_plan.load(work / PLAN)
    except FileNotFoundError:
        raise StoreError("no store is being prepared in steps", where=str(work), hint=again) from None
    manifest = parse_manifest(read_attributes(work / "store").get(layout.MANIFEST_ATTRIBUTE), str(work))
    if manifest.fingerprint != known.fingerprint:
        raise StoreError("the work folder is for other data or another config", where=str(work), hint=again)
    if manifest.provenance != provenance():
        what, hint = "the work folder was laid out by other versions, which may write other bytes", again
        raise StoreError(what, actual=provenance(), limit=manifest.provenance, where=str(work), hint=hint)
    pool = Workers(sampler_factory(known.graph, manifest.sampling, config.budget.oversize), workers)
    reserve(pool, most_edges)
    return Planned(pool, known.graph, manifest, fitted, most_edges)


def _named(numbers: Sequence[int], names: list[str]) -> list[str]:
    for number in numbers:
        if not 0 <= number < len(names):
            raise ConfigError("there is no such partition", actual=number, limit=f"0 to {len(names) - 1}")
    return [names[number] for number in dict.fromkeys(numbers)]


@contextmanager
def _alone(work: Path, name: str) -> Iterator[None]:
    """One writer per partition: a second one, killed, could leave a torn chunk behind a finished record."""
    with locks.locked(work / "partitions" / f".{name}.lock", waiting=lambda: None):
        yield


def _stand(path: Path, writer: StoreWriter, partitions: dict[str, Partition]) -> Steps:
    missing = [number for number, name in enumerate(partitions) if not writer.is_finished(name)]
    return Steps(path, writer.manifest, len(partitions), tuple(missing))

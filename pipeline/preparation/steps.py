"""`prepare` in three steps, so that a job array can run the middle one: init, partition I, finalise.

`init` leaves in `<store>.partial` what makes a partition a pure function of the graph and its number:

    store/       the store's metadata, with the unfinished manifest
    plan.npz     which seeds make which batch, and how large each is
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heteroshards.pipeline.executors import make_executor
from heteroshards.pipeline.formatting import as_ranges
from heteroshards.pipeline.preparation.planning import Request, plan_store, request_of, tell
from heteroshards.pipeline.preparation.road import Preparation
from heteroshards.pipeline.reporting import Progress, Report
from heteroshards.pipeline.sizing import saved_plan
from heteroshards.pipeline.sources import SourceGraph
from heteroshards.pipeline.writing.manifest import provenance
from heteroshards.pipeline.writing.partitions import Planned
from heteroshards.pipeline.writing.place import existing, read_manifest, require_place, writing
from heteroshards.pipeline.writing.writer import work_folder
from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.errors import ConfigError, StoreError
from heteroshards.schemas.manifest import Manifest
from heteroshards.schemas.seam import typed

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


@typed("prepare init", StoreError)
def init(
    source: SourceGraph, config: JobConfig, *, store: Path | None, workers: int, report: Report, progress: Progress
) -> Steps:
    """Count every batch, fix the budget, and lay the work folder out, or take over what was begun in it.

    Raises:
        GraphError, ConfigError, BudgetError, StoreError: as `prepare`.
    """
    request = request_of(source, config, store)
    found = existing(request.path, request.fingerprint, force=False)
    if found:
        return Steps(request.path, found, 0, (), is_there=True)
    require_place(request.path)
    tell(request, report)
    planned = plan_store(request, workers, report, progress)
    with writing(request.path, report):
        preparation = Preparation(planned, request.path)
        preparation.init()
        saved_plan.save(preparation.writer.work / PLAN, planned.fitted, planned.most_edges)
        return _stand(preparation)


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
    request = request_of(source, config, store)
    with writing(request.path, report, is_shared=True):
        preparation = Preparation(_saved(request, workers), request.path)
        preparation.write(_named(numbers, list(preparation.partitions)), progress)
        return _stand(preparation)


@typed("prepare finalise", StoreError)
def finalise(source: SourceGraph, config: JobConfig, *, store: Path | None, report: Report) -> Steps:
    """Check that every partition is written, and let the store appear.

    Raises:
        StoreError: naming every partition that is missing.
    """
    request = request_of(source, config, store)
    found = existing(request.path, request.fingerprint, force=False)
    if found:
        return Steps(request.path, found, 0, (), is_there=True)
    with writing(request.path, report):
        preparation = Preparation(_saved(request, 1), request.path)
        stand = _stand(preparation)
        if stand.missing:
            raise StoreError(
                f"{len(stand.missing)} of {stand.num_partitions} partitions are missing",
                actual=f"all but {as_ranges(stand.missing)}",
                where=str(preparation.writer.work),
                hint="Write them: `prepare partition` with these numbers, then finalise again.",
            )
        preparation.finalise()
    return stand


def _saved(request: Request, workers: int) -> Planned:
    """What `init` left, when it is for this very store and these very versions."""
    work, again = work_folder(request.path), "Run `prepare init` first, with the same config."
    try:
        fitted, most_edges = saved_plan.load(work / PLAN)
    except FileNotFoundError:
        raise StoreError("no store is being prepared in steps", where=str(work), hint=again) from None
    manifest = read_manifest(work / "store")
    if manifest.fingerprint != request.fingerprint:
        raise StoreError("the work folder is for other data or another config", where=str(work), hint=again)
    if manifest.provenance != provenance():
        what, hint = "the work folder was laid out by other versions, which may write other bytes", again
        raise StoreError(what, actual=provenance(), limit=manifest.provenance, where=str(work), hint=hint)
    pool = make_executor(request.graph, manifest.sampling, request.config.budget.oversize, workers)
    return Planned(pool, manifest, fitted, most_edges)


def _named(numbers: Sequence[int], names: list[str]) -> list[str]:
    for number in numbers:
        if not 0 <= number < len(names):
            raise ConfigError("there is no such partition", actual=number, limit=f"0 to {len(names) - 1}")
    return [names[number] for number in dict.fromkeys(numbers)]


def _stand(preparation: Preparation) -> Steps:
    manifest = preparation.planned.manifest
    return Steps(preparation.path, manifest, len(preparation.partitions), preparation.missing)

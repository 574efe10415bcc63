"""The road of every store: init, then partitions in any order, then finalise. `prepare` and job arrays both go it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.writing.partitions import Partition, Planned, WriteJob, partitions_of_store, write
from heteroshards.pipeline.writing.writer import StoreWriter


@dataclass(frozen=True)
class Preparation:
    """A store on its way, at `path` in the end. Call it under `pipeline.writing.place.writing`."""

    planned: Planned
    path: Path

    @cached_property
    def writer(self) -> StoreWriter:
        return StoreWriter(self.path, self.planned.manifest)

    @cached_property
    def partitions(self) -> dict[str, Partition]:
        """All there are, by name, in an order that never changes."""
        return partitions_of_store(self.planned.manifest)

    @property
    def missing(self) -> tuple[int, ...]:
        """Numbers of the partitions that are not written yet."""
        return tuple(i for i, name in enumerate(self.partitions) if not self.writer.is_finished(name))

    def init(self) -> None:
        """Lay the work folder out, or take over what was begun in it."""
        self.writer.init()

    def write(self, names: Sequence[str], progress: Progress) -> None:
        """Write some partitions, but those that are there already. Many processes may do so at once."""
        done, total = 0, sum(self.partitions[name].num_batches for name in names)
        dearest_first = sorted(names, key=lambda name: -self.partitions[name].cost)  # so that workers end together
        for num_batches in self.planned.workers.map(write, [self._job(name) for name in dearest_first]):
            done += num_batches
            progress("writing", done, total)

    def _job(self, name: str) -> WriteJob:
        planned, partition = self.planned, self.partitions[name]
        fit = planned.parts.get(partition.place)
        return WriteJob(partition, self.path, planned.manifest, fit, planned.most_edges)

    def finalise(self) -> None:
        """Let the store appear.

        Raises:
            StoreError: naming the partitions that are missing.
        """
        self.writer.finalise(list(self.partitions))

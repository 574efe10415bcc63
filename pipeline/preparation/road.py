"""The road of every store: init, then partitions in any order, then finalise. `prepare` and job arrays both go it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from heteroshards.pipeline.reporting import Progress
from heteroshards.pipeline.sampling.protocol import Sampler
from heteroshards.pipeline.writing.encode import Encoder
from heteroshards.pipeline.writing.partitions import Partition, Planned, partitions_of_store, write
from heteroshards.pipeline.writing.writer import StoreWriter
from heteroshards.schemas.store import locks


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

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.planned.graph, self.writer)

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
        for num_batches in self.planned.workers.map(self._write, dearest_first):
            done += num_batches
            progress("writing", done, total)

    def _write(self, sampler: Sampler, name: str) -> int:
        partition = self.partitions[name]
        with _alone(self.writer.work, name):
            if not self.writer.is_finished(name):
                self.writer.finish_partition(name, write(partition, self.planned.parts, self._encoder, sampler))
        return partition.num_batches

    def finalise(self) -> None:
        """Let the store appear.

        Raises:
            StoreError: naming the partitions that are missing.
        """
        self.writer.finalise(list(self.partitions))


@contextmanager
def _alone(work: Path, name: str) -> Iterator[None]:
    """One writer per partition: a second one, killed, could leave a torn chunk behind a finished record."""
    with locks.locked(work / "partitions" / f".{name}.lock", waiting=lambda: None):
        yield

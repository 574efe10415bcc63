"""Which seeds make which batch: pure integers, before anything is written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from heteroshards.schemas.tensors import ID_PAD


class BatchBlock(NamedTuple):
    """Consecutive batches.

    Attributes:
        seeds: rows of the seed table, int32 [B, S], -1 in pads.
        keys: uint64 [B], root of each batch's draws. rounds: int32 [B].
    """

    seeds: np.ndarray
    keys: np.ndarray
    rounds: np.ndarray


class RoundPlan(NamedTuple):
    """One round's batches.

    Attributes:
        seeds: rows of the seed table, int32 [seeds of the split], batch after batch.
        sizes: int64 [B], seeds of each batch.
        keys: uint64 [B], root of each batch's draws.
    """

    seeds: np.ndarray
    sizes: np.ndarray
    keys: np.ndarray


@dataclass(frozen=True)
class SplitPlan:
    """Batches of one split, round after round; every round holds every seed once. `grouping.groups` makes plans.

    Attributes:
        seeds: rows of the seed table, int32 [rounds * seeds], batch after batch.
        starts: int64 [planned + 1], where each batch starts in `seeds`.
        keys: uint64 [planned].
        planned_rounds: int64 [rounds + 1], where each round starts among the planned batches.
        max_seeds: seed rows of every batch.
        kept: int64, the batches that are written, as positions in the plan; None for all.
    """

    name: str
    seeds: np.ndarray
    starts: np.ndarray
    keys: np.ndarray
    planned_rounds: np.ndarray
    max_seeds: int
    kept: np.ndarray | None = None

    @staticmethod
    def of_rounds(name: str, rounds: Sequence[RoundPlan]) -> "SplitPlan":
        """Rounds one after another, with as many seed rows as the largest batch needs."""
        sizes = np.concatenate([part.sizes for part in rounds])
        return SplitPlan(
            name=name,
            seeds=np.concatenate([part.seeds for part in rounds]),
            starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            keys=np.concatenate([part.keys for part in rounds]),
            planned_rounds=np.cumsum([0] + [len(part.sizes) for part in rounds]),
            max_seeds=int(sizes.max()),
        )

    @property
    def num_rounds(self) -> int:
        return len(self.planned_rounds) - 1

    @property
    def seeds_per_round(self) -> int:
        return len(self.seeds) // self.num_rounds

    @property
    def num_planned(self) -> int:
        return len(self.keys)

    @property
    def num_batches(self) -> int:
        return self.num_planned if self.kept is None else len(self.kept)

    def keep(self, kept: np.ndarray) -> "SplitPlan":
        """The same plan, of which only the batches at these positions are written."""
        return replace(self, kept=kept)

    def with_rows(self, max_seeds: int) -> "SplitPlan":
        """The same plan with so many seed rows per batch."""
        return replace(self, max_seeds=max_seeds)

    def round_starts(self) -> tuple[int, ...]:
        """Where each round starts among the written batches, and the end."""
        starts = self.planned_rounds if self.kept is None else np.searchsorted(self.kept, self.planned_rounds)
        return tuple(int(start) for start in starts)

    def place(self, position: int) -> tuple[int, int]:
        """(round, batch within the round) of a planned batch."""
        round_index = int(np.searchsorted(self.planned_rounds, position, side="right")) - 1
        return round_index, position - int(self.planned_rounds[round_index])

    def _positions(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop) if self.kept is None else self.kept[start:stop]

    def num_seeds(self) -> np.ndarray:
        """int32 [B]: real seeds of each written batch."""
        return self.num_seeds_at(self._positions(0, self.num_batches))

    def num_seeds_at(self, positions: np.ndarray) -> np.ndarray:
        """int32: real seeds of the planned batches at some positions."""
        return np.diff(self.starts)[positions].astype(np.int32)

    def rounds(self) -> np.ndarray:
        """int32 [B]: the round of each written batch."""
        return self._rounds_at(self._positions(0, self.num_batches))

    def _rounds_at(self, positions: np.ndarray) -> np.ndarray:
        return (np.searchsorted(self.planned_rounds, positions, side="right") - 1).astype(np.int32)

    def block(self, start: int, stop: int) -> BatchBlock:
        """The written batches start..stop."""
        positions = self._positions(start, stop)
        rows = np.arange(self.max_seeds)
        slots = self.starts[positions, None] + rows
        is_real = rows < self.num_seeds_at(positions)[:, None]
        seeds = np.where(is_real, self.seeds[np.minimum(slots, len(self.seeds) - 1)], np.int32(ID_PAD))
        return BatchBlock(seeds, self.keys[positions], self._rounds_at(positions))


class Shard(NamedTuple):
    """Batches start..stop of a part, one chunk of each of its arrays; `part` is where it lies in the store."""

    part: str
    chunk: int
    start: int
    stop: int


def shards_of(
    part: str, num_batches: int, chunk_batches: int, first: int = 0, end: int | None = None
) -> Iterator[Shard]:
    """Cut a part into shards of K batches, the last one shorter; numbers `first` to `end` - 1 of them.

    >>> [(s.start, s.stop) for s in shards_of("train", 5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for index in range(first, -(-num_batches // chunk_batches) if end is None else end):
        yield Shard(part, index, index * chunk_batches, min((index + 1) * chunk_batches, num_batches))

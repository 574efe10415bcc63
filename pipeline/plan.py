"""Which seeds make which batch: pure integers, before anything is sampled."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from pipeline.rng import keyed, stream_root
from schemas.batch import ID_PAD

CACHED_ROUNDS = 8


class BatchBlock(NamedTuple):
    """Consecutive batches: seeds int32 [B, S] (-1 pads), keys uint64 [B] (root of all draws), rounds int32 [B]."""

    seeds: np.ndarray
    keys: np.ndarray
    rounds: np.ndarray


@dataclass(frozen=True)
class SplitPlan:
    """Batches of one split: every round permutes the seeds anew and cuts them into batches.

    The order is that of 64-bit hashes of (rng_seed, split, round, seed), so it depends on nothing else.

    Attributes:
        seeds: int32, ids of the split's seed nodes, ascending.
        kept: int64, the batches that are written, as positions in the plan; None for all.
    """

    name: str
    seeds: np.ndarray
    batch_size: int
    num_rounds: int
    rng_seed: int
    kept: np.ndarray | None = None
    _orders: "OrderedDict[int, np.ndarray]" = field(default_factory=OrderedDict, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def batches_per_round(self) -> int:
        return -(-len(self.seeds) // self.batch_size)

    @property
    def num_planned(self) -> int:
        return self.batches_per_round * self.num_rounds

    @property
    def num_batches(self) -> int:
        return self.num_planned if self.kept is None else len(self.kept)

    def keep(self, kept: np.ndarray) -> "SplitPlan":
        """The same plan, of which only the batches at these positions are written."""
        return replace(self, kept=kept)

    def round_starts(self) -> tuple[int, ...]:
        """Where each round starts among the written batches, and the end."""
        planned = np.arange(self.num_rounds + 1) * self.batches_per_round
        starts = planned if self.kept is None else np.searchsorted(self.kept, planned)
        return tuple(int(start) for start in starts)

    def _positions(self, start: int, stop: int) -> np.ndarray:
        return np.arange(start, stop) if self.kept is None else self.kept[start:stop]

    def num_seeds(self) -> np.ndarray:
        """int32 [B]: real seeds of each written batch."""
        return self.num_seeds_at(self._positions(0, self.num_batches))

    def num_seeds_at(self, positions: np.ndarray) -> np.ndarray:
        """int32: real seeds of the planned batches at some positions."""
        in_round = positions % self.batches_per_round
        return np.minimum(self.batch_size, len(self.seeds) - in_round * self.batch_size).astype(np.int32)

    def rounds(self) -> np.ndarray:
        """int32 [B]: the round of each written batch."""
        return (self._positions(0, self.num_batches) // self.batches_per_round).astype(np.int32)

    def block(self, start: int, stop: int) -> BatchBlock:
        """The written batches start..stop."""
        positions = self._positions(start, stop)
        rounds, in_round = np.divmod(positions, self.batches_per_round)
        seeds = np.full((len(positions), self.batch_size), ID_PAD, np.int32)
        keys = np.empty(len(positions), np.uint64)
        for round_index in np.unique(rounds):
            rows = np.flatnonzero(rounds == round_index)
            order = self._order(int(round_index))
            slots = in_round[rows, None] * self.batch_size + np.arange(self.batch_size)
            seeds[rows] = np.where(slots < len(order), order[np.minimum(slots, len(order) - 1)], ID_PAD)
            root = stream_root(self.rng_seed, "sample", self.name, int(round_index))
            keys[rows] = keyed(root, in_round[rows])
        return BatchBlock(seeds, keys, rounds.astype(np.int32))

    def _order(self, round_index: int) -> np.ndarray:
        with self._lock:
            if round_index not in self._orders:
                root = stream_root(self.rng_seed, "group", self.name, round_index)
                self._orders[round_index] = self.seeds[np.argsort(keyed(root, self.seeds), kind="stable")]
                if len(self._orders) > CACHED_ROUNDS:
                    self._orders.popitem(last=False)
            return self._orders[round_index]


class Shard(NamedTuple):
    """Batches start..stop of a part, one chunk of each of its arrays; `part` is where it lies in the store."""

    part: str
    chunk: int
    start: int
    stop: int


def shards_of(part: str, num_batches: int, chunk_batches: int) -> Iterator[Shard]:
    """Cut a part into shards of K batches, the last one shorter.

    >>> [(s.start, s.stop) for s in shards_of("train", 5, 2)]
    [(0, 2), (2, 4), (4, 5)]
    """
    for index in range(-(-num_batches // chunk_batches)):
        yield Shard(part, index, index * chunk_batches, min((index + 1) * chunk_batches, num_batches))


def partitions_of(shards: list[Shard], shards_per_partition: int) -> list[list[Shard]]:
    """Contiguous runs of shards: what one worker writes in one go."""
    return [shards[i : i + shards_per_partition] for i in range(0, len(shards), shards_per_partition)]

"""In which order batches are read: pure functions of coordinates, integers in, integers out.

Batches are shuffled in two steps, shards first, then batches within each shard, so that every shard is read once
and whole. A position in an order is one integer, and resuming is starting at it.

A backend may take several batches in one call (an IPU takes device iterations x replicas x accumulation of them).
Then runs of `group` consecutive batches are shuffled as one, because a run is a view of its shard, without a copy.
"""

from typing import List, Tuple

import numpy as np

from heteroshards.schemas.layout import SPLITS
from heteroshards.schemas.manifest import SplitInfo


def random_keys(num: int, rng_seed: int, *coordinates: int) -> np.ndarray:
    """uint64 [num], a pure function of the arguments.

    The raw output of the Philox generator is the same in every numpy version; its derived methods need not be.
    """
    return np.random.Philox(np.random.SeedSequence([rng_seed, *coordinates])).random_raw(num)


def sequential_order(split: SplitInfo, round: int) -> np.ndarray:
    """Batch indices of one round in stored order, part after part and so ascending, int64 [batches of the round]."""
    pairs = zip(split.parts, split.first_batches)
    ranges = [np.arange(p.round_starts[round], p.round_starts[round + 1], dtype=np.int64) + first for p, first in pairs]
    return np.concatenate(ranges)


def shard_numbers(split: SplitInfo, batches: np.ndarray, chunk_batches: int) -> np.ndarray:
    """The shard that each batch lies in, int64: shards are numbered through the parts as batches are.

    Example: parts of 3 and 2 batches, chunk_batches 2: batches 0..4 lie in shards 0, 0, 1, 2, 2.
    """
    if len(split.parts) == 1:
        return batches // chunk_batches
    firsts = np.array(split.first_batches, dtype=np.int64)
    num_shards = -(-np.diff(firsts) // chunk_batches)
    part = np.searchsorted(firsts, batches, side="right") - 1
    return (np.cumsum(num_shards) - num_shards)[part] + (batches - firsts[part]) // chunk_batches


def shuffled_order(
    split: SplitInfo, round: int, chunk_batches: int, rng_seed: int, epoch: int, group: int = 1
) -> np.ndarray:
    """Batch indices of one round, int64 [batches of the round], each once and shard by shard.

    Shards are `chunk_batches` consecutive batches of a part, so the first and last shard of a round may
    also hold batches of its neighbours; those are left out. Shards of all parts are shuffled together.

    Example: one part, round_starts (0, 5, 10), chunk_batches 4. Round 1 holds batches 5..9 of shards 1 (4..7) and 2
    (8..11). One order is [9, 8, 5, 7, 6]: shard 2, then what round 1 has of shard 1. With group 2 it could be
    [8, 9, 7, 5, 6].
    """
    batches = sequential_order(split, round)
    if len(batches) == 0:
        return batches
    shards = np.unique(shard_numbers(split, batches, chunk_batches), return_inverse=True)[1]
    coordinates = (epoch, SPLITS.index(split.name), round)
    shard_keys = random_keys(int(shards[-1]) + 1, rng_seed, 0, *coordinates)
    batch_keys = random_keys(len(batches), rng_seed, 1, *coordinates)
    place = np.arange(len(batches))
    in_shard = place - np.searchsorted(shards, shards)
    group_keys = batch_keys[place - in_shard % group]  # all batches of a group sort by the key of its first
    return batches[np.lexsort((place, group_keys, shards, shard_keys[shards]))]


def rest_of(order: np.ndarray, is_out: np.ndarray, position: int, group: int) -> Tuple[np.ndarray, np.ndarray]:
    """What is left of an order that some batches are taken out of: whole calls, and where each of them leads.

    Calls are filled with the batches that follow those taken out, the last one with the order's first. The result
    depends on when the reader learned what to leave out no more than on where it stopped before.

    Args:
        is_out: bool, for each batch of `order`.
        position: in `order`, taken-out batches counted.

    Returns:
        Batches, a multiple of `group`, and the position in `order` after each call.

    >>> rest_of(np.array([4, 0, 2, 3, 1]), np.array([False, False, True, False, False]), 1, 2)
    (array([0, 3, 1, 4]), array([4, 5]))
    """
    kept = np.flatnonzero(~is_out)
    places = kept[kept >= position]
    if len(places) == 0:
        return places, places
    filled = np.concatenate([places, np.resize(kept, -len(places) % group)])
    ends = np.append(places[group::group], len(order))  # a call ends where the next one begins
    return order[filled], ends


def shard_runs(shards: np.ndarray) -> List[Tuple[int, int]]:
    """The runs of one shard each in an order, as (begin, end), from the `shard_numbers` of its batches."""
    if len(shards) == 0:
        return []
    changes = [int(i) + 1 for i in np.flatnonzero(np.diff(shards))]
    return list(zip([0, *changes], [*changes, len(shards)]))

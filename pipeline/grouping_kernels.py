"""Numba kernels that move seeds between groups until no type is much fuller in one group than in another.

A seed's sample is a set of *elements*: one per node of a type, and one per expansion of a node along an edge type,
weighted by the edges drawn. A group's load of a type is the weight of the union of its seeds' elements, which is the
size of its batch (see `pipeline.grouping`). Everything is an integer, so that every machine finds the same groups.

Letters: N seeds, G groups, M members at most, D types (node types, then edge types), U elements.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from pipeline.draws import below, mix

EMPTY = -1
SCALE = 1024  # fixed point of overlap ratios


class Contributions(NamedTuple):
    """What each seed brings into a batch.

    Attributes:
        first: int64 [N + 1], where each seed's elements start in `element`.
        element: int32 [all], distinct within a seed.
        kind: int32 [U], the type that an element counts for. weight: int32 [U], how much.
        own: int64 [N, D], load of each seed alone.
    """

    first: np.ndarray
    element: np.ndarray
    kind: np.ndarray
    weight: np.ndarray
    own: np.ndarray


class Groups(NamedTuple):
    """Groups of seeds, and how often each holds each element.

    Attributes:
        members: int64 [G, M], seeds; size: int64 [G], how many of them.
        load: int64 [G, D].
        slots: int32 [G, capacity, 2], open-addressing tables, capacity a power of two: an element (EMPTY: free), and
            how many members have it; one that none has any more keeps its slot until the table is rebuilt.
        used: int64 [G], slots that are not free.
    """

    members: np.ndarray
    size: np.ndarray
    load: np.ndarray
    slots: np.ndarray
    used: np.ndarray


@njit(cache=True, nogil=True)
def number_elements(keys, slots, slot_ids, element, kind, weight, key_kind, key_weight):
    """Number distinct keys 0, 1, ... in order of appearance.

    Args:
        keys: int64 [all]; slots: int64 [capacity], all EMPTY, a power of two of at least twice `keys.size`;
        slot_ids: int32 [capacity]. key_kind, key_weight: int32 [all].

    Writes element int32 [all], and kind, weight int32 [>= distinct]; returns how many are distinct.
    """
    mask = np.uint64(slots.size - 1)
    num = 0
    for i in range(keys.size):
        slot = mix(np.uint64(keys[i])) & mask
        while slots[slot] != EMPTY and slots[slot] != keys[i]:
            slot = (slot + np.uint64(1)) & mask
        if slots[slot] == EMPTY:
            slots[slot] = keys[i]
            slot_ids[slot] = num
            kind[num], weight[num] = key_kind[i], key_weight[i]
            num += 1
        element[i] = slot_ids[slot]
    return num


@njit(cache=True, nogil=True)
def _find(slots, group, element):
    """The slot of an element in its group's table, or the free one where it belongs."""
    mask = np.uint64(slots.shape[1] - 1)
    slot = (np.uint64(element) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32)) & mask
    while slots[group, slot, 0] != EMPTY and slots[group, slot, 0] != element:
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit(cache=True, nogil=True)
def _add(seeds, groups, group, seed):
    for i in range(seeds.first[seed], seeds.first[seed + 1]):
        element = seeds.element[i]
        slot = _find(groups.slots, group, element)
        if groups.slots[group, slot, 0] == EMPTY:
            groups.slots[group, slot, 0] = element
            groups.slots[group, slot, 1] = 0
            groups.used[group] += 1
        if groups.slots[group, slot, 1] == 0:
            groups.load[group, seeds.kind[element]] += seeds.weight[element]
        groups.slots[group, slot, 1] += 1


@njit(cache=True, nogil=True)
def _remove(seeds, groups, group, seed):
    for i in range(seeds.first[seed], seeds.first[seed + 1]):
        element = seeds.element[i]
        slot = _find(groups.slots, group, element)
        groups.slots[group, slot, 1] -= 1
        if groups.slots[group, slot, 1] == 0:
            groups.load[group, seeds.kind[element]] -= seeds.weight[element]


@njit(cache=True, nogil=True)
def _rebuild(seeds, groups, group):
    """Drop the slots of elements that are no longer there."""
    groups.slots[group, :, 0] = EMPTY
    groups.load[group, :] = 0
    groups.used[group] = 0
    for m in range(groups.size[group]):
        _add(seeds, groups, group, groups.members[group, m])


@njit(cache=True, nogil=True)
def fill_groups(seeds, groups):
    """Count the elements of every group anew from `members` and `size`."""
    for group in range(groups.size.size):
        _rebuild(seeds, groups, group)


@njit(cache=True, nogil=True)
def _has_room(seeds, groups, group, seed):
    """Whether a seed's elements surely fit the group's table, which is kept at most three quarters full."""
    limit = 3 * groups.slots.shape[1] // 4
    wanted = seeds.first[seed + 1] - seeds.first[seed]
    if groups.used[group] + wanted > limit:
        _rebuild(seeds, groups, group)
    return groups.used[group] + wanted <= limit


@njit(cache=True, nogil=True)
def _excess(load, target):
    """Sum over types of the squared load above the target, int64 [D] each."""
    total = np.int64(0)
    for d in range(load.size):
        over = load[d] - target[d]
        if over > 0:
            total += over * over
    return total


@njit(cache=True, nogil=True)
def _promises(seeds, groups, from_group, to_group, mover, back, target, overlap, before):
    """Whether moving `mover` (and `back` the other way, EMPTY for none) looks like lowering the excess of both groups.

    A cheap look that takes elements as shared at the average rate: `overlap` is int64 [D], union over sum, in 1/SCALE.
    """
    expected = np.int64(0)
    for d in range(target.size):
        moved = seeds.own[mover, d] - (seeds.own[back, d] if back != EMPTY else 0)
        moved = moved * overlap[d] // SCALE
        over = groups.load[from_group, d] - moved - target[d]
        if over > 0:
            expected += over * over
        over = groups.load[to_group, d] + moved - target[d]
        if over > 0:
            expected += over * over
    return expected < before


@njit(cache=True, nogil=True)
def _replace(seeds, groups, group, old, new):
    """Take seed `old` out of a group's table and load, and `new` in (EMPTY: none); `members` stays."""
    if old != EMPTY:
        _remove(seeds, groups, group, old)
    if new != EMPTY:
        _add(seeds, groups, group, new)


@njit(cache=True, nogil=True)
def _is_within(load, ceiling):
    for d in range(load.size):  # noqa: SIM110, numba has no all()
        if load[d] > ceiling[d]:
            return False
    return True


@njit(cache=True, nogil=True)
def _improves(seeds, groups, one, other, mover, back, target, ceiling, before):
    """Exchange two seeds if that lowers the excess of both groups below `before`, else leave the groups alone."""
    if not _has_room(seeds, groups, other, mover) or (back != EMPTY and not _has_room(seeds, groups, one, back)):
        return False
    _replace(seeds, groups, other, back, mover)
    after = _excess(groups.load[other], target)
    if after < before and _is_within(groups.load[other], ceiling):
        _replace(seeds, groups, one, mover, back)
        after += _excess(groups.load[one], target)
        if after < before and _is_within(groups.load[one], ceiling):
            return True
        _replace(seeds, groups, one, back, mover)
    _replace(seeds, groups, other, mover, back)
    return False


@njit(cache=True, nogil=True)
def _seat(groups, one, row, other, back_row, is_move):
    """Write an exchange down in `members` and `size`."""
    mover = groups.members[one, row]
    if not is_move:
        groups.members[one, row], groups.members[other, back_row] = groups.members[other, back_row], mover
        return
    groups.size[one] -= 1
    groups.members[one, row] = groups.members[one, groups.size[one]]
    groups.members[other, groups.size[other]] = mover
    groups.size[other] += 1


@njit(cache=True, nogil=True)
def _try(seeds, groups, one, target, ceiling, overlap, state, is_moving, is_blind):
    """Draw a seed of group `one`, another group and one of its seeds (or none: a move), and exchange them if it pays.

    Returns the next state, and the other group, or EMPTY where nothing has changed.
    """
    state, other = below(state, groups.size.size)
    state, row = below(state, groups.size[one])
    state, back_row = below(state, groups.size[other])
    state, coin = below(state, 2)
    is_move = is_moving and coin == 1
    if other == one or (is_move and (groups.size[other] == groups.members.shape[1] or groups.size[one] == 1)):
        return state, EMPTY
    mover = groups.members[one, row]
    back = EMPTY if is_move else groups.members[other, back_row]
    before = _excess(groups.load[one], target) + _excess(groups.load[other], target)
    if not is_blind and not _promises(seeds, groups, one, other, mover, back, target, overlap, before):
        return state, EMPTY
    if not _improves(seeds, groups, one, other, mover, back, target, ceiling, before):
        return state, EMPTY
    _seat(groups, one, row, other, back_row, is_move)
    return state, other


@njit(cache=True, nogil=True)
def approach(seeds, groups, target, ceiling, overlap, state, max_tries, is_moving):
    """Swap (and, with `is_moving`, move) seeds at random until every load is at most `target`, int64 [D].

    What lowers the squared excess of the two groups concerned is kept, unless a load would rise above `ceiling`,
    int64 [D]. No group is emptied or gets more than M members. Gives up after `max_tries` proposals.

    Returns:
        How many groups may still be over the target (0: none is), and the next state of the draws.
    """
    over, is_over = np.empty(groups.size.size, np.int64), np.zeros(groups.size.size, np.bool_)
    num_over = 0
    for group in range(groups.size.size):
        if _excess(groups.load[group], target) > 0:
            over[num_over], is_over[group] = group, True
            num_over += 1
    tries = 0
    while num_over > 0 and tries < max_tries:
        tries += 1
        state, at = below(state, num_over)
        one = over[at]
        if _excess(groups.load[one], target) == 0:
            is_over[one] = False
            num_over -= 1
            over[at] = over[num_over]
            continue
        # One in 16 is tried all the same: the average overlap does not see what two seeds really share.
        state, other = _try(seeds, groups, one, target, ceiling, overlap, state, is_moving, tries % 16 == 0)
        if other != EMPTY and not is_over[other] and _excess(groups.load[other], target) > 0:
            over[num_over], is_over[other] = other, True
            num_over += 1
    return num_over, state


@njit(cache=True, nogil=True)
def set_overlap(seeds, groups, overlap):
    """Write union over sum of each type's loads to `overlap`, int64 [D], in 1/SCALE."""
    for d in range(overlap.size):
        overlap[d] = SCALE * groups.load[:, d].sum() // max(1, seeds.own[:, d].sum())


@njit(cache=True, nogil=True)
def level(seeds, groups, state, tries_per_seed, max_phases, is_moving):
    """Lower the largest load of every type towards its mean, step by step.

    Each phase asks every type to come some way from its largest load down to its mean. A type that fails is asked
    for half as much next time, and left alone after three failures; no load ever rises above the largest one so far.

    Seeds that share neighbors make smaller groups, so means fall, too. They are not followed: no type is asked for
    less than its mean was at random, so that groups do not turn into clusters.
    """
    num_groups, num_types = groups.load.shape
    max_tries = tries_per_seed * (seeds.first.size - 1)
    ceiling, target = np.empty(num_types, np.int64), np.empty(num_types, np.int64)
    failures, halvings = np.zeros(num_types, np.int64), np.ones(num_types, np.int64)
    overlap, least = np.empty(num_types, np.int64), np.empty(num_types, np.int64)
    for d in range(num_types):
        least[d] = -(-groups.load[:, d].sum() // num_groups)
    for _ in range(max_phases):
        is_asked = False
        for d in range(num_types):
            ceiling[d] = groups.load[:, d].max()
            gap = ceiling[d] - max(least[d], -(-groups.load[:, d].sum() // num_groups))
            target[d] = ceiling[d]
            if gap > 0 and failures[d] < 3:
                target[d] -= max(1, gap >> halvings[d])
                is_asked = True
        if not is_asked:
            return
        set_overlap(seeds, groups, overlap)
        _, state = approach(seeds, groups, target, ceiling, overlap, state, max_tries, is_moving)
        for d in range(num_types):
            if groups.load[:, d].max() > target[d]:
                failures[d] += 1
                halvings[d] += 1
            elif target[d] < ceiling[d]:
                failures[d] = 0

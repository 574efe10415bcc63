"""Numba kernels that move seeds between groups until no type is much fuller in one group than in another.

A group's load of a type is what its seeds bring, bundles that several of them bring counted once (see
`pipeline.grouping.contributions`), which is the size of its batch. Everything is an integer, so that every machine
finds the same groups.

Numba counts references to every array of a tuple wherever it is handed on by a function that was given it, unless what
is called is simple enough to be inlined. So `approach` calls small functions that call next to nothing themselves.

Letters: N seeds, G groups, M members at most, D types (node types, then edge types).
"""

from typing import NamedTuple

import numpy as np

from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.draws import below

EMPTY = -1  # no seed, no group, or a free slot
SCALE_BITS = 10
SCALE = 1 << SCALE_BITS  # fixed point of overlap ratios
FORBIDDEN = np.int64(2**63 - 1)


class Groups(NamedTuple):
    """Groups of seeds, and how many members of each bring each bundle.

    Attributes:
        members: int32 [G, M], seeds; size: int64 [G], how many of them.
        load: int64 [G, D].
        keys: int32 [G, capacity], open-addressing tables of bundles (EMPTY: free), capacity a power of two.
        counts: int32 [G, capacity], how many members bring each, 1 or more.
        used: int64 [G], slots that are not free: at most three quarters of all.
    """

    members: np.ndarray
    size: np.ndarray
    load: np.ndarray
    keys: np.ndarray
    counts: np.ndarray
    used: np.ndarray


@njit(cache=True, nogil=True)
def _home(bundle, mask):
    return np.uint64(bundle) * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(32) & mask


@njit(cache=True, nogil=True)
def _count(groups, group, bundle):
    """How many members of a group bring a bundle."""
    mask = np.uint64(groups.keys.shape[1] - 1)
    slot = _home(bundle, mask)
    while groups.keys[group, slot] != bundle:
        if groups.keys[group, slot] == EMPTY:
            return np.int32(0)
        slot = (slot + np.uint64(1)) & mask
    return groups.counts[group, slot]


@njit(cache=True, nogil=True)
def _enter(seeds, groups, group, seed):
    """Count the bundles of a seed in its group's table."""
    mask = np.uint64(groups.keys.shape[1] - 1)
    for i in range(seeds.first[seed], seeds.first[seed + 1]):
        bundle = seeds.bundle[i]
        slot = _home(bundle, mask)
        while groups.keys[group, slot] != EMPTY and groups.keys[group, slot] != bundle:
            slot = (slot + np.uint64(1)) & mask
        if groups.keys[group, slot] == EMPTY:
            groups.keys[group, slot], groups.counts[group, slot] = bundle, 0
            groups.used[group] += 1
        groups.counts[group, slot] += 1


@njit(cache=True, nogil=True)
def _leave(seeds, groups, group, seed):
    """Take the bundles of a member out of its group's table."""
    mask = np.uint64(groups.keys.shape[1] - 1)
    for i in range(seeds.first[seed], seeds.first[seed + 1]):
        bundle = seeds.bundle[i]
        slot = _home(bundle, mask)
        while groups.keys[group, slot] != bundle:
            slot = (slot + np.uint64(1)) & mask
        groups.counts[group, slot] -= 1
        if groups.counts[group, slot] == 0:
            _free(groups, group, slot, mask)
            groups.used[group] -= 1


@njit(cache=True, nogil=True)
def _free(groups, group, slot, mask):
    """Free a slot, and let those behind it move up that would not be found any more (Knuth, TAOCP 3, 6.4, R)."""
    later = slot
    while True:
        groups.keys[group, slot] = EMPTY
        while True:
            later = (later + np.uint64(1)) & mask
            if groups.keys[group, later] == EMPTY:
                return
            home = _home(groups.keys[group, later], mask)
            if (later - home) & mask >= (later - slot) & mask:
                break
        groups.keys[group, slot], groups.counts[group, slot] = groups.keys[group, later], groups.counts[group, later]
        slot = later


@njit(cache=True, nogil=True)
def _set_change(seeds, groups, group, leaving, entering, once, change):
    """Write to `change`, int64 [D], what the loads of a group gain when two seeds (EMPTY: none) leave and enter it.

    `once`, int32 [most bundles of a seed], is for those of the entering seed that a single member of the group brings:
    they stay even if it is that one which leaves.
    """
    change[:] = 0
    num_once = 0
    if entering != EMPTY:
        for d in range(change.size):
            change[d] += seeds.own[entering, d]
        for i in range(seeds.first[entering], seeds.first[entering + 1]):
            count = _count(groups, group, seeds.bundle[i])
            if count > 0:
                _add_bundle(seeds, seeds.bundle[i], -1, change)
                if count == 1:
                    once[num_once] = seeds.bundle[i]
                    num_once += 1
    if leaving != EMPTY:
        for d in range(change.size):
            change[d] -= seeds.own[leaving, d]
        for i in range(seeds.first[leaving], seeds.first[leaving + 1]):
            bundle = seeds.bundle[i]
            count = _count(groups, group, bundle)
            stays = count > 1
            if count == 1:
                for j in range(num_once):
                    stays |= once[j] == bundle
            if stays:
                _add_bundle(seeds, bundle, 1, change)


@njit(cache=True, nogil=True)
def _add_bundle(seeds, bundle, times, load):
    for i in range(seeds.part[bundle], seeds.part[bundle + 1]):
        load[seeds.kind[i]] += times * seeds.weight[i]


@njit(cache=True, nogil=True)
def _most_bundles(first):
    most = 0
    for seed in range(first.size - 1):
        most = max(most, first[seed + 1] - first[seed])
    return most


@njit(cache=True, nogil=True)
def fill_groups(seeds, groups):
    """Count the bundles and loads of every group from `members` and `size`; all else must be empty."""
    once, change = np.empty(_most_bundles(seeds.first), np.int32), np.empty(seeds.own.shape[1], np.int64)
    for group in range(groups.size.size):
        for m in range(groups.size[group]):
            seed = groups.members[group, m]
            _set_change(seeds, groups, group, EMPTY, seed, once, change)
            _enter(seeds, groups, group, seed)
            _add(groups.load, group, change)


@njit(cache=True, nogil=True)
def _add(load, group, change):
    for d in range(change.size):
        load[group, d] += change[d]


@njit(cache=True, nogil=True)
def _has_room(used, capacity, first, seed):
    """Whether a seed's bundles surely fit a group's table, which is kept at most three quarters full."""
    return seed == EMPTY or used + first[seed + 1] - first[seed] <= 3 * capacity // 4


@njit(cache=True, nogil=True)
def _excess(load, group, target):
    """Sum over types of the squared load of a group above the target, int64 [D]."""
    total = np.int64(0)
    for d in range(target.size):
        over = max(load[group, d] - target[d], 0)
        total += over * over
    return total


@njit(cache=True, nogil=True)
def _excess_after(load, group, change, target, ceiling):
    """The excess of a group after a change, FORBIDDEN where a load would rise above the ceiling."""
    total = np.int64(0)
    for d in range(target.size):
        changed = load[group, d] + change[d]
        if changed > ceiling[d]:
            return FORBIDDEN
        over = max(changed - target[d], 0)
        total += over * over
    return total


@njit(cache=True, nogil=True)
def _promises(load, own, one, other, mover, back, target, overlap, before):
    """Whether moving `mover` from one group to another (and `back` from there, EMPTY for none) looks like lowering
    the excess of both.

    A cheap look that takes bundles as shared at the average rate: `overlap` is int64 [D], union over sum, in 1/SCALE.
    """
    expected = np.int64(0)
    for d in range(target.size):
        moved = np.int64(own[mover, d]) - (own[back, d] if back != EMPTY else 0)
        moved = moved * overlap[d] >> SCALE_BITS
        over = max(load[one, d] - moved - target[d], 0)
        expected += over * over
        over = max(load[other, d] + moved - target[d], 0)
        expected += over * over
        if expected >= before:
            return False
    return True


@njit(cache=True, nogil=True)
def _draw(size, one, state):
    """Draw for an exchange with group `one`: another group, a row of each, and a coin. Returns the next state, too."""
    state, other = below(state, size.size)
    state, row = below(state, size[one])
    state, back_row = below(state, size[other])
    state, coin = below(state, 2)
    return state, other, row, back_row, coin == 1


@njit(cache=True, nogil=True)
def _seat(members, size, one, row, other, back_row, is_move):
    """Write an exchange down in `members` and `size`."""
    mover = members[one, row]
    if not is_move:
        members[one, row], members[other, back_row] = members[other, back_row], mover
        return
    size[one] -= 1
    members[one, row] = members[one, size[one]]
    members[other, size[other]] = mover
    size[other] += 1


@njit(cache=True, nogil=True)
def _list_over(load, target, excess, over, is_over):
    """Write every group's excess, and list those that have any; returns how many."""
    num_over = 0
    for group in range(excess.size):
        excess[group] = _excess(load, group, target)
        is_over[group] = excess[group] > 0
        if is_over[group]:
            over[num_over] = group
            num_over += 1
    return num_over


@njit(cache=True, nogil=True)
def _strike_out(over, is_over, at, num_over):
    """Take entry `at` from the list of groups; returns how many are left."""
    is_over[over[at]] = False
    over[at] = over[num_over - 1]
    return num_over - 1


@njit(cache=True, nogil=True)
def _exchange(seeds, groups, one, mover, back, change, other, other_change):
    """`mover` goes from group `one` to `other`, and `back` the other way, unless it is EMPTY; the loads follow."""
    _leave(seeds, groups, one, mover)
    _enter(seeds, groups, other, mover)
    if back != EMPTY:
        _leave(seeds, groups, other, back)
        _enter(seeds, groups, one, back)
    _add(groups.load, one, change)
    _add(groups.load, other, other_change)


@njit(cache=True, nogil=True)
def approach(seeds, groups, target, ceiling, overlap, state, max_tries, is_moving):
    """Swap (and, with `is_moving`, move) seeds at random until every load is at most `target`, int64 [D].

    What lowers the squared excess of the two groups concerned is kept, unless a load would rise above `ceiling`,
    int64 [D]. No group is emptied or gets more than M members. Gives up after `max_tries` proposals.

    Returns:
        How many groups may still be over the target (0: none is), and the next state of the draws.
    """
    own, first, load, size, used = seeds.own, seeds.first, groups.load, groups.size, groups.used
    num_groups, most_members, capacity = groups.members.shape[0], groups.members.shape[1], groups.keys.shape[1]
    change, other_change = np.empty(target.size, np.int64), np.empty(target.size, np.int64)
    excess, over = np.empty(num_groups, np.int64), np.empty(num_groups, np.int64)
    once, is_over = np.empty(_most_bundles(first), np.int32), np.empty(num_groups, np.bool_)
    num_over, tries = _list_over(load, target, excess, over, is_over), 0
    while num_over > 0 and tries < max_tries:
        tries += 1
        state, at = below(state, num_over)
        one = over[at]
        if excess[one] == 0:
            num_over = _strike_out(over, is_over, at, num_over)
            continue
        state, other, row, back_row, is_move = _draw(size, one, state)
        is_move &= is_moving
        if other == one or (is_move and (size[other] == most_members or size[one] == 1)):
            continue
        mover = groups.members[one, row]
        back = np.int32(EMPTY) if is_move else groups.members[other, back_row]
        before = excess[one] + excess[other]
        # One in 16 is tried all the same: the average overlap does not see what two seeds really share.
        if tries % 16 and not _promises(load, own, one, other, mover, back, target, overlap, before):
            continue
        if not (_has_room(used[other], capacity, first, mover) and _has_room(used[one], capacity, first, back)):
            continue
        _set_change(seeds, groups, other, back, mover, once, other_change)
        of_other = _excess_after(load, other, other_change, target, ceiling)
        if of_other >= before:
            continue
        _set_change(seeds, groups, one, mover, back, once, change)
        of_one = _excess_after(load, one, change, target, ceiling)
        if of_one >= before - of_other:
            continue
        _exchange(seeds, groups, one, mover, back, change, other, other_change)
        excess[one], excess[other] = of_one, of_other
        _seat(groups.members, size, one, row, other, back_row, is_move)
        if not is_over[other] and of_other > 0:
            over[num_over], is_over[other] = other, True
            num_over += 1
    return num_over, state


@njit(cache=True, nogil=True)
def set_overlap(groups, alone, overlap):
    """Write union over sum of each type's loads to `overlap`, int64 [D], in 1/SCALE; `alone`: int64 [D], the sums."""
    for d in range(overlap.size):
        overlap[d] = SCALE * groups.load[:, d].sum() // max(1, alone[d])


@njit(cache=True, nogil=True)
def level(seeds, groups, alone, state, tries_per_seed, max_phases, worth, patience, is_moving):
    """Lower the largest load of every type towards its mean, step by step.

    Each phase asks every type to come some way from its largest load down to its mean. A type that fails is asked
    for half as much next time, and left alone after three failures; no load ever rises above the largest one so far.

    Seeds that share neighbors make smaller groups, so means fall, too. They are not followed: no type is asked for
    less than its mean was at random, so that groups do not turn into clusters. For `alone` see `set_overlap`.

    Ends when `patience` phases in a row have each lowered the sum of the largest loads by less than a share of
    1/`worth`.
    """
    num_groups, num_types = groups.load.shape
    max_tries = tries_per_seed * (seeds.first.size - 1)
    ceiling, target = np.empty(num_types, np.int64), np.empty(num_types, np.int64)
    failures, halvings = np.zeros(num_types, np.int64), np.ones(num_types, np.int64)
    overlap, least = np.empty(num_types, np.int64), np.empty(num_types, np.int64)
    for d in range(num_types):
        least[d] = -(-groups.load[:, d].sum() // num_groups)
    idle = 0
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
        set_overlap(groups, alone, overlap)
        _, state = approach(seeds, groups, target, ceiling, overlap, state, max_tries, is_moving)
        for d in range(num_types):
            if groups.load[:, d].max() > target[d]:
                failures[d] += 1
                halvings[d] += 1
            elif target[d] < ceiling[d]:
                failures[d] = 0
        gain = np.int64(0)
        for d in range(num_types):
            gain += ceiling[d] - groups.load[:, d].max()
        idle = idle + 1 if gain * worth < ceiling.sum() else 0
        if idle == patience:
            return

"""Numba kernels that find out what seeds share: from the elements of their samples to bundles.

Letters as in `pipeline.grouping.contributions`.
"""

import numpy as np

from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.draws import mix

EMPTY = -1  # no seed, no bundle, or a free slot


@njit(cache=True, nogil=True)
def number_elements(keys, slots):
    """Number distinct keys 0, 1, ... in order of appearance.

    Args:
        keys: int64 [all]. slots: int32 [capacity], all EMPTY, a power of two of at least twice `keys.size`.

    Returns:
        int32 [all], the number of each; int64 [U], where each first appears; int32 [U], how often each does.
    """
    mask = np.uint64(slots.size - 1)
    element = np.empty(keys.size, np.int32)
    example, degree = np.empty(keys.size, np.int64), np.empty(keys.size, np.int32)
    num = 0
    for i in range(keys.size):
        slot = mix(np.uint64(keys[i])) & mask
        found = slots[slot]
        while found != EMPTY and keys[example[found]] != keys[i]:
            slot = (slot + np.uint64(1)) & mask
            found = slots[slot]
        if found == EMPTY:
            found = np.int32(num)
            slots[slot] = found
            example[found], degree[found] = i, 0
            num += 1
        element[i] = found
        degree[found] += 1
    return element, example[:num], degree[:num]


@njit(cache=True, nogil=True)
def own_loads(first, kinds, weights, num_types):
    """int32 [N, D], from the kinds and weights, int32 [all], of every seed's elements."""
    own = np.zeros((first.size - 1, num_types), np.int32)
    for seed in range(first.size - 1):
        for i in range(first[seed], first[seed + 1]):
            own[seed, kinds[i]] += weights[i]
    return own


@njit(cache=True, nogil=True)
def bundle_elements(first, element, degree):
    """The bundle of each element, int32 [U], EMPTY where only one seed brings it; and how many bundles there are.

    All elements start in one bundle, and each seed in turn parts what it brings from what it does not.
    """
    bundle_of = np.zeros(degree.size, np.int32)
    parted_by, parted_to = np.full(element.size + 1, EMPTY, np.int32), np.empty(element.size + 1, np.int32)
    num = 1
    for seed in range(first.size - 1):
        for i in range(first[seed], first[seed + 1]):
            old = bundle_of[element[i]]
            if parted_by[old] != seed:
                parted_by[old], parted_to[old] = seed, num
                num += 1
            bundle_of[element[i]] = parted_to[old]
    renumbered, num = parted_by, 0
    renumbered[:] = EMPTY
    for i in range(degree.size):
        old = bundle_of[i]
        if degree[i] == 1:
            bundle_of[i] = EMPTY
            continue
        if renumbered[old] == EMPTY:
            renumbered[old] = num
            num += 1
        bundle_of[i] = renumbered[old]
    return bundle_of, num


@njit(cache=True, nogil=True)
def order_by_bundle(bundle_of, num_bundles):
    """Where each bundle's elements start, int64 [C + 1], and the elements, int64 [parts], in the order of bundles."""
    start = np.zeros(num_bundles + 2, np.int64)
    for i in range(bundle_of.size):
        if bundle_of[i] != EMPTY:
            start[bundle_of[i] + 2] += 1
    for b in range(num_bundles):
        start[b + 2] += start[b + 1]
    order = np.empty(start[num_bundles + 1], np.int64)
    for i in range(bundle_of.size):
        if bundle_of[i] != EMPTY:
            order[start[bundle_of[i] + 1]] = i
            start[bundle_of[i] + 1] += 1
    return start[:-1], order


@njit(cache=True, nogil=True)
def list_bundles(first, element, bundle_of, num_bundles):
    """Where each seed's bundles start, int64 [N + 1], and the bundles, int32 [all]."""
    bundle_first, bundle = np.zeros(first.size, np.int64), np.empty(element.size, np.int32)
    last_seed = np.full(num_bundles, EMPTY, np.int32)
    n = 0
    for seed in range(first.size - 1):
        for i in range(first[seed], first[seed + 1]):
            found = bundle_of[element[i]]
            if found != EMPTY and last_seed[found] != seed:
                last_seed[found] = seed
                bundle[n] = found
                n += 1
        bundle_first[seed + 1] = n
    return bundle_first, bundle[:n].copy()

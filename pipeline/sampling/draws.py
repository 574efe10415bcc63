"""Draws inside numba kernels: pure functions of a 64-bit state.

They decide the bytes of every store, so they never change. (Nor may they without all kernels that call them changing,
too: numba's cache on disk notices a change of the file that a kernel is in, not of the kernels it calls.)
"""

import numpy as np

from heteroshards.pipeline.jit import njit
from heteroshards.pipeline.sampling.rng import GOLDEN, MIX_1, MIX_2

_GOLDEN = np.uint64(GOLDEN)
_MIX_1 = np.uint64(MIX_1)
_MIX_2 = np.uint64(MIX_2)
_S11, _S27, _S30, _S31, _S32 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
_TWO_53 = 2.0**-53
_LOW32 = np.uint64(0xFFFFFFFF)
_TWO32 = np.uint64(1 << 32)


@njit(cache=True, nogil=True, inline="always")
def mix(z):
    z = z + _GOLDEN
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(cache=True, nogil=True, inline="always")
def below(state, bound):
    """Draw uniformly from [0, bound), 0 < bound <= 2**32; returns (next state, draw).

    Multiply-shift with rejection, exactly uniform (Lemire: Fast random integer generation in an interval, 2019).
    """
    n = np.uint64(bound)
    product = (mix(state) >> _S32) * n
    state = state + _GOLDEN
    if (product & _LOW32) < n:
        threshold = (_TWO32 - n) % n
        while (product & _LOW32) < threshold:
            product = (mix(state) >> _S32) * n
            state = state + _GOLDEN
    return state, np.int64(product >> _S32)


@njit(cache=True, nogil=True)
def pick(state, degree, count, replace, picks):
    """Write `count` positions from [0, degree) to picks, each subset equally likely (or with replacement).

    Few out of many: Floyd's algorithm (Bentley, Floyd: A sample of brilliance, CACM 1987), whose j-th draw is from
    [0, j], j included. Otherwise selection sampling (Knuth, TAOCP 2, 3.4.2, algorithm S), linear in degree.
    """
    if replace:
        for i in range(count):
            state, picks[i] = below(state, degree)
        return
    if count > 32 and count * count > 16 * degree:
        taken = 0
        for i in range(degree):
            state, draw = below(state, degree - i)
            if draw < count - taken:
                picks[taken] = i
                taken += 1
        return
    for i in range(count):
        j = degree - count + i
        state, draw = below(state, j + 1)
        for k in range(i):
            if picks[k] == draw:
                draw = j
                break
        picks[i] = draw


MOST_REFUSED = 32  # draws of what is taken already, before what is left is looked at one by one


@njit(cache=True, nogil=True, inline="always")
def _unit(state):
    """A double from [0, 1): 53 bits."""
    return np.float64(mix(state) >> _S11) * _TWO_53


@njit(cache=True, nogil=True)
def pick_weighted(state, all_sums, start, is_first, degree, count, replace, picks):
    """Write `count` positions from [0, degree) to picks, each drawn with a probability in proportion to its weight.

    Without replacement each draw is among what is left, as Efraimidis and Spirakis' sampling has it (Weighted random
    sampling with a reservoir, 2006); `count` is less than there are. A draw is repeated until it hits what is left,
    which is the same. Weights are all positive.

    Args:
        all_sums: float64, from `start` on of each position the sum of its weight and those before it; and of those
            before `start`, unless `is_first`.
    """
    sums, before = all_sums[start : start + degree], 0.0 if is_first else all_sums[start - 1]
    total = sums[degree - 1] - before
    for i in range(count):
        refused = 0
        while True:
            drawn = np.searchsorted(sums, before + _unit(state) * total, side="right")
            state = state + _GOLDEN
            drawn = min(drawn, degree - 1)
            if replace or not _is_taken(picks, i, drawn):
                break
            refused += 1
            if refused == MOST_REFUSED:
                drawn = _pick_left(_unit(state), sums, before, i, picks)
                state = state + _GOLDEN
                break
        picks[i] = drawn


@njit(cache=True, nogil=True, inline="always")
def _is_taken(picks, count, position):
    for k in range(count):  # noqa: SIM110, numba has no any()
        if picks[k] == position:
            return True
    return False


@njit(cache=True, nogil=True)
def _pick_left(unit, sums, before, taken, picks):
    """The position that a number from [0, 1) hits among those that are not among the first `taken` of picks."""
    left = sums[-1] - before
    for k in range(taken):
        left -= sums[picks[k]] - (sums[picks[k] - 1] if picks[k] > 0 else before)
    wanted, last = unit * left, 0
    for position in range(sums.size):
        if not _is_taken(picks, taken, position):
            last = position
            wanted -= sums[position] - (sums[position - 1] if position > 0 else before)
            if wanted < 0:
                break
    return last

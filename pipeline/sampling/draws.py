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
_S27, _S30, _S31, _S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
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

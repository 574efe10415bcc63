"""Aligned memory that is reused, but never while anything still refers to it."""

import weakref
from collections import defaultdict
from typing import Callable, DefaultDict, List

import numpy as np

from heteroshards.schemas.store.memory import PAGE_BYTES, aligned_place


class BufferPool:
    """Hands out aligned buffers; one comes back by itself when the last array or tensor made from it is gone.

    A fresh buffer of some megabytes costs a page fault per page, which is slower than reading into it, so buffers
    are reused. What a consumer (or autograd) does with its tensors is not known here. So what is handed out is part of
    an array made for this one time, the lease: every view in numpy refers to it, and so does the storage of
    `torch.from_numpy(view)`, which all views of that tensor share. When it dies, its memory may be leased again. To
    keep tensors costs memory, never correctness. Memory goes back when pool and leases are dropped.

    Args:
        allocate: makes uninitialised uint8 [num_bytes].
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = lambda size: np.empty(size, np.uint8)) -> None:
        self._allocate = allocate
        self._idle: DefaultDict[int, List[np.ndarray]] = defaultdict(list)
        self.num_buffers = 0

    def take(self, num_bytes: int) -> np.ndarray:
        """uint8 [num_bytes], page-aligned, contents undefined, shared with nobody. For any threads."""
        idle = self._idle[num_bytes]
        try:
            memory = idle.pop()
        except IndexError:
            memory = self._allocate(num_bytes + PAGE_BYTES)
            self.num_buffers += 1
        lease = np.frombuffer(memory.data, np.uint8)  # were its base an array, views would refer to that instead
        weakref.finalize(lease, idle.append, memory).atexit = False
        return lease[aligned_place(lease, num_bytes)]

"""Aligned memory that is reused, but never while anything still refers to it."""

import sys
import threading
from collections import defaultdict
from typing import Callable, DefaultDict, List, Tuple

import numpy as np

from heteroshards.schemas.store.memory import PAGE_BYTES, aligned_place


class BufferPool:
    """Hands out aligned buffers; one comes back by itself when the last array or tensor made from it is gone.

    A fresh buffer of some megabytes costs a page fault per page, which is slower than reading into it, so buffers
    are reused. What a consumer (or autograd) does with its tensors is not known here, so reuse is decided by the
    reference count of the array that owns the memory: every view in numpy refers to the owner, and so does the
    storage of `torch.from_numpy(view)`, which all views of that tensor share. Keeping tensors costs memory, never
    correctness. Memory goes back when the pool is dropped.

    Args:
        allocate: makes uninitialised uint8 [num_bytes].
    """

    def __init__(self, allocate: Callable[[int], np.ndarray] = lambda size: np.empty(size, np.uint8)) -> None:
        self._allocate = allocate
        self._owners: DefaultDict[int, List[Tuple[np.ndarray, slice]]] = defaultdict(list)
        self._lock = threading.Lock()  # two threads must not find the same buffer unused

    def take(self, num_bytes: int) -> np.ndarray:
        """uint8 [num_bytes], page-aligned, contents undefined, shared with nobody."""
        with self._lock:
            owners = self._owners[num_bytes]
            for entry in owners:
                if sys.getrefcount(entry[0]) <= 2:  # the entry's reference and the call's own
                    return entry[0][entry[1]]
            owner = self._allocate(num_bytes + PAGE_BYTES)
            place = aligned_place(owner, num_bytes)
            owners.append((owner, place))
            return owner[place]

    @property
    def num_buffers(self) -> int:
        return sum(len(owners) for owners in self._owners.values())

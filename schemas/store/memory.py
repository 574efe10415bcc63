"""Memory that begins on a page."""

import numpy as np

PAGE_BYTES = 4096


def aligned_empty(num_bytes: int) -> np.ndarray:
    """Uninitialised uint8 [num_bytes] that starts on a page; its base owns the memory."""
    owner = np.empty(num_bytes + PAGE_BYTES, np.uint8)
    return owner[aligned_place(owner, num_bytes)]


def aligned_place(owner: np.ndarray, num_bytes: int) -> slice:
    """Where in `owner` so many bytes start on a page."""
    offset = -owner.ctypes.data % PAGE_BYTES
    return slice(offset, offset + num_bytes)

"""How batches get from the memory they are read into to where the model runs."""

from typing import List, Sequence

import numpy as np
import torch
from torch import Tensor


class Transfer:
    """The way that leads nowhere: batches stay on the host. The background thread of a stream calls it."""

    def allocate(self, num_bytes: int) -> np.ndarray:
        """Memory to read into, uninitialised uint8 [num_bytes]; the array that is returned is its only owner."""
        return np.empty(num_bytes, np.uint8)

    def __call__(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        """The same tensors where the model takes them. Nothing reads the given ones any more when it returns."""
        return list(tensors)


class CudaTransfer(Transfer):
    """To a GPU, from page-locked memory and on a stream of its own, beside the steps.

    It waits until the copies are done. That costs the background thread some time, the steps nothing, and spares
    both sides any further synchronisation.

    Args:
        device: the GPU. Steps run on the stream that is its current one when this is made.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps = torch.cuda.current_stream(device)
        self._copies = torch.cuda.Stream(device)

    def allocate(self, num_bytes: int) -> np.ndarray:
        return torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True).numpy()

    def __call__(self, tensors: Sequence[Tensor]) -> List[Tensor]:
        with torch.cuda.stream(self._copies):
            placed = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
        for tensor in placed:
            tensor.record_stream(self._steps)  # its memory may be given anew only when the steps have read it
        self._copies.synchronize()
        return placed

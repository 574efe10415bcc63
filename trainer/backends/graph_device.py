"""What capturing a call in a CUDA graph takes of the GPU, in one place; the backend itself knows no device."""

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import Any, Callable, Iterator, Tuple

import torch
from torch import Tensor

from heteroshards.trainer.reading.transfer import CudaTransfer, Transfer

Call = Callable[[], Tuple[Tensor, Tensor]]
WARM_UPS = 3  # libraries set up workspaces and choose kernels in their first calls, which cannot be captured


class GraphDevice(ABC):
    """A device that records the kernels of a call and runs them again without the host.

    Attributes:
        device: where tensors live.
        is_recording: whether the call that runs now is the one that is recorded.
    """

    device: torch.device
    is_recording = False

    @abstractmethod
    def transfer(self) -> Transfer:
        """What brings batches there."""

    @abstractmethod
    def memory(self) -> Any:
        """Memory for the intermediate results of recordings, to be handed to `record`.

        Recordings that never run at the same time, and whose results are copied before another one runs, may share it.
        """

    @abstractmethod
    def record(self, call: Call, memory: Any) -> Tuple[Tuple[Tensor, Tensor], Callable[[], None]]:
        """Run `call` some times, then record it.

        Returns:
            the tensors that hold its results, and what runs the recorded kernels again, on the same memory.
        """

    @contextmanager
    def recording(self) -> Iterator[None]:
        """While the call in it is recorded."""
        self.is_recording = True
        try:
            yield
        finally:
            self.is_recording = False

    @abstractmethod
    def free_bytes(self) -> int:
        """Memory that is free there now."""

    @abstractmethod
    def rng_state(self) -> Tensor:
        """State of the device's random generator, on the CPU."""

    @abstractmethod
    def set_rng_state(self, state: Tensor) -> None:
        """Put it back."""


class CudaDevice(GraphDevice):
    """The current GPU.

    Warm-ups and captures run on one stream of their own: libraries keep a workspace per stream, which then exists
    before a capture begins, and autograd joins the stream that it met a weight on first.
    """

    def __init__(self) -> None:
        self.device = torch.device("cuda", torch.cuda.current_device())
        self._stream = torch.cuda.Stream(self.device)

    def transfer(self) -> Transfer:
        return CudaTransfer(self.device)

    def memory(self) -> Any:
        return torch.cuda.graph_pool_handle()

    def record(self, call: Call, memory: Any) -> Tuple[Tuple[Tensor, Tensor], Callable[[], None]]:
        with self._beside():
            for _ in range(WARM_UPS):
                call()
        graph = torch.cuda.CUDAGraph()
        # The thread that reads ahead may allocate and copy meanwhile: those calls are none of this graph's.
        capture = torch.cuda.graph(graph, pool=memory, stream=self._stream, capture_error_mode="thread_local")
        with self.recording(), capture:
            results = call()
        return results, graph.replay

    @contextmanager
    def _beside(self) -> Iterator[None]:
        """On the stream of captures, after and before everything else."""
        main = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            yield
        main.wait_stream(self._stream)

    def free_bytes(self) -> int:
        return int(torch.cuda.mem_get_info(self.device)[0])

    def rng_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self.device)

    def set_rng_state(self, state: Tensor) -> None:
        torch.cuda.set_rng_state(state, self.device)

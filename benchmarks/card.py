"""The device that `benchmarks.gpu` measures: an NVIDIA GPU, or a stand-in on the CPU for a dry run."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch

from heteroshards.trainer.backends import Backend
from heteroshards.trainer.backends.cuda_graphs import CudaGraphsBackend
from heteroshards.trainer.backends.graph_device import CudaDevice, GraphDevice


class Effort(NamedTuple):
    """How much is done for one number.

    Attributes:
        longest_s: seconds of one measurement, at most.
        steps: on a resident batch between two looks at the clock.
        losses: first steps whose losses are compared.
        batches: of an epoch, at most; plain PyG's lie in page-locked memory.
    """

    longest_s: float = 4.0
    steps: int = 20
    losses: int = 10
    batches: int = 64


class Card(ABC):
    """Where steps run.

    Attributes:
        name: as its maker calls it.
        graphs: captures and replays steps.
        compiler: the backend of `torch.compile`, with the options that capture graphs by themselves.
        effort: how long to measure.
    """

    name: str
    graphs: GraphDevice
    compiler: dict[str, str]
    effort: Effort = Effort()

    @property
    def device(self) -> torch.device:
        return self.graphs.device

    def backend(self) -> Backend:
        """`cuda_graphs` there."""
        return CudaGraphsBackend(self.graphs)

    @abstractmethod
    def wait(self) -> None:
        """Until all work that was given to it is done."""

    @abstractmethod
    def forget_peak(self) -> None:
        """Begin to look for the most memory anew; memory that nobody uses goes back before."""

    @abstractmethod
    def peak_mib(self) -> float:
        """The most memory that tensors took, MiB."""

    @abstractmethod
    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor in page-locked memory."""


class Gpu(Card):
    """The current GPU, as `torch.cuda` finds it. Its settings are left alone."""

    compiler = {"backend": "inductor", "mode": "reduce-overhead"}

    def __init__(self) -> None:
        self.graphs = CudaDevice()
        self.name = torch.cuda.get_device_name(self.device)

    def wait(self) -> None:
        torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)

    def peak_mib(self) -> float:
        return torch.cuda.max_memory_allocated(self.device) / 2**20

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.pin_memory()


class DryCard(Card):
    """The tests' double of CUDA graphs. It replays operator by operator: its numbers say nothing."""

    compiler = {"backend": "eager"}
    effort = Effort(longest_s=0.0, steps=2, losses=2, batches=2)

    def __init__(self) -> None:
        from tests.trainer.graph_double import CpuGraphDevice

        self.graphs = CpuGraphDevice()
        self.name = "no GPU: a dry run on the CPU, whose numbers say nothing"

    def wait(self) -> None:
        """Nothing is ever left to do."""

    def forget_peak(self) -> None:
        """Nothing is counted."""

    def peak_mib(self) -> float:
        return 0.0

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

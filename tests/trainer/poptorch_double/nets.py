"""Nets, batches and options that the chapters have in common."""

from typing import Any, Callable, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 5


class Net(nn.Module):
    """Logits and their loss."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("seen", torch.zeros(2))

    def forward(self, x: Tensor, y: Tensor, scale: float = 1.0) -> Tuple[Tensor, Tensor]:
        out = self.linear(x) * scale
        return out, functional.cross_entropy(out, y)


class Body(nn.Module):
    """A net whose forward is the test's: `body(net, out, x)` after a linear layer."""

    def __init__(self, body: Callable[..., Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.register_buffer("seen", torch.zeros(2))
        self.body = body

    def forward(self, x: Any) -> Any:
        return self.body(self, self.linear(x), x)


def batch(num: int = 1, seed: int = 0) -> Tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num * ROWS, 3, generator=generator)
    return x, torch.randint(0, 4, (num * ROWS,), generator=generator).int().long()


def options(pop: Any, iterations: int = 1, replicas: int = 1, accumulation: int = 1, mode: Optional[str] = None) -> Any:
    made = pop.Options().deviceIterations(iterations).replicationFactor(replicas)
    made.Training.gradientAccumulation(accumulation)
    return made.outputMode(pop.OutputMode[mode]) if mode else made


def trace(pop: Any, body: Callable[..., Any]) -> Any:
    """Compile for training; the executor. Losses are made by the body."""
    executor = pop.trainingModel(Body(body))
    executor.compile(batch()[0])
    return executor


def mse(out: Tensor) -> Tensor:
    return functional.mse_loss(out, torch.zeros_like(out))


def host_memory(model: nn.Module) -> Tensor:
    """A view of a weight, taken before wrapping: reading it later fetches nothing from the device."""
    return model.linear.weight.detach()


class Variadic(nn.Module):
    def forward(self, *tensors: Tensor) -> Tensor:
        return tensors[0] * 2

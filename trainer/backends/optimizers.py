"""The optimizer that a config asks for."""

from typing import Any, Iterable, List, Sequence, Tuple

import torch
from torch import nn

from heteroshards.schemas.config import TrainConfig
from heteroshards.trainer.backends.versions import torch_version

FUSES_ON_CPU = (2, 5)


def make_optimizer(
    parameters: Iterable[nn.Parameter], train: TrainConfig, by_columns: Sequence[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over `parameters`, in one pass over each where torch can.

    Adam's dozen passes over every weight else take a quarter of a step on a CPU.

    Args:
        by_columns: matrices among them that lie column by column (see `trainer.models.sparse`). They are handed over
            transposed, with their gradients: torch's fused kernels copy what is not contiguous, and compute nonsense
            where a matrix and its gradient lie differently.
    """
    transposed = [(matrix, nn.Parameter(matrix.data.t())) for matrix in by_columns]
    views = {id(matrix): view for matrix, view in transposed}
    optimizer = _make([views.get(id(parameter), parameter) for parameter in parameters], train)
    if transposed:
        _surround_steps(optimizer, transposed)
    return optimizer


def _surround_steps(optimizer: torch.optim.Optimizer, transposed: "_Pairs") -> None:
    """Hand gradients over before each step. Not by the optimizer's hooks: torch 2.0 forgets them once its compiler has
    been imported, and the matrices would never learn."""
    step = optimizer.step

    def surrounded(*arguments: Any, **options: Any) -> Any:
        _hand_over_gradients(transposed)
        result = step(*arguments, **options)
        _drop_gradients(transposed)
        return result

    optimizer.step = surrounded  # type: ignore[method-assign]


_Pairs = List[Tuple[nn.Parameter, nn.Parameter]]  # a matrix, and its transpose in the same memory


def _hand_over_gradients(transposed: _Pairs) -> None:
    for parameter, view in transposed:
        view.grad = None if parameter.grad is None else parameter.grad.t().contiguous()


def _drop_gradients(transposed: _Pairs) -> None:
    """The optimizer's `zero_grad` does not know of the matrices' own."""
    for parameter, view in transposed:
        parameter.grad = view.grad = None


def _make(parameters: List[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    fused = {"fused": True} if torch_version() >= FUSES_ON_CPU else {}
    options: Any = {"lr": train.lr, "weight_decay": train.weight_decay, **fused}
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=train.momentum, **options)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, **options)

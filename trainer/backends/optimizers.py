"""The optimizer that a config asks for."""

from typing import Any, Iterable

import torch
from torch import nn

from schemas.config import TrainConfig
from trainer.backends.versions import torch_version

FUSES_ON_CPU = (2, 5)


def make_optimizer(parameters: Iterable[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over `parameters`, in one pass over each where torch can.

    Adam's dozen passes over every weight else take a quarter of a step on a CPU.
    """
    fused = {"fused": True} if torch_version() >= FUSES_ON_CPU else {}
    options: Any = {"lr": train.lr, "weight_decay": train.weight_decay, **fused}
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=train.momentum, **options)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, **options)

"""The optimizer that a config asks for."""

from typing import Iterable

import torch
from torch import nn

from schemas.config import TrainConfig


def make_optimizer(parameters: Iterable[nn.Parameter], train: TrainConfig) -> torch.optim.Optimizer:
    """Adam, AdamW or SGD over `parameters`."""
    if train.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=train.lr, momentum=train.momentum, weight_decay=train.weight_decay)
    kind = torch.optim.AdamW if train.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=train.lr, weight_decay=train.weight_decay)

"""Ages: sines and cosines of several periods, and a logarithm. Nothing is learned here; the first layer does."""

import math
from typing import Dict, Mapping

import torch
from torch import Tensor, nn

from heteroshards.trainer.models.sparse import Features

PERIODS = tuple(7.0 * 4**k for k in range(8))  # a week to three centuries, where ages are in days
WIDTH = 2 * len(PERIODS) + 1


class AgeEncoder(nn.Module):
    """Ages `[rows]` -> `[rows, WIDTH]`: log(1 + age) / 8, then sin and cos of 2 pi age / period for each of PERIODS.

    All are within about -1 and 1. Negative ages, of a seed that is younger than its question, have logarithm 0.
    """

    turns: Tensor

    def __init__(self) -> None:
        super().__init__()
        turns = torch.tensor([2 * math.pi / period for period in PERIODS])
        self.register_buffer("turns", turns, persistent=False)

    def forward(self, age: Tensor) -> Tensor:
        age = age.float().unsqueeze(1)
        angles = age * self.turns.float()
        return torch.cat([torch.log1p(age.clamp(min=0)) / 8, torch.sin(angles), torch.cos(angles)], dim=1)


def with_ages(
    encoder: AgeEncoder, x_dict: Mapping[str, Features], age_dict: Mapping[str, Tensor]
) -> Dict[str, Features]:
    """Features `[rows, F]` by type, those of types that have ages as `[rows, F + WIDTH]`."""
    found = dict(x_dict)
    for name, age in age_dict.items():
        x = x_dict[name]
        assert isinstance(x, Tensor), "types with ages do not come as sparse rows"
        found[name] = torch.cat([x, encoder(age).to(x.dtype)], dim=1)
    return found

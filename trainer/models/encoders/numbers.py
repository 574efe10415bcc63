"""Numbers: a linear layer."""

from typing import Sequence

from torch import Tensor, nn


def add_up(terms: Sequence[Tensor]) -> Tensor:
    """Their sum; torch 2.0 traces no `sum` from a start."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


class NumberEncoder(nn.Module):
    """Floats `[rows, width]` -> `[rows, channels]`. Weights and bias begin as torch's, uniform within 1 / sqrt(width).

    Attributes:
        num_terms: how many vectors it adds up.
    """

    num_terms = 1

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, channels)

    def forward(self, values: Tensor) -> Tensor:
        return self.linear(values.to(self.linear.weight.dtype))

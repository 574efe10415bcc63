"""Codes: a learned vector for each value of each column."""

from typing import Sequence

from torch import Tensor, nn

from heteroshards.trainer.models.encoders.numbers import add_up


class CodeEncoder(nn.Module):
    """int32 `[rows, columns]` -> `[rows, channels]`, the sum over columns; -1, not known, adds nothing.

    Args:
        cardinalities: how many values each column has.
        scale: the standard deviation that vectors begin with.

    Attributes:
        num_terms: how many vectors it adds up.
    """

    def __init__(self, cardinalities: Sequence[int], channels: int, scale: float) -> None:
        super().__init__()
        self.num_terms = len(cardinalities)
        self.embeddings = nn.ModuleList(nn.Embedding(count, channels) for count in cardinalities)
        for vectors in self.embeddings.parameters():
            vectors.data.mul_(scale)

    def forward(self, values: Tensor) -> Tensor:
        return add_up([_vectors(embedding, values[:, column]) for column, embedding in enumerate(self.embeddings)])


def _vectors(embedding: nn.Module, code: Tensor) -> Tensor:
    vectors = embedding(code.clamp(min=0).long())
    return vectors * (code >= 0).to(vectors.dtype).unsqueeze(-1)

"""One matrix of all that is known of the rows of a type: each attribute encoded by itself, and added up."""

import math
from typing import Any, Dict, Iterable, Mapping, Tuple, Union

import torch
from torch import Tensor, nn

from heteroshards.schemas.attributes import Attributed, AttributeSchema
from heteroshards.schemas.config import ModelConfig
from heteroshards.trainer.models.encoders.codes import CodeEncoder
from heteroshards.trainer.models.encoders.numbers import NumberEncoder, add_up
from heteroshards.trainer.models.scale import embedding_scale

# By type: its only attribute, as it is; or the attributes of a type whose rows are encoded, by name.
Values = Mapping[str, Any]


def make_part(attribute: AttributeSchema, config: ModelConfig) -> Union[CodeEncoder, NumberEncoder]:
    """What encodes an attribute: `[rows, width]` -> `[rows, hidden_channels]`, a sum of `num_terms` vectors."""
    width = config.hidden_channels
    if attribute.is_codes:
        return CodeEncoder(attribute.cardinalities, width, embedding_scale(config.name, width))
    return NumberEncoder(attribute.width, width)


class TypeEncoder(nn.Module):
    """Attributes of a type by name, `[rows, width]` each -> `[rows, hidden_channels]`.

    Their sum, divided by the root of how many vectors it adds up, so that it begins at the scale of one.
    """

    def __init__(self, of: Attributed, config: ModelConfig) -> None:
        super().__init__()
        self._names = [attribute.name for attribute in of.attributes]
        parts = [make_part(attribute, config) for attribute in of.attributes]
        self.parts = nn.ModuleList(parts)
        self._scale = 1 / math.sqrt(sum(part.num_terms for part in parts))

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        return self._scale * add_up([part(values[name]) for name, part in zip(self._names, self.parts)])


class AttributeEncoders(nn.Module):
    """The features of every type: the one attribute that it has, or what a `TypeEncoder` makes of several, or of codes.

    Args:
        types: name and schema of each.
    """

    def __init__(self, types: Iterable[Tuple[str, Attributed]], config: ModelConfig) -> None:
        super().__init__()
        encoded = [(name, of) for name, of in types if of.is_encoded]
        self._positions = {name: i for i, (name, _) in enumerate(encoded)}  # a container key may be any name
        self.types = nn.ModuleList(TypeEncoder(of, config) for _, of in encoded)

    def forward(self, values: Values, dtype: torch.dtype) -> Dict[str, Any]:
        """By type `[rows, width]`, or `[rows, hidden_channels]` of an encoded one, in `dtype`."""
        return {
            name: (self.types[self._positions[name]](value) if name in self._positions else value).to(dtype)
            for name, value in values.items()
        }

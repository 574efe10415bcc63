"""What nodes and edges have that models see: numbers, and codes, which only say which of several values it is."""

from typing import TYPE_CHECKING, Any, Iterable, Optional, Tuple

from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.names import check_name

if TYPE_CHECKING:  # configs are read where there is no numpy, too: by the documents
    import numpy as np

FEATURE_DTYPES = ("float16", "float32", "float64")
CODE_DTYPE = "int32"
UNKNOWN_CODE = -1  # also in pad rows
MAX_CODES = 2**24
# Of what else a type has, in a store or in a batch as HeteroData.
TAKEN_NAMES = (
    *("n_id", "e_id", "mask", "edge_index", "tree", "age", "original_id", "num_nodes"),
    *("batch", "ptr", "batch_size", "input_id", "seed_time", "nodes_mask", "edges_mask"),
)


class AttributeSchema(Frozen):
    """One attribute of a type: a row per node, or edge.

    Attributes:
        name: what the data calls it; a folder of the store.
        width: columns.
        dtype: one of FEATURE_DTYPES, or CODE_DTYPE.
        cardinalities: of codes, how many values each column has: 0 to one less, and -1 where it is not known. Of
            numbers none.
    """

    name: str
    width: int = Field(ge=1, lt=2**31)
    dtype: str
    cardinalities: Tuple[int, ...] = ()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_attribute_name(name)

    @model_validator(mode="after")
    def _check_values(self) -> Any:
        known = (*FEATURE_DTYPES, CODE_DTYPE)
        if self.dtype not in known:
            raise ValueError(f"attribute {self.name!r} has dtype {self.dtype!r}; known are {known}")
        if len(self.cardinalities) != (self.width if self.is_codes else 0):
            raise ValueError(
                f"attribute {self.name!r} of {self.width} columns of {self.dtype} needs a cardinality of "
                f"each column of codes, and has {len(self.cardinalities)}"
            )
        if not all(1 <= count <= MAX_CODES for count in self.cardinalities):
            raise ValueError(f"cardinalities of attribute {self.name!r} must be 1 to {MAX_CODES}")
        return self

    @property
    def is_codes(self) -> bool:
        return self.dtype == CODE_DTYPE

    def holds(self, values: "np.ndarray") -> bool:
        """Whether codes `[..., width]` are all of its own, or unknown."""
        return bool(((values >= UNKNOWN_CODE) & (values < self.cardinalities)).all())


class Attributed(Frozen):
    """A type of nodes or edges.

    Attributes:
        attributes: what models see of it, in order.
    """

    attributes: Tuple[AttributeSchema, ...] = ()

    @field_validator("attributes")
    @classmethod
    def _check_distinct(cls, attributes: Tuple[AttributeSchema, ...]) -> Tuple[AttributeSchema, ...]:
        require_distinct(attribute.name for attribute in attributes)
        return attributes

    @property
    def num_features(self) -> Optional[int]:
        """Columns of the only attribute, where that is numbers: what a model is handed as `x`, or `edge_attr`.

        None where there is none; and of several, or of codes, which come as `hidden_channels` columns.
        """
        return self.plain.width if self.plain else None

    @property
    def plain(self) -> Optional[AttributeSchema]:
        """Its only attribute, where that is numbers: models get it as it is."""
        is_plain = len(self.attributes) == 1 and not self.attributes[0].is_codes
        return self.attributes[0] if is_plain else None

    @property
    def is_encoded(self) -> bool:
        """Whether models get one matrix that is learned of its attributes."""
        return bool(self.attributes) and self.plain is None

    def attribute(self, name: str) -> AttributeSchema:
        return {attribute.name: attribute for attribute in self.attributes}[name]


def check_attribute_name(name: str) -> str:
    """Raises ValueError unless it can be a folder beside what else a type has."""
    if name in TAKEN_NAMES:
        raise ValueError(f"attribute name {name!r} is that of something else that a type has; rename the attribute")
    return check_name(name, "attribute")


def require_distinct(names: Iterable[str]) -> None:
    """Raises ValueError where two of the names are one folder, upper and lower case not told apart."""
    seen = set()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"attribute {name!r} is named twice, upper and lower case not told apart")
        seen.add(name.casefold())

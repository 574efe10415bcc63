"""What is asked of a graph: of which nodes, and what is to be answered. A new kind of task begins here."""

from typing import Any, Literal, Tuple

from pydantic import Field, field_validator, model_validator

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.names import check_name

CLASS_PAD = -100


class TargetSpec(Frozen):
    """What is predicted of each seed. A store keeps it as `seeds/targets/<name>`.

    Attributes:
        name: of the attribute that it comes from.
        dtype: of what is stored.
        num_classes: classes are 0 to this - 1.
        pad_value: what stands in pad rows, and where nothing is known.
    """

    name: str
    dtype: Literal["int32"] = "int32"
    num_classes: int = Field(ge=1, lt=2**31)
    pad_value: int = Field(default=CLASS_PAD, ge=-(2**31))

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return check_name(name, "target")

    @model_validator(mode="after")
    def _check_pad(self) -> Any:
        if self.pad_value >= 0:
            raise ValueError(f"pad_value {self.pad_value} of target {self.name!r} is a class")
        return self


class Task(Frozen):
    """One question: for each seed, a node of `seed_type`, the class that it has.

    Attributes:
        targets: what is predicted; of `classification`, one.
    """

    kind: Literal["classification"] = "classification"
    seed_type: str
    targets: Tuple[TargetSpec, ...] = Field(min_length=1, max_length=1)

    @classmethod
    def classification(cls, seed_type: str, num_classes: int, target: str = "y") -> "Task":
        """One class of several for each seed."""
        return cls(seed_type=seed_type, targets=(TargetSpec(name=target, num_classes=num_classes),))

    @property
    def target(self) -> TargetSpec:
        """The only one."""
        return self.targets[0]

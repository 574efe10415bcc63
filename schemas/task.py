"""What is asked of a graph: of which nodes, and what is to be answered."""

from typing import Tuple

from pydantic import Field, model_validator

from heteroshards.schemas.base import Frozen
from heteroshards.schemas.names import repeated
from heteroshards.schemas.targets import ClassTarget, TargetSpec


class Task(Frozen):
    """Questions about nodes of `seed_type`, each a seed.

    Attributes:
        targets: what is predicted of each seed.
        is_table: seeds are rows of a table of their own, so that a node may be asked about more than once.
        has_time: seeds have times, and see nothing that is later.
    """

    seed_type: str
    is_table: bool = False
    has_time: bool = False
    targets: Tuple[TargetSpec, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check_names(self) -> "Task":
        twice = repeated(target.name for target in self.targets)
        if twice is not None:
            raise ValueError(f"two targets have the name {twice!r}")
        return self

    @classmethod
    def classification(cls, seed_type: str, num_classes: int, target: str = "y") -> "Task":
        """One class of several for each seed."""
        return cls(seed_type=seed_type, targets=(ClassTarget(name=target, num_classes=num_classes),))

    @property
    def columns(self) -> int:
        """How many a model returns for each seed: those of the first target, then those of the next."""
        return sum(target.columns for target in self.targets)
